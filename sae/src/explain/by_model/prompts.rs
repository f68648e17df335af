//! What is asked, in words.

use lm::remote::ChatRequest;
use serde_json::json;

use super::Test;
use super::draw::Passage;
use super::options::LanguageModelOptions;
use crate::explain::claims::TokenTexts;

/// Activations are told as whole numbers from 1 to this.
const SCALE: f32 = 10.0;
/// Tokens with their activations that are listed below a passage, at most.
const LISTED: usize = 8;

const EXPLAIN: &str = "You are a careful researcher who finds out what one feature of a neural network responds to. You are shown passages of \
text in which the feature is active. The tokens on which it is active are marked <<like this>>, and below each passage some of them are \
listed with the strength of the activation from 1 to 10. Passages with strong activation come first. Find what the marked tokens, or the text \
that leads to them, have in common. Be specific; leave out what only one passage shows; do not mention marks, passages or tokens. End your answer \
with one line: [EXPLANATION]: followed by one short sentence.";

const DETECT: &str = "You are given a description of what a feature of a neural network responds to, and numbered passages of text. For each \
passage decide whether the feature is active anywhere in it: 1 if what is described occurs, 0 if it does not. About half of all passages are \
active, but those of one request may be more or fewer. Answer with a JSON list of 0 and 1 alone, one for each passage, in order.";

const FUZZ: &str = "You are given a description of what a feature of a neural network responds to, and numbered passages of text in which some \
tokens are marked <<like this>>. For each passage decide whether the marked tokens are those that the description is about: 1 if they are, 0 if \
they are not. Answer with a JSON list of 0 and 1 alone, one for each passage, in order.";

const WORDS: &str = "You are given a description of what a feature of a neural network responds to. List the words, word pieces or signs on \
which you expect it to be active, the likeliest first, up to 20. If the description names a kind of word, list the most common words of that kind. \
Answer with a JSON list of strings alone.";

/// Writes requests for one server.
pub struct Prompts<'a> {
    pub options: &'a LanguageModelOptions,
    pub texts: &'a TokenTexts,
}

impl Prompts<'_> {
    fn request(&self, system: &str, user: String, schema: Option<serde_json::Value>) -> ChatRequest {
        ChatRequest {
            model: self.options.model.clone(),
            system: system.to_owned(),
            user,
            max_tokens: self.options.max_tokens,
            seed: self.options.seed,
            schema,
        }
    }

    /// Asks what a feature is about.
    pub fn explain(&self, shown: &[Passage]) -> ChatRequest {
        let largest = shown.iter().flat_map(|p| &p.values).copied().fold(0.0, f32::max);
        let one = |(i, passage): (usize, &Passage)| {
            let mut strongest: Vec<usize> = passage.marked.clone();
            strongest.sort_by(|a, b| passage.values[*b].total_cmp(&passage.values[*a]).then(a.cmp(b)));
            strongest.truncate(LISTED);
            let listed: Vec<String> = strongest
                .iter()
                .map(|at| {
                    let strength = (SCALE * passage.values[*at] / largest).ceil().clamp(1.0, SCALE);
                    format!("{} {strength}", json!(self.text(&passage.tokens[*at..=*at])))
                })
                .collect();
            format!("Passage {}: {}\nActivations: {}\n", i + 1, self.marked(passage), listed.join(", "))
        };
        self.request(EXPLAIN, shown.iter().enumerate().map(one).collect::<Vec<_>>().join("\n"), None)
    }

    /// Asks which of some passages an explanation fits.
    pub fn judge(&self, test: Test, explanation: &str, passages: &[Passage]) -> ChatRequest {
        let one = |(i, passage): (usize, &Passage)| {
            let text = match test {
                Test::Detection => self.plain(passage),
                Test::Fuzzing => self.marked(passage),
            };
            format!("Passage {}: {text}", i + 1)
        };
        let passages_text = passages.iter().enumerate().map(one).collect::<Vec<_>>().join("\n");
        let n = passages.len();
        let user = format!(
            "Description: {explanation}\n\n{passages_text}\n\nAnswer with a JSON list of {n} numbers."
        );
        let system = if test == Test::Detection { DETECT } else { FUZZ };
        let list = json!({"type": "array", "items": {"type": "integer", "enum": [0, 1]}, "minItems": n, "maxItems": n});
        self.request(system, user, Some(answer_of(&list)))
    }

    /// Asks for the words on which an explanation lets one expect the feature.
    pub fn words(&self, explanation: &str) -> ChatRequest {
        let list = json!({"type": "array", "items": {"type": "string"}});
        self.request(WORDS, format!("Description: {explanation}"), Some(answer_of(&list)))
    }

    /// A passage on one line.
    fn plain(&self, passage: &Passage) -> String {
        unmarked(&self.text(&passage.tokens))
    }

    /// A passage on one line with its marks; tokens next to each other are in one pair.
    fn marked(&self, passage: &Passage) -> String {
        let mut out = String::new();
        let mut at = 0;
        while at < passage.tokens.len() {
            let is = passage.marked.contains(&at);
            let end = (at..passage.tokens.len())
                .find(|i| passage.marked.contains(i) != is)
                .unwrap_or(passage.tokens.len());
            let text = unmarked(&self.text(&passage.tokens[at..end]));
            if is {
                // Space goes outside, where people would put it.
                let inner = text.trim_start_matches(' ');
                let space = &text[..text.len() - inner.len()];
                out.push_str(&format!("{space}<<{inner}>>"));
            } else {
                out.push_str(&text);
            }
            at = end;
        }
        out
    }

    /// The text of tokens; a character that begins or ends outside of them shows as �.
    pub fn text(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| self.texts.bytes.get(*token as usize).into_iter().flatten())
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Text in which nothing looks like a mark or like the next passage.
fn unmarked(text: &str) -> String {
    text.replace("<<", "< <").replace(">>", "> >").replace(['\n', '\r'], "⏎")
}

/// Servers hold models to objects alone.
fn answer_of(list: &serde_json::Value) -> serde_json::Value {
    json!({
        "type": "object",
        "properties": {"answer": list},
        "required": ["answer"],
        "additionalProperties": false,
    })
}
