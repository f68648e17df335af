//! Explanations that other tools made, read into `RUN/explanations/NAME.parquet`.
//!
//! | file | records |
//! |---|---|
//! | Neuronpedia's export, JSON lines or one JSON list (`neuronpedia`) | `index`, `description`, `typeName`, `explanationModelName`, `scores`, … |
//! | `.jsonl` of one's own (`plain`) | `feature`, `text`, and if one likes `method`, `author`, `score` or `scores` |
//! | `.csv` (`csv`) | the same as columns; further scores are columns `score:KIND` |
//! | delphi's folder of results (`by_model/delphi`) | `explanations/HOOK_latentN.txt`, `scores/TEST/HOOK_latentN.txt` |
//!
//! A file is read as a whole or not at all: a record that is not understood is an error that names the line.
//! To read a source again replaces what it held.

mod csv;
mod neuronpedia;
mod plain;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use storage::RunRecord;
use storage::explanations::Explanation;

use super::{CLAIMS, RULES};
use crate::{Error, Progress, Result};

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The file.
    pub file: PathBuf,
    /// What the source is called; the file's name without its ending if `None`.
    pub name: Option<String>,
    /// Of a Neuronpedia export, the layer (source id) to take; if `None` the file must have one alone.
    pub layer: Option<String>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The table that was written.
    pub table: PathBuf,
    /// Which format the file has.
    pub format: &'static str,
    /// Explanations.
    pub explanations: u64,
    /// Features that they are of.
    pub features: u64,
    /// Records left out because they explain nothing.
    pub empty: u64,
    /// Records left out because they are of another layer.
    pub others: u64,
}

/// Explanations of a file while it is read.
#[derive(Debug, Default)]
struct Reading {
    rows: Vec<Explanation>,
    empty: u64,
    others: u64,
    /// (model, layer) that the records are of.
    of: Option<(String, String)>,
}

/// Formats of records that are JSON objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Neuronpedia,
    Plain,
}

impl Format {
    /// What an object must be, by what it has.
    fn of(record: &Value) -> Option<Self> {
        match record {
            record if record.get("description").is_some() || record.get("explanations").is_some() => {
                Some(Self::Neuronpedia)
            }
            record if record.get("text").is_some() => Some(Self::Plain),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Neuronpedia => "Neuronpedia",
            Self::Plain => "feature, text, score, method, author",
        }
    }
}

/// Reads the file for the run in `dir`.
///
/// # Errors
/// A folder that is not a run; a file that cannot be read, is compressed, not text, of an unknown ending or
/// damaged, with line or byte; a feature that the run does not have; no explanation in it.
pub fn run(dir: &Path, options: &ImportOptions, progress: &mut dyn Progress) -> Result<Imported> {
    crate::rows::must_be_run(dir, "explanations")?;
    let record = RunRecord::read(dir)?;
    let name = source_name(options)?;
    let path = &options.file;
    if path.is_dir() {
        return folder(dir, &name, record.d_sae, options, progress);
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(Error::format(path, "it is compressed").with_remedy("unpack it first (gunzip)"));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|e| Error::format(path, format!("byte {} is not UTF-8, expected text", e.valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    progress.begin("import", Some(bytes.len() as u64), "bytes");
    let mut reading = Reading::default();
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let format = match ending.as_str() {
        "csv" => csv::read(path, text, &mut reading).map(|()| "CSV"),
        "jsonl" | "ndjson" => lines(path, text, options, &mut reading, progress),
        "json" => list(path, text, options, &mut reading),
        _ => Err(Error::request(format!("{}: expected a file .jsonl, .json or .csv", path.display()))),
    }?;
    check_features(path, &reading.rows, record.d_sae)?;
    let features = reading.rows.iter().map(|row| row.feature).collect::<BTreeSet<_>>().len() as u64;
    progress.end(&format!("{} explanations of {features} features", reading.rows.len()));
    if reading.rows.is_empty() {
        return Err(Error::format(path, "it has no explanations"));
    }
    storage::explanations::write(dir, &name, &mut reading.rows)?;
    Ok(Imported {
        table: storage::explanations::path(dir, &name),
        format,
        explanations: reading.rows.len() as u64,
        features,
        empty: reading.empty,
        others: reading.others,
    })
}

/// Reads delphi's folder of results.
fn folder(
    dir: &Path,
    name: &str,
    features: usize,
    options: &ImportOptions,
    progress: &mut dyn Progress,
) -> Result<Imported> {
    progress.begin("import", None, "files");
    let mut read = super::by_model::read_delphi(&options.file, options.layer.as_deref())?;
    check_features(&options.file, &read.rows, features)?;
    let explained = read.rows.iter().map(|row| row.feature).collect::<BTreeSet<_>>().len() as u64;
    progress.end(&format!("{} explanations of {explained} features", read.rows.len()));
    storage::explanations::write(dir, name, &mut read.rows)?;
    Ok(Imported {
        table: storage::explanations::path(dir, name),
        format: "delphi",
        explanations: read.rows.len() as u64,
        features: explained,
        empty: read.empty,
        others: read.others,
    })
}

/// A name that can be a file's.
fn source_name(options: &ImportOptions) -> Result<String> {
    let of_file = || options.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = options.name.clone().unwrap_or_else(of_file);
    plain_name(&name).map(|()| name)
}

/// Whether a source can be called so.
///
/// # Errors
/// A name that is a source's of our own, or cannot be a file's.
pub(in crate::explain) fn plain_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    if [RULES, CLAIMS].contains(&name) {
        return Err(Error::request(format!(
            "`{name}` is the name of the explanations that `sae explain` makes"
        ))
        .with_remedy("give a different name with --name"));
    }
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        return Err(Error::request(format!("`{name}` cannot be a source's name"))
            .with_remedy("give a name of letters, digits, spaces, -, _ and . with --name"));
    }
    Ok(())
}

fn lines(
    path: &Path,
    text: &str,
    options: &ImportOptions,
    reading: &mut Reading,
    progress: &mut dyn Progress,
) -> Result<&'static str> {
    let mut format = None;
    let mut done = 0;
    for (number, line) in text.lines().enumerate() {
        done += line.len() as u64 + 1;
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("line {}", number + 1);
        let record: Value = serde_json::from_str(line)
            .map_err(|e| Error::format(path, format!("{place}: {e}, expected a JSON object")))?;
        take(path, &place, &record, options, &mut format, reading)?;
        if number.is_multiple_of(4096) {
            progress.advance(done, "");
            if progress.stop_requested() {
                return Err(Error::stopped("nothing was read in"));
            }
        }
    }
    Ok(format.map_or("empty", Format::name))
}

fn list(path: &Path, text: &str, options: &ImportOptions, reading: &mut Reading) -> Result<&'static str> {
    let records: Value =
        serde_json::from_str(text).map_err(|e| Error::format(path, format!("{e}, expected a JSON list")))?;
    let Value::Array(records) = records else {
        return Err(Error::format(path, "expected a JSON list of explanations")
            .with_remedy("give a file with one record per line the ending .jsonl"));
    };
    let mut format = None;
    for (number, record) in records.iter().enumerate() {
        take(path, &format!("entry {}", number + 1), record, options, &mut format, reading)?;
    }
    Ok(format.map_or("empty", Format::name))
}

fn take(
    path: &Path,
    place: &str,
    record: &Value,
    options: &ImportOptions,
    format: &mut Option<Format>,
    reading: &mut Reading,
) -> Result<()> {
    let wrong = |problem: String| Error::format(path, format!("{place}: {problem}"));
    let found = Format::of(record).ok_or_else(|| {
        let keys: Vec<&str> = record.as_object().map_or_else(Vec::new, |o| o.keys().map(String::as_str).collect());
        wrong(format!(
            "found {}, expected an object with `index` and `description` (Neuronpedia) or with `feature` and `text`",
            if keys.is_empty() { "no fields".to_owned() } else { format!("the fields {}", keys.join(", ")) }
        ))
    })?;
    if *format.get_or_insert(found) != found {
        return Err(wrong("it has a different format from the records before; a file has one format".into()));
    }
    match found {
        Format::Neuronpedia => neuronpedia::read(record, options.layer.as_deref(), reading).map_err(wrong),
        Format::Plain => plain::read(record, reading).map_err(wrong),
    }
}

fn check_features(path: &Path, rows: &[Explanation], features: usize) -> Result<()> {
    match rows.iter().find(|row| row.feature as usize >= features) {
        None => Ok(()),
        Some(row) => Err(Error::format(
            path,
            format!(
                "it explains feature {}, but the dictionary's features are 0 to {}",
                row.feature,
                features.saturating_sub(1)
            ),
        )
        .with_remedy("give the explanations of this dictionary")),
    }
}

/// A feature's number, which Neuronpedia writes as text.
fn feature(value: Option<&Value>, name: &str) -> std::result::Result<u32, String> {
    let expected = || format!("expected `{name}` to be a feature's number");
    let value = value.ok_or_else(|| format!("`{name}` is missing; {}", expected()))?;
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.and_then(|n| u32::try_from(n).ok()).ok_or_else(|| format!("`{name}` is {value}; {}", expected()))
}

/// Text, or nothing where it is null or not there.
fn text<'a>(record: &'a Value, name: &str) -> std::result::Result<&'a str, String> {
    match record.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("`{name}` is {other}, expected text")),
    }
}

/// A finite score.
fn number(value: &Value, name: &str) -> std::result::Result<f32, String> {
    let found = value.as_f64().map(|v| v as f32).filter(|v| v.is_finite());
    found.ok_or_else(|| format!("`{name}` is {value}, expected a number"))
}
