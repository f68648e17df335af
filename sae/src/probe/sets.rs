//! Sets of labelled prompts: tables with a column of text and a column of two labels.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::csv_file;
use crate::{Error, Progress, Result};
use lm::model::hexadecimal;

/// Names of the column of text, best first.
const TEXT: [&str; 3] = ["prompt", "text", "sentence"];
/// Names of the column of labels, best first.
const LABEL: [&str; 3] = ["target", "label", "class"];

/// Prompts of two classes.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledSet {
    /// The file's name without its endings.
    pub name: String,
    /// The texts.
    pub prompts: Vec<String>,
    /// Whether each is of the class that sorts last.
    pub labels: Vec<bool>,
    /// The negative class and the positive one, as the file names them.
    pub classes: [String; 2],
    /// Prompts of a different distribution with the same question; `None` where there are none.
    pub shifted: Option<Box<LabelledSet>>,
}

impl LabelledSet {
    /// What tells this set from others of its name: 16 hexadecimal digits made of its prompts and labels, the shifted ones among them.
    pub(super) fn key(&self) -> String {
        let mut hash = Sha256::new();
        let mut part = Some(self);
        while let Some(set) = part {
            for (prompt, label) in set.prompts.iter().zip(&set.labels) {
                hash.update((prompt.len() as u64).to_le_bytes());
                hash.update(prompt);
                hash.update([u8::from(*label)]);
            }
            hash.update(u64::MAX.to_le_bytes());
            part = set.shifted.as_deref();
        }
        hexadecimal(&hash.finalize())[..16].to_owned()
    }
}

/// The sets in `folder`, by number and name; `only` these if any are named. Tables that have no text or not two classes are passed over,
/// with a remark. The folder of the `sae-probes` package is known: its `cleaned_data` has the sets, its `OOD data` prompts of different
/// distributions.
///
/// # Errors
/// A folder without a set, a name that none has, a file that cannot be read.
pub fn read(folder: &Path, only: &[String], progress: &mut dyn Progress) -> Result<Vec<LabelledSet>> {
    let inside = |name: &str| Some(folder.join(name)).filter(|path| path.is_dir());
    let own = inside("cleaned_data").unwrap_or_else(|| folder.to_owned());
    let shifted = inside("OOD data").unwrap_or_else(|| own.clone());
    let (mut sets, mut passed_over) = (Vec::new(), Vec::new());
    for path in tables(&own)? {
        let name = stem(&path);
        if name.ends_with("_OOD") || !(only.is_empty() || only.contains(&name)) {
            continue;
        }
        match table(&path)? {
            Some(mut set) => {
                set.shifted = shifted_of(&shifted, &set, progress)?.map(Box::new);
                sets.push(set);
            }
            None => passed_over.push(name),
        }
    }
    if let Some(missing) = only.iter().find(|name| !sets.iter().any(|set| set.name == **name)) {
        let all: Vec<String> = tables(&own)?.iter().map(|path| stem(path)).collect();
        let begins = missing.split('_').next().unwrap_or_default();
        let near: Vec<String> =
            all.iter().filter(|name| name.split('_').next() == Some(begins)).cloned().collect();
        return Err(Error::request(format!("{} has no set `{missing}` of two classes", own.display()))
            .with_remedy(format!(
                "a set is named as its file without the ending; there are {}",
                some_of(if near.is_empty() { &all } else { &near })
            )));
    }
    if sets.is_empty() {
        return Err(Error::request(format!("{} has no table of labelled prompts", own.display())).with_remedy(
            "give a folder of .csv or .jsonl files (also .zst or .gz) with a column `prompt` or `text` and a column `target` or \
             `label` of two values",
        ));
    }
    if !passed_over.is_empty() {
        progress.remark(&format!(
            "{} tables are not sets of two classes and are passed over: {}",
            passed_over.len(),
            some_of(&passed_over)
        ));
    }
    // 5_… before 10_…
    let number = |set: &LabelledSet| set.name.split('_').next().and_then(|n| n.parse::<u64>().ok());
    sets.sort_by_key(|set| (number(set).unwrap_or(u64::MAX), set.name.clone()));
    Ok(sets)
}

/// The first few names.
fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown}, …") } else { shown }
}

const ENDINGS: [&str; 3] = [".csv", ".jsonl", ".ndjson"];
const PACKED: [&str; 3] = [".zst", ".gz", ""];

fn stem(path: &Path) -> String {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let unpacked = PACKED.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    ENDINGS.iter().find_map(|end| unpacked.strip_suffix(end)).unwrap_or(unpacked).to_owned()
}

fn tables(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let unpacked = PACKED.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        if ENDINGS.iter().any(|end| unpacked.ends_with(end)) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// A table as a set; `None` where it is none.
fn table(path: &Path) -> Result<Option<LabelledSet>> {
    let text = lm::text::whole(path)?;
    let name = path.to_string_lossy();
    let rows = if name.contains(".jsonl") || name.contains(".ndjson") {
        objects(path, &text)?
    } else {
        records(path, &text)?
    };
    let Some(rows) = rows else { return Ok(None) };
    let values: BTreeSet<&str> = rows.iter().map(|(_, label)| label.as_str()).collect();
    let mut classes: Vec<&str> = values.into_iter().collect();
    // Numbers are sorted as numbers, as scikit-learn's encoder does.
    if classes.iter().all(|class| class.parse::<f64>().is_ok()) {
        let number = |class: &str| class.parse::<f64>().unwrap_or_default();
        classes.sort_by(|a, b| number(a).total_cmp(&number(b)));
    }
    let [negative, positive] = classes[..] else { return Ok(None) };
    let classes = [negative.to_owned(), positive.to_owned()];
    let labels = rows.iter().map(|(_, label)| *label == classes[1]).collect();
    let prompts = rows.into_iter().map(|(prompt, _)| prompt).collect();
    Ok(Some(LabelledSet { name: stem(path), prompts, labels, classes, shifted: None }))
}

/// Text and label of each row; `None` where there are no such columns.
type Rows = Option<Vec<(String, String)>>;

fn records(path: &Path, text: &str) -> Result<Rows> {
    let records = csv_file::records(text)
        .map_err(|(line, problem)| Error::format(path, format!("line {line}: {problem}")))?;
    let Some((_, header)) = records.first() else { return Ok(None) };
    let column =
        |names: &[&str]| names.iter().find_map(|name| header.iter().position(|column| column == name));
    let (Some(prompt), Some(label)) = (column(&TEXT), column(&LABEL)) else { return Ok(None) };
    let row = |(line, mut fields): (usize, Vec<String>)| {
        if fields.len() != header.len() {
            return Err(Error::format(
                path,
                format!(
                    "line {line} has {} fields; expected {}, as the first line has",
                    fields.len(),
                    header.len()
                ),
            ));
        }
        let label = std::mem::take(&mut fields[label]);
        Ok((std::mem::take(&mut fields[prompt]), label))
    };
    records[1..].iter().cloned().map(row).collect::<Result<Vec<_>>>().map(Some)
}

fn objects(path: &Path, text: &str) -> Result<Rows> {
    let mut rows = Vec::new();
    for (line, json) in text.lines().enumerate().filter(|(_, json)| !json.trim().is_empty()) {
        let value: serde_json::Value = serde_json::from_str(json)
            .map_err(|error| Error::format(path, format!("line {}: {error}", line + 1)))?;
        let field = |names: &[&str]| {
            names.iter().find_map(|name| value.get(name)).map(|value| match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            })
        };
        let (Some(prompt), Some(label)) = (field(&TEXT), field(&LABEL)) else { return Ok(None) };
        rows.push((prompt, label));
    }
    Ok(Some(rows).filter(|rows| !rows.is_empty()))
}

/// The prompts of a different distribution that go with `set`.
fn shifted_of(folder: &Path, set: &LabelledSet, progress: &mut dyn Progress) -> Result<Option<LabelledSet>> {
    let wanted = format!("{}_OOD", set.name);
    let Some(path) = tables(folder)?.into_iter().find(|path| stem(path) == wanted) else { return Ok(None) };
    let Some(found) = table(&path)? else { return Ok(None) };
    if found.classes != set.classes {
        progress.remark(&format!(
            "{}: its classes are `{}` and `{}`, those of {} are `{}` and `{}`; they are matched in this order",
            path.display(),
            found.classes[0],
            found.classes[1],
            set.name,
            set.classes[0],
            set.classes[1]
        ));
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;

    #[test]
    fn tables_of_two_classes_are_sets() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("10_b.csv", "prompt,target\n\"one, two\",yes\nthree,no\n");
        write("9_a.jsonl", "{\"text\": \"x\", \"label\": 10}\n{\"text\": \"y\", \"label\": 9}\n");
        write("three.csv", "prompt,target\na,1\nb,2\nc,3\n");
        write("10_b_OOD.csv", "prompt,target\nfour,yes\nfive,no\n");
        write("notes.csv", "a,b\n1,2\n");
        let sets = read(folder.path(), &[], &mut Quiet).unwrap();
        assert_eq!(sets.iter().map(|set| set.name.as_str()).collect::<Vec<_>>(), ["9_a", "10_b"]);
        assert_eq!(sets[0].classes, ["9", "10"]);
        assert_eq!(sets[1].prompts, ["one, two", "three"]);
        assert_eq!(
            (sets[1].labels.clone(), sets[1].classes.clone()),
            (vec![true, false], ["no", "yes"].map(String::from))
        );
        assert_eq!(sets[1].shifted.as_ref().unwrap().prompts, ["four", "five"]);
        let message = read(folder.path(), &["three".into()], &mut Quiet).unwrap_err().to_string();
        assert!(message.contains("no set `three` of two classes"), "{message}");
        write("10_b.csv", "prompt,target\none,yes\nthree\n");
        let message = read(folder.path(), &[], &mut Quiet).unwrap_err().to_string();
        assert!(message.contains("line 3 has 1 fields; expected 2"), "{message}");
    }
}
