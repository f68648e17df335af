//! `s3://bucket/prefix`.

use std::fmt;

use crate::error::{Error, Result};

/// How every address begins.
pub const SCHEME: &str = "s3://";

/// A place in an object store: a bucket, and a key or the beginning of keys in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The bucket.
    pub bucket: String,
    /// The key or prefix, without a slash at either end; empty for the whole bucket.
    pub key: String,
}

impl Address {
    /// Whether `text` is meant as an address.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Reads `s3://bucket/prefix`; a slash at the end makes no difference.
    ///
    /// # Errors
    /// [`Error::Bucket`]: a bucket's name that no store has, a key that cannot be the name of a file.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |problem: &str| Error::bucket(text, problem, Some("write s3://BUCKET/PREFIX"));
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| refuse("does not begin with s3://"))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if bucket.is_empty() || bucket.starts_with('.') || !bucket.chars().all(plain) {
            return Err(refuse("the bucket's name must be of letters, digits, dots, dashes and underscores"));
        }
        let key = key.strip_suffix('/').unwrap_or(key);
        if !key.is_empty() && !is_a_path(key) {
            return Err(refuse("empty names, `.` and `..` cannot be parts of a path in a bucket"));
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// The address of something below.
    #[must_use]
    pub fn join(&self, below: &str) -> Self {
        let key = if self.key.is_empty() { below.to_owned() } else { format!("{}/{below}", self.key) };
        Self { bucket: self.bucket.clone(), key }
    }
}

/// Whether a key can be a relative path: nothing that leads out of its folder, no part without a name.
pub(super) fn is_a_path(key: &str) -> bool {
    key.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.bucket)?;
        if self.key.is_empty() { Ok(()) } else { write!(f, "/{}", self.key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, bucket, key) in [
            ("s3://lake", "lake", ""),
            ("s3://lake/", "lake", ""),
            ("s3://lake/a/b", "lake", "a/b"),
            ("s3://lake/a b/ü=1/", "lake", "a b/ü=1"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.bucket.as_str(), address.key.as_str()), (bucket, key));
            assert_eq!(address.to_string(), text.trim_end_matches('/'));
        }
        for wrong in
            ["s3://", "s3:///a", "s3://..", "s3://a b/c", "s3://lake/../x", "s3://lake/a//b", "lake/a"]
        {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Address::parse("s3://lake").unwrap().join("a").to_string(), "s3://lake/a");
    }
}
