//! A small text of two domains, the same in every run of a test.

use std::fs;
use std::path::Path;

use crate::Chance;

const PROSE: [&str; 8] = [
    "The river had risen in the night, and by morning the lower fields were under water. ",
    "“You will have to go round by the mill,” said the old man, without looking up. ",
    "No one in the house could remember a winter as long as that one. ",
    "She put the letter back into the drawer and locked it. ",
    "A committee of three members shall report to the assembly before the first of March. ",
    "Il n'était pas encore midi, et déjà la place était pleine de monde. ",
    "Copper is a soft, malleable metal (symbol Cu, atomic number 29). ",
    "They walked on — slowly, for the road was bad — until the lights of the town came into view. ",
];

const CODE: [&str; 6] = [
    "fn add(a: usize, b: usize) -> usize {\n    a + b\n}\n\n",
    "for (i, line) in text.lines().enumerate() {\n    println!(\"{i}: {line}\");\n}\n",
    "def mean(values):\n    return sum(values) / len(values)\n\n",
    "if path.exists() {\n    return Err(Error::Finished { path });\n}\n",
    "let total: u64 = parts.iter().map(|part| part.rows).sum();\n",
    "# TODO: handle 日本語 and 🦀 in names\n",
];

/// One document of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// `prose` or `code`.
    pub domain: &'static str,
    /// Its title.
    pub title: String,
    /// The text itself.
    pub text: String,
    /// Marked as held out.
    pub held_out: bool,
}

/// Writes `documents` documents of about 150 tokens to `folder` (`code.jsonl`, `prose.jsonl`), every fifth held out, one longer than a
/// context, one of a single letter; an empty one, which counts for nothing, is added. Returns them in the order of reading.
pub fn small_text(folder: &Path, documents: usize) -> Vec<Document> {
    fs::create_dir_all(folder).unwrap();
    let mut chance = Chance::new(documents as u64);
    let mut all = Vec::new();
    for (domain, sentences) in [("code", CODE.as_slice()), ("prose", PROSE.as_slice())] {
        let mut lines = format!("{}\n", line(domain, "nothing", "", false));
        for i in 0..documents / 2 {
            let text = match i {
                1 => "A".to_owned(),
                2 => (0..60).map(|_| *chance.one_of(sentences)).collect(),
                _ => (0..7).map(|_| *chance.one_of(sentences)).collect::<String>(),
            };
            let document = Document { domain, title: format!("{domain} {i}"), text, held_out: i % 5 == 4 };
            lines.push_str(&line(domain, &document.title, &document.text, document.held_out));
            lines.push('\n');
            all.push(document);
        }
        fs::write(folder.join(format!("{domain}.jsonl")), lines).unwrap();
    }
    all
}

fn line(domain: &str, title: &str, text: &str, held_out: bool) -> String {
    let split = if held_out { "heldout" } else { "train" };
    let line = serde_json::json!({"domain": domain, "source": "tests", "title": title, "text": text, "split": split});
    line.to_string()
}
