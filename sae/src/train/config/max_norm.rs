//! Which rows are trained on, by their norm.
//!
//! A few rows of huge norm (attention sinks: BOS, the first token of a context) hold most of the energy of some hooks. They would decide
//! the input scale, the mean and the loss, and a dictionary would be good at nothing else.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which rows are trained on: in `train.toml` a number or `"none"`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxNorm {
    /// All rows.
    None,
    /// Rows with a norm of at most this multiple of the median norm.
    Multiple(f32),
}

impl MaxNorm {
    /// The multiple, if there is a limit.
    pub fn multiple(self) -> Option<f32> {
        match self {
            Self::None => None,
            Self::Multiple(multiple) => Some(multiple),
        }
    }
}

impl Serialize for MaxNorm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Multiple(multiple) => serializer.serialize_f32(*multiple),
        }
    }
}

impl<'de> Deserialize<'de> for MaxNorm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f32),
            Word(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(multiple) => Ok(Self::Multiple(multiple)),
            Written::Word(word) if word == "none" => Ok(Self::None),
            Written::Word(word) => Err(serde::de::Error::custom(format!(
                "max_norm is `{word}`; it must be a multiple of the median norm, or none"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::TrainConfig;

    #[test]
    fn a_number_or_none() {
        let read = |text: &str| toml::from_str::<TrainConfig>(text).map(|config| config.max_norm);
        assert_eq!(read("max_norm = 5").unwrap(), MaxNorm::Multiple(5.0));
        assert_eq!(read("max_norm = 2.5").unwrap(), MaxNorm::Multiple(2.5));
        assert_eq!(read("max_norm = \"none\"").unwrap(), MaxNorm::None);
        assert_eq!(read("").unwrap(), MaxNorm::Multiple(10.0));
        assert!(read("max_norm = \"all\"").unwrap_err().to_string().contains("or none"));
        for max_norm in [MaxNorm::None, MaxNorm::Multiple(0.1 + 0.2)] {
            let config = TrainConfig { max_norm, ..TrainConfig::default() };
            assert_eq!(read(&toml::to_string(&config).unwrap()).unwrap(), max_norm);
        }
    }
}
