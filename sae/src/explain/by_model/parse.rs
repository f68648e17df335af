//! What models write, read.

use serde_json::Value;

/// The longest explanation that is kept, in characters.
const LONGEST: usize = 500;
/// The longest line that is taken for an explanation where none is marked as such: small models go round in circles.
const UNMARKED: usize = 200;
/// Words that are taken of an answer.
const WORDS: usize = 20;

/// What comes after thinking aloud.
fn said(text: &str) -> &str {
    text.rsplit("</think>").next().unwrap_or(text).trim()
}

/// The explanation: what follows the last `[EXPLANATION]:`, else the last line if it is short. `None` where nothing was said.
pub fn explanation(text: &str) -> Option<String> {
    let text = said(text);
    let marked =
        text.rsplit_once("[EXPLANATION]").map(|(_, after)| after.trim_start_matches([':', ' ', '*']));
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.trim().trim_matches(['*', '"']).trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect()
    };
    let line = match marked {
        Some(after) => lines(after).first().cloned(),
        None => lines(text).last().filter(|line| line.chars().count() <= UNMARKED).cloned(),
    }?;
    Some(line.chars().take(LONGEST).collect())
}

/// The lists of JSON that a text holds, innermost and first to last.
fn lists(text: &str) -> impl Iterator<Item = Vec<Value>> + '_ {
    let mut rest = said(text);
    std::iter::from_fn(move || {
        loop {
            let start = rest.find('[')?;
            rest = &rest[start..];
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Vec<Value>>();
            match values.next() {
                // A list of lists: those inside.
                Some(Ok(list)) if list.iter().any(Value::is_array) => rest = &rest[1..],
                Some(Ok(list)) => {
                    rest = &rest[values.byte_offset()..];
                    return Some(list);
                }
                _ => rest = &rest[1..],
            }
        }
    })
}

/// `n` answers of 0 or 1: the first list of so many. `None` where there is none.
pub fn answers(text: &str, n: usize) -> Option<Vec<bool>> {
    let one = |value: &Value| match value {
        Value::Bool(is) => Some(*is),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        _ => None,
    };
    lists(text).filter(|list| list.len() == n).find_map(|list| list.iter().map(one).collect())
}

/// Words: the first list of texts. `None` where there is none.
pub fn words(text: &str) -> Option<Vec<String>> {
    let list = lists(text).find_map(|list| {
        let texts: Option<Vec<String>> = list.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        texts.filter(|texts| !texts.is_empty())
    })?;
    let mut words: Vec<String> = Vec::new();
    for word in list {
        let trimmed = word.trim();
        let word = if trimmed.is_empty() { word } else { trimmed.to_owned() };
        if !word.is_empty() && !words.contains(&word) {
            words.push(word);
        }
    }
    words.truncate(WORDS);
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_are_found_in_what_models_write() {
        let read = |text: &str| explanation(text);
        assert_eq!(read("I see.\n[EXPLANATION]: commas in lists\n").as_deref(), Some("commas in lists"));
        assert_eq!(read("**[EXPLANATION]:** \"verbs\"").as_deref(), Some("verbs"));
        assert_eq!(
            read("<think>[EXPLANATION]: no</think>\nnames of cities").as_deref(),
            Some("names of cities")
        );
        assert_eq!(read(" \n "), None);
        assert_eq!(read("[EXPLANATION]:"), None);
        // What SmolLM2-135M wrote.
        assert_eq!(read(&"1) ".repeat(150)), None);
    }

    #[test]
    fn answers_must_be_as_many_as_were_asked_for() {
        let read = |text: &str| answers(text, 3);
        let right = Some(vec![true, false, true]);
        for text in [
            "[1, 0, 1]",
            "{\"answer\": [1,0,1]}",
            "<think>[0,0,0]</think> so [1,0,1].",
            "[x] then [true, false, true]",
            "[[1,0,1]]",
        ] {
            assert_eq!(read(text), right, "{text}");
        }
        for text in ["[1, 0]", "1 0 1", "[1, 0, 2]", "[\"1\",\"0\",\"1\"]", "[1, 0, 1", ""] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn words_are_texts() {
        assert_eq!(
            words("Sure: [\" the\", \"a\", \"a\", \"\\n\"]"),
            Some(vec!["the".into(), "a".into(), "\n".into()])
        );
        assert_eq!(words("[1, 2]"), None);
        assert_eq!(words("[]"), None);
    }
}
