//! Typed access to the keys of a GGUF file.

use super::Gguf;
use crate::{Error, Result};

/// Numbers of a tensor that is read with the metadata at most: half of a head's.
const LONGEST_VECTOR: usize = 1 << 12;

/// A key's value. Small types are widened.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
}

impl Value {
    /// For errors: the value, or what kind of array.
    pub fn shown(&self) -> String {
        match self {
            Self::Integer(n) => n.to_string(),
            Self::Float(x) => x.to_string(),
            Self::Bool(b) => b.to_string(),
            Self::Text(text) => format!("`{}`", text.chars().take(80).collect::<String>()),
            Self::Integers(v) => format!("an array of {} integers", v.len()),
            Self::Floats(v) => format!("an array of {} numbers", v.len()),
            Self::Texts(v) => format!("an array of {} texts", v.len()),
        }
    }
}

impl Gguf {
    pub(super) fn problem(&self, text: impl Into<String>) -> Error {
        Error::format(self.path(), text)
    }

    /// The error about a value of a different type.
    fn mistyped(&self, key: &str, value: &Value, expected: &str) -> Error {
        self.problem(format!("key `{key}` is {}; expected {expected}", value.shown()))
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.header.metadata.get(key)
    }

    /// Fails if the key is missing.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.problem(format!("has no key `{key}`")))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.mistyped(key, other, "a text")),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.mistyped(key, other, "true or false")),
        }
    }

    pub(super) fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Float(x)) if x.is_finite() => Ok(Some(*x)),
            Some(other) => Err(self.mistyped(key, other, "a finite number")),
        }
    }

    /// A size or count: 0 to 2³². An array is taken for one number if all its entries are the same.
    pub(super) fn size(&self, key: &str) -> Result<Option<u64>> {
        let number = match self.value(key) {
            None => return Ok(None),
            Some(Value::Integer(n)) => Some(*n),
            Some(Value::Integers(all)) => {
                all.first().filter(|first| all.iter().all(|n| n == *first)).map(|n| i128::from(*n))
            }
            Some(_) => None,
        };
        match (number, self.value(key)) {
            (Some(n), _) if (0..=1 << 32).contains(&n) => Ok(Some(n as u64)),
            (_, Some(value)) => Err(self.mistyped(key, value, "one number, 0 to 2^32")),
            (_, None) => Ok(None),
        }
    }

    pub(super) fn texts(&self, key: &str) -> Result<Option<&[String]>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(texts)),
            Some(other) => Err(self.mistyped(key, other, "an array of texts")),
        }
    }

    pub(super) fn integers(&self, key: &str) -> Result<Option<&[i64]>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Integers(integers)) => Ok(Some(integers)),
            Some(other) => Err(self.mistyped(key, other, "an array of integers")),
        }
    }

    pub(super) fn floats(&self, key: &str) -> Result<Option<&[f32]>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Floats(floats)) => Ok(Some(floats)),
            Some(other) => Err(self.mistyped(key, other, "an array of numbers")),
        }
    }

    /// The numbers of a small tensor, none if the file does not have it.
    pub(super) fn vector(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let Some(tensor) = self.header.tensors.get(name) else { return Ok(None) };
        let [length] = tensor.shape[..] else {
            return Err(
                self.problem(format!("tensor `{name}` has shape {:?}; expected a vector", tensor.shape))
            );
        };
        if length > LONGEST_VECTOR {
            let text = format!("tensor `{name}` has {length} numbers; expected at most {LONGEST_VECTOR}");
            return Err(self.problem(text));
        }
        let mut numbers = vec![0.0; length];
        tensor.encoding.read(&self.files[tensor.file], tensor.at, &mut numbers)?;
        match numbers.iter().all(|n| n.is_finite()) {
            true => Ok(Some(numbers)),
            false => Err(self.problem(format!("tensor `{name}` holds NaN or infinite numbers"))),
        }
    }

    /// `general.architecture`.
    pub(super) fn architecture(&self) -> Result<&str> {
        let key = "general.architecture";
        self.required(key, self.text(key)?)
    }
}
