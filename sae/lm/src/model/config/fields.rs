//! Typed reading of a JSON object whose keys have had other names, and of what its class takes where it says
//! nothing.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// What each family's class takes where a configuration says nothing.
static DEFAULTS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("defaults.json")).unwrap_or_default());

/// A JSON object and the file it is from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// For names that the object does not have. A name with the value null is there and says "none".
    defaults: Option<&'a Map<String, Value>>,
    path: &'a Path,
}

/// Names that families have defaults for; a configuration made of a GGUF file says null for those that the
/// file leaves out.
pub(in crate::model) fn names_with_defaults(family: &str) -> impl Iterator<Item = &'static str> {
    DEFAULTS.get(family).and_then(Value::as_object).into_iter().flat_map(|map| map.keys().map(String::as_str))
}

impl<'a> Fields<'a> {
    /// The fields of the object `value`; `path` is the file that messages name.
    ///
    /// # Errors
    /// A value that is not an object.
    pub fn new(value: &'a Value, path: &'a Path) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { map, defaults: None, path }),
            _ => Err(Error::format(path, "is not a JSON object")),
        }
    }

    pub fn error(&self, problem: impl Into<String>) -> Error {
        Error::format(self.path, problem.into())
    }

    /// The same object, with the defaults of a family.
    pub fn with_defaults_of(self, family: &str) -> Self {
        Self { defaults: DEFAULTS.get(family).and_then(Value::as_object), ..self }
    }

    /// The first of `names` that has a value; if the object has none of the names, the default of the first
    /// that has one.
    pub fn get(&self, names: &[&'a str]) -> Option<(&'a str, &'a Value)> {
        let first = |map: &'a Map<String, Value>| {
            names
                .iter()
                .find_map(|&name| map.get(name).filter(|value| !value.is_null()).map(|value| (name, value)))
        };
        let said = names.iter().any(|&name| self.map.contains_key(name));
        first(self.map).or_else(|| self.defaults.filter(|_| !said).and_then(first))
    }

    /// What the object has under a name that is made while reading.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
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

    /// The first of `names` that is given, as a size.
    ///
    /// # Errors
    /// A value that is not a whole number from 0 to 2⁴⁰, with its name.
    pub fn size(&self, names: &[&'a str]) -> Result<Option<usize>> {
        let read = |v: &Value| v.as_u64().filter(|n| *n <= 1 << 40).map(|n| n as usize);
        self.typed(names, "a number of things", read)
    }

    /// A size that a configuration must have.
    ///
    /// # Errors
    /// As [`Fields::size`], and if none of `names` is given.
    pub fn needed(&self, names: &[&'a str]) -> Result<usize> {
        self.size(names)?.ok_or_else(|| self.error(format!("has no {}", names[0])))
    }

    /// The first of `names` that is given, as a number.
    ///
    /// # Errors
    /// A value that is not a finite number, with its name.
    pub fn number(&self, names: &[&'a str]) -> Result<Option<f64>> {
        self.typed(names, "a finite number", |v| v.as_f64().filter(|n| n.is_finite()))
    }

    /// A switch, `default` where it is not given.
    ///
    /// # Errors
    /// A value that is neither true nor false.
    pub fn flag(&self, name: &'a str, default: bool) -> Result<bool> {
        Ok(self.typed(&[name], "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// The first of `names` that is given, as a text.
    ///
    /// # Errors
    /// A value that is not a text, with its name.
    pub fn text(&self, names: &[&'a str]) -> Result<Option<&'a str>> {
        self.typed(names, "a text", Value::as_str)
    }

    /// A token's number; of several the first.
    ///
    /// # Errors
    /// A value that is not a whole number below 2³², or an empty list. Negative ones mean "none".
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

    /// A list.
    ///
    /// # Errors
    /// A value that is not a list.
    pub fn list(&self, name: &'a str) -> Result<Option<&'a [Value]>> {
        self.typed(&[name], "a list", |v| v.as_array().map(Vec::as_slice))
    }

    /// The first of `names` that is given, as an object.
    ///
    /// # Errors
    /// A value that is not an object, with its name.
    pub fn object(&self, names: &[&'a str]) -> Result<Option<Self>> {
        match self.get(names) {
            None => Ok(None),
            Some((_, value @ Value::Object(_))) => Self::new(value, self.path).map(Some),
            Some((name, value)) => Err(self.error(format!("{name} is {value}; expected an object"))),
        }
    }

    /// A switch that this program has in one position only.
    ///
    /// # Errors
    /// The other position, or a value that is neither true nor false.
    pub fn only(&self, name: &'a str, value: bool) -> Result<()> {
        match self.flag(name, value)? == value {
            true => Ok(()),
            false => Err(self.error(format!("{name} is {}; this version reads {value} only", !value))),
        }
    }
}
