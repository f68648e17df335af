//! Files of tasks: templates with slots, what fills them, and which value is the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result};

/// The task that the program brings.
const IOI: &str = include_str!("ioi.toml");

/// A task as its file says it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFile {
    /// Its name, which results are kept under.
    pub name: String,
    /// The attribute whose value follows a prompt.
    pub answer: String,
    /// The attribute whose value is compared with it.
    pub instead: String,
    /// What the keys of the templates are called, where they have several: one more attribute.
    #[serde(default)]
    pub variant: Option<String>,
    /// Groups of attributes that never have the same value.
    #[serde(default)]
    pub different: Vec<Vec<String>>,
    /// Attributes with the list of their values.
    pub attributes: BTreeMap<String, String>,
    /// Other slots with the list of what fills them.
    #[serde(default)]
    pub fillers: BTreeMap<String, String>,
    /// The lists.
    pub lists: BTreeMap<String, Vec<String>>,
    /// Each with a text per variant.
    pub templates: Vec<BTreeMap<String, String>>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// A slot.
    Slot(String),
}

impl TaskFile {
    /// The task `ioi`, or that of a file.
    ///
    /// # Errors
    /// A file that cannot be read or is not a task.
    pub fn open(name: &str) -> Result<Self> {
        let path = Path::new(name);
        if name == "ioi" && !path.exists() {
            return Self::parse(IOI, Path::new("ioi.toml"));
        }
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        Self::parse(&text, path)
    }

    /// From the text of a file.
    ///
    /// # Errors
    /// What is not a task, with the place.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let file: Self = toml::from_str(text)
            .map_err(|e| Error::format(path, format!("is not a task: {}", e.message())))?;
        file.check().map_err(|problem| Error::format(path, problem))?;
        Ok(file)
    }

    /// The variants' names, in the order of the alphabet.
    pub fn variants(&self) -> Vec<String> {
        self.templates.first().map(|template| template.keys().cloned().collect()).unwrap_or_default()
    }

    fn check(&self) -> std::result::Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err(format!(
                "the name `{}` cannot be a file's, expected letters, digits, - and _",
                self.name
            ));
        }
        for attribute in [&self.answer, &self.instead].into_iter().chain(self.different.iter().flatten()) {
            if !self.attributes.contains_key(attribute) {
                return Err(format!("`{attribute}` is not among the attributes"));
            }
        }
        if self.answer == self.instead {
            return Err("`answer` and `instead` are the same attribute".to_owned());
        }
        for (slot, list) in self.attributes.iter().chain(&self.fillers) {
            let values = self
                .lists
                .get(list)
                .ok_or_else(|| format!("`{slot}` is filled from `{list}`, which is not among the lists"))?;
            let different: BTreeSet<&String> = values.iter().collect();
            let least = if self.attributes.contains_key(slot) { 4 } else { 1 };
            if different.len() != values.len() || values.len() < least {
                return Err(format!(
                    "the list `{list}` has {} values, expected {least} or more and none twice",
                    values.len()
                ));
            }
        }
        let both = |name: &&String| self.attributes.contains_key(*name);
        if let Some(name) = self.fillers.keys().chain(&self.variant).find(both) {
            return Err(format!("`{name}` is an attribute; a filler or the variant needs a different name"));
        }
        let variants = self.variants();
        if variants.is_empty() {
            return Err("there are no templates".to_owned());
        }
        if (variants.len() > 1) != self.variant.is_some() {
            return Err("`variant` names what the keys of templates are, where these have several".to_owned());
        }
        let first = self.roles(&self.templates[0][&variants[0]])?;
        for template in &self.templates {
            if template.keys().ne(variants.iter()) {
                return Err(format!("a template does not have the variants {}", variants.join(", ")));
            }
            for text in template.values() {
                if self.roles(text)? != first {
                    return Err(format!(
                        "`{text}` does not have the attributes as often as the first template"
                    ));
                }
            }
        }
        Ok(())
    }

    /// How often each attribute is in a text.
    fn roles(&self, text: &str) -> std::result::Result<BTreeMap<String, usize>, String> {
        let mut times: BTreeMap<String, usize> =
            self.attributes.keys().map(|name| (name.clone(), 0)).collect();
        for part in parts(text)? {
            let Part::Slot(slot) = part else { continue };
            match times.get_mut(&slot) {
                Some(times) => *times += 1,
                None if self.fillers.contains_key(&slot) => {}
                None => return Err(format!("`{{{slot}}}` in `{text}` is neither an attribute nor a filler")),
            }
        }
        match times.iter().find(|(_, times)| **times == 0) {
            Some((name, _)) => Err(format!("`{text}` does not have `{{{name}}}`")),
            None => Ok(times),
        }
    }
}

/// The parts of a template.
///
/// # Errors
/// Braces that do not match.
pub fn parts(text: &str) -> std::result::Result<Vec<Part>, String> {
    let wrong = || format!("the braces in `{text}` do not match");
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (slot, after) = after.split_once('}').ok_or_else(wrong)?;
        if before.contains('}') || slot.contains('{') {
            return Err(wrong());
        }
        parts.push(Part::Text(before.to_owned()));
        parts.push(Part::Slot(slot.to_owned()));
        rest = after;
    }
    if rest.contains('}') {
        return Err(wrong());
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_that_is_there_is_whole() {
        let task = TaskFile::open("ioi").unwrap();
        assert_eq!((task.templates.len(), task.variants()), (5, vec!["ABB".to_owned(), "BAB".to_owned()]));
        assert_eq!(task.lists["names"].len(), 97);
    }

    #[test]
    fn what_is_wrong_with_a_task_is_named() {
        for (from, to, named) in [
            ("answer = \"io\"", "answer = \"x\"", "`x` is not among the attributes"),
            ("instead = \"s\"", "instead = \"io\"", "same attribute"),
            ("io = \"names\"", "io = \"nobody\"", "`nobody`, which is not among the lists"),
            ("{s} gave a {object} to\"\nBAB", "{s} gave a {thing} to\"\nBAB", "`{thing}`"),
            ("Then, {s} and {io} went", "Then, {s} and {s} went", "{io}"),
            ("Then, {io} and", "Then, {io and", "braces"),
            ("variant = \"order\"", "", "`variant`"),
            ("\"Jessica\", ", "\"Michael\", ", "none twice"),
            ("name = \"ioi\"", "name = \"../x\"", "`../x`"),
            ("variant = \"order\"", "variant = \"io\"", "`io` is an attribute"),
            ("variant =", "variants =", "unknown field"),
        ] {
            let text = IOI.replacen(from, to, 1);
            assert_ne!(text, IOI, "{from}");
            let error = TaskFile::parse(&text, Path::new("t.toml")).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("t.toml"), "{from}: {error}");
        }
    }
}
