//! What a folder says, without what may differ between two runs of the same job: times, who worked, and where a table is cut into files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// Tables and files below a folder, each with a hash of what it says.
pub type Content = BTreeMap<String, u64>;

/// Reads `place`, a file or a folder. Checkpoints are left out: which of them are kept depends on when a job stopped.
pub fn content(place: &Path) -> Content {
    let mut hashes: BTreeMap<String, DefaultHasher> = BTreeMap::new();
    add(place, "", &mut hashes);
    hashes.into_iter().map(|(name, hash)| (name, hash.finish())).collect()
}

/// Names in which two contents differ.
pub fn differences(a: &Content, b: &Content) -> Vec<String> {
    let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
    names.filter(|name| a.get(*name) != b.get(*name)).cloned().collect()
}

/// Names that only a job at work may leave.
pub fn leftovers(place: &Path) -> Vec<String> {
    let mut found = Vec::new();
    walk(place, &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let left = name == ".lock"
            || name.contains(".partial")
            || name.ends_with(".old")
            || name.contains(".sae-export-")
            || name.ends_with("journal.json");
        if left {
            found.push(path.display().to_string());
        }
    });
    found
}

fn walk(place: &Path, see: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        see(&path);
        if path.is_dir() {
            walk(&path, see);
        }
    }
}

fn add(place: &Path, name: &str, hashes: &mut BTreeMap<String, DefaultHasher>) {
    if place.is_dir() {
        let mut paths: Vec<_> = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let last = path.file_name().unwrap().to_string_lossy().into_owned();
            let at_work = last.starts_with('.')
                || last.contains(".partial")
                || last.ends_with(".old")
                || last == "journal.json";
            if last != "checkpoints" && last != "checkpoint.safetensors" && !at_work {
                add(&path, &format!("{name}/{last}"), hashes);
            }
        }
        return;
    }
    match place.extension().and_then(|e| e.to_str()) {
        Some("parquet") => {
            let stem = name.trim_end_matches(".parquet");
            let table = stem.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-').to_owned();
            rows(place, hashes.entry(table).or_default());
        }
        Some("json") => {
            let value: Value = serde_json::from_slice(&fs::read(place).unwrap()).expect("whole JSON");
            lasting(value).to_string().hash(hashes.entry(name.to_owned()).or_default());
        }
        _ => fs::read(place).unwrap().hash(hashes.entry(name.to_owned()).or_default()),
    }
}

/// Rows as text, which for floats gives back every bit.
fn rows(path: &Path, hash: &mut DefaultHasher) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap());
    let reader = reader.unwrap_or_else(|e| panic!("{}: {e}", path.display())).build().unwrap();
    let options = FormatOptions::default().with_null("null");
    for batch in reader {
        let batch = batch.unwrap();
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let formats: Vec<ArrayFormatter<'_>> = columns
            .filter(|(field, _)| !is_of_time(field.name()))
            .map(|(_, column)| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            formats.iter().for_each(|format| format.value(row).to_string().hash(hash));
        }
    }
}

/// A record without times and who worked, and without how its tables are cut into files.
fn lasting(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let is_left_out = |key: &str| is_of_time(key) || is_of_files(key) || is_of_who(key);
            let kept = map.into_iter().filter(|(key, _)| !is_left_out(key));
            Value::Object(kept.map(|(key, value)| (key, lasting(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(lasting).collect()),
        other => other,
    }
}

fn is_of_time(key: &str) -> bool {
    ["seconds", "started", "updated", "created", "per_second", "time"].iter().any(|word| key.contains(word))
}

/// Who worked on a shard, and how often it was begun.
fn is_of_who(key: &str) -> bool {
    ["host", "process", "starts"].contains(&key)
}

fn is_of_files(key: &str) -> bool {
    ["parts", "sha256_of_parts", "threads"].contains(&key)
}
