//! Typed reading of a JSON object whose keys have had other names.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// A JSON object and the file it is from. Null counts as absent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: &'a Path,
}

impl<'a> Fields<'a> {
    pub fn new(value: &'a Value, path: &'a Path) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            _ => Err(Error::format(path, "is no JSON object")),
        }
    }

    pub fn error(&self, problem: impl Into<String>) -> Error {
        Error::format(self.path, problem.into())
    }

    /// The first of `names` that is there.
    pub fn get(&self, names: &[&'a str]) -> Option<(&'a str, &'a Value)> {
        names
            .iter()
            .find_map(|&name| self.map.get(name).filter(|value| !value.is_null()).map(|value| (name, value)))
    }

    fn typed<T>(
        &self,
        names: &[&'a str],
        kind: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some((name, value)) = self.get(names) else { return Ok(None) };
        let wrong = || self.error(format!("{name} is {value}; expected {kind}"));
        read(value).map(Some).ok_or_else(wrong)
    }

    pub fn size(&self, names: &[&'a str]) -> Result<Option<usize>> {
        let read = |v: &Value| v.as_u64().filter(|n| *n <= 1 << 40).map(|n| n as usize);
        self.typed(names, "a number of things", read)
    }

    pub fn needed(&self, names: &[&'a str]) -> Result<usize> {
        self.size(names)?.ok_or_else(|| self.error(format!("has no {}", names[0])))
    }

    pub fn number(&self, names: &[&'a str]) -> Result<Option<f64>> {
        self.typed(names, "a finite number", |v| v.as_f64().filter(|n| n.is_finite()))
    }

    pub fn flag(&self, name: &'a str, default: bool) -> Result<bool> {
        Ok(self.typed(&[name], "true or false", Value::as_bool)?.unwrap_or(default))
    }

    pub fn text(&self, names: &[&'a str]) -> Result<Option<&'a str>> {
        self.typed(names, "a text", Value::as_str)
    }

    /// A token's number; of several the first.
    pub fn token(&self, name: &'a str) -> Result<Option<u32>> {
        let read = |v: &Value| {
            let one = v.as_array().map_or(Some(v), |all| all.first())?;
            one.as_u64().and_then(|n| u32::try_from(n).ok())
        };
        // Some configurations have −1 for "none".
        if self.get(&[name]).is_some_and(|(_, v)| v.as_i64().is_some_and(|n| n < 0)) {
            return Ok(None);
        }
        self.typed(&[name], "a token's number", read)
    }

    pub fn list(&self, name: &'a str) -> Result<Option<&'a [Value]>> {
        self.typed(&[name], "a list", |v| v.as_array().map(Vec::as_slice))
    }

    pub fn object(&self, name: &'a str) -> Result<Option<Self>> {
        match self.get(&[name]) {
            None => Ok(None),
            Some((_, value @ Value::Object(_))) => Self::new(value, self.path).map(Some),
            Some((_, value)) => Err(self.error(format!("{name} is {value}; expected an object"))),
        }
    }

    /// A switch that this program has in one position only.
    pub fn only(&self, name: &'a str, value: bool) -> Result<()> {
        match self.flag(name, value)? == value {
            true => Ok(()),
            false => Err(self.error(format!("{name} is {}; this version reads {value} only", !value))),
        }
    }
}
