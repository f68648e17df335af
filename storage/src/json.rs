//! Reading of JSON files, and of their format and version before anything else.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// Reads a JSON file. Errors name the path, the line and the column.
///
/// # Errors
/// A file that cannot be read; [`Error::Json`] for one that does not hold a `T`.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read_bytes(path)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::json(path, &e))
}

/// Reads a JSON file that begins with `format` and `version`. Those two are judged first, so that a newer file is
/// called newer, not broken.
pub(crate) fn read_versioned<T: DeserializeOwned>(path: &Path, format: &str, supported: u64) -> Result<T> {
    let bytes = read_bytes(path)?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| Error::json(path, &e))?;
    let foreign = |found: String| Error::Foreign {
        path: path.to_owned(),
        found,
        expected: format!("a JSON object with \"format\": {format:?}"),
    };
    match value.get("format") {
        Some(Value::String(found)) if found == format => {}
        Some(found) => return Err(foreign(format!("\"format\": {found}"))),
        None => return Err(foreign("JSON without a \"format\"".to_owned())),
    }
    let version = value
        .get("version")
        .and_then(Value::as_u64)
        .ok_or_else(|| foreign("no whole number as \"version\"".to_owned()))?;
    if version > supported {
        return Err(Error::Newer { path: path.to_owned(), found: version, supported });
    }
    // From the bytes once more: only so do errors have a line and a column.
    serde_json::from_slice(&bytes).map_err(|e| Error::json(path, &e))
}

/// Fields in which two objects differ, one `name: A there, B here` each; `None` when they are equal.
pub(crate) fn differences(there: &Value, here: &Value) -> Option<String> {
    let mut lines = Vec::new();
    compare("", there, here, &mut lines);
    (!lines.is_empty()).then(|| lines.join("; "))
}

fn compare(name: &str, there: &Value, here: &Value, lines: &mut Vec<String>) {
    if let (Value::Object(a), Value::Object(b)) = (there, here) {
        let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            compare(&name, a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), lines);
        }
    } else if there != here {
        lines.push(format!("{name}: {there} there, {here} here"));
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            Error::Missing { path: path.to_owned(), remedy: "check the path".to_owned() }
        }
        _ => Error::Io { path: path.to_owned(), source },
    })
}
