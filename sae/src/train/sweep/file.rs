//! `sweep.toml`.
//!
//! ```toml
//! [base]                      # what all runs share; any option of train.toml
//! data = "data"
//! data_seed = 0               # the same order of rows for all seeds, so that all runs share batches
//!
//! [[cross]]                   # every combination of the lists
//! method = ["topk", "mutual-choice"]
//! k = [16, 32]
//! seed = [0, 1, 2]
//!
//! [[run]]                     # one more
//! name = "weak-penalty"
//! method = "relu"
//! sparsity_coefficient = 0.5
//! ```

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::train::config::keys;
use crate::train::{Method, TrainConfig};
use crate::{Error, Result};

/// A run that a sweep asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedConfig {
    /// Its folder in the sweep's.
    pub name: String,
    /// Its configuration.
    pub config: TrainConfig,
}

const SECTIONS: [&str; 3] = ["base", "cross", "run"];
/// What a run has besides its options.
const NAME: &str = "name";

/// Whether the file at `path` asks for a sweep and not for one run.
///
/// # Errors
/// A file that cannot be read or is not TOML.
pub fn is_sweep(path: &Path) -> Result<bool> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let table: Table = text.parse().map_err(|e: toml::de::Error| Error::format(path, e.to_string()))?;
    Ok(table.keys().any(|key| SECTIONS.contains(&key.as_str())))
}

/// The runs that the file at `path` asks for, in its order: crossed ones first, then single ones.
///
/// # Errors
/// A file that cannot be read or is not TOML; a key that does not exist; a value of the wrong type; runs that
/// the sections do not describe, with the section.
pub fn read_file(path: &Path) -> Result<Vec<NamedConfig>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    parse(&text).map_err(|problem| Error::format(path, problem))
}

/// The runs that `text` asks for.
pub(super) fn parse(text: &str) -> Result<Vec<NamedConfig>, String> {
    let sweep: Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
    if let Some(option) = sweep.keys().find(|key| keys::known().contains(&key.as_str())) {
        return Err(format!(
            "`{option}` is outside of every section; in a sweep the options of all runs are under [base]"
        ));
    }
    keys::check_names(sweep.keys(), &SECTIONS)?;
    let base = match tables(&sweep, "base")?.as_slice() {
        [] => Table::new(),
        [base] => (*base).clone(),
        _ => return Err("there is more than one [base]".to_owned()),
    };
    keys::check_names(base.keys(), &keys::known()).map_err(|e| format!("[base]: {e}"))?;
    let mut asked = Vec::new();
    for (section, crossed) in [("cross", true), ("run", false)] {
        for table in tables(&sweep, section)? {
            let runs = expand(&base, table, crossed).map_err(|e| format!("[[{section}]]: {e}"))?;
            asked.extend(runs);
        }
    }
    if asked.is_empty() {
        return Err("there is no run; add [[cross]] with lists of options, or [[run]]".to_owned());
    }
    for (i, run) in asked.iter().enumerate() {
        if asked[..i].iter().any(|other| other.name == run.name) {
            return Err(format!("two runs are called `{}`; give one of them a different `name`", run.name));
        }
    }
    Ok(asked)
}

/// `[section]`, or all of `[[section]]`.
fn tables<'a>(sweep: &'a Table, section: &str) -> Result<Vec<&'a Table>, String> {
    let wrong = || format!("`{section}` must be a table: [{section}] with options below it");
    match sweep.get(section) {
        None => Ok(Vec::new()),
        Some(Value::Table(table)) => Ok(vec![table]),
        Some(Value::Array(tables)) => tables.iter().map(|t| t.as_table().ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

/// The runs of one section: every combination of the lists if it is `crossed`.
fn expand(base: &Table, section: &Table, crossed: bool) -> Result<Vec<NamedConfig>, String> {
    let known = keys::known();
    keys::check_names(section.keys(), &[&known[..], &[NAME]].concat())?;
    let own_name = match section.get(NAME) {
        None => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(_) => return Err("`name` must be a text".to_owned()),
    };
    // In the order of the list of options, but for data, whose names are long: it comes last in a run's name.
    let mut options: Vec<(&str, Vec<&Value>)> = Vec::new();
    for key in known.iter().filter(|key| section.contains_key(**key)) {
        let choices = if crossed { choices(key, &section[*key])? } else { vec![&section[*key]] };
        options.push((key, choices));
    }
    options.sort_by_key(|(key, _)| *key == "data");
    let total: usize = options.iter().map(|(_, choices)| choices.len()).product();
    let mut runs = Vec::new();
    for number in 0..total {
        let (mut table, mut left, mut parts) = (base.clone(), number, Vec::new());
        for (key, choices) in options.iter().rev() {
            let choice = choices[left % choices.len()];
            left /= choices.len();
            table.insert((*key).to_owned(), choice.clone());
            // A run is called by its method unless it has a name; then only methods that are crossed have to be told apart.
            let told = if *key == "method" { own_name.is_some() } else { true };
            if told && (choices.len() > 1 || !crossed) {
                parts.push(part_of_name(key, choice));
            }
        }
        let config: TrainConfig = table.try_into().map_err(|e: toml::de::Error| e.to_string())?;
        parts.push(own_name.clone().unwrap_or_else(|| config.method.name().to_owned()));
        parts.reverse();
        let name = match (&own_name, crossed) {
            (Some(name), false) => name.clone(),
            _ => parts.join("-"),
        };
        check_name(&name)?;
        runs.push(NamedConfig { name, config });
    }
    Ok(runs)
}

/// The values that an option is to take.
fn choices<'a>(key: &str, value: &'a Value) -> Result<Vec<&'a Value>, String> {
    match value {
        Value::Array(list) if list.is_empty() => Err(format!("the list of `{key}` is empty")),
        // The one option that is itself a list; a list of lists crosses it.
        Value::Array(list) if key != "widths" || list.iter().all(Value::is_array) => {
            Ok(list.iter().collect())
        }
        value => Ok(vec![value]),
    }
}

/// `k16`, `seed2`, `blocks.2.hook_resid_post`.
fn part_of_name(key: &str, value: &Value) -> String {
    let text = match value {
        Value::String(text) if key == "data" || key == "target" => {
            let path = PathBuf::from(text);
            return tidy(&path.file_name().map_or(text.clone(), |name| name.to_string_lossy().into_owned()));
        }
        // An alias names the same folder as the method's own name.
        Value::String(text) if key == "method" => {
            return text.parse::<Method>().map_or_else(|_| tidy(text), |method| method.name().to_owned());
        }
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join("_"),
        value => value.to_string(),
    };
    tidy(&format!("{key}{text}"))
}

/// Every character that is unusual in the name of a folder becomes `_`.
fn tidy(text: &str) -> String {
    let usual = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    text.chars().map(|c| if usual(c) { c } else { '_' }).collect()
}

fn check_name(name: &str) -> Result<(), String> {
    let bad = name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']);
    if bad { Err(format!("`{name}` cannot be the name of a run's folder")) } else { Ok(()) }
}
