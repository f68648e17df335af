//! `s3://bucket/prefix` and its kin: what a place outside of this machine is called.

use std::fmt;

use super::xml::percent_decoded;
use crate::error::{Error, Result};

/// How the addresses of S3 begin.
pub const SCHEME: &str = "s3://";

/// What kind of store an address is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Amazon's, and every server that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
    /// A web server, without encryption.
    Http,
    /// A web server.
    Https,
}

impl Scheme {
    const ALL: [Self; 5] = [Self::S3, Self::Google, Self::Azure, Self::Http, Self::Https];

    /// How its addresses begin.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::S3 => SCHEME,
            Self::Google => "gs://",
            Self::Azure => "az://",
            Self::Http => "http://",
            Self::Https => "https://",
        }
    }

    /// Its folder in the cache.
    pub(super) fn folder(self) -> &'static str {
        self.prefix().trim_end_matches("://")
    }

    /// Whether anything is written there: the others are only read.
    pub fn is_written(self) -> bool {
        self == Self::S3
    }

    /// Whether it is a web server, which has a host in place of a bucket.
    pub fn is_web(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| text.starts_with(scheme.prefix()))
    }

    fn form(self) -> &'static str {
        match self {
            Self::S3 => "write s3://BUCKET/PREFIX",
            Self::Google => "write gs://BUCKET/PREFIX",
            Self::Azure => "write az://CONTAINER/PREFIX",
            Self::Http => "write http://HOST/FOLDER",
            Self::Https => "write https://HOST/FOLDER",
        }
    }
}

/// A place in a store: a bucket, and a key or the beginning of keys in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// What kind of store.
    pub scheme: Scheme,
    /// The bucket or container; of a web server its host, and port if it has one.
    pub bucket: String,
    /// The key or prefix, without a slash at either end; empty for the whole bucket.
    pub key: String,
}

impl Address {
    /// Whether `text` is meant as an address.
    pub fn is_meant(text: &str) -> bool {
        Scheme::of(text).is_some()
    }

    /// Reads an address; a slash at the end makes no difference.
    ///
    /// # Errors
    /// [`Error::Bucket`]: a bucket's name that no store has, a key that cannot be the name of a file.
    pub fn parse(text: &str) -> Result<Self> {
        let Some(scheme) = Scheme::of(text) else {
            return Err(Error::bucket(text, "does not begin with s3://", Some(Scheme::S3.form())));
        };
        if scheme.is_web() {
            return Self::parse_web(scheme, text);
        }
        let refuse = |problem: &str| Error::bucket(text, problem, Some(scheme.form()));
        let rest = &text[scheme.prefix().len()..];
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '$');
        if bucket.is_empty() || bucket.starts_with('.') || !bucket.chars().all(plain) {
            return Err(refuse("the bucket's name must be of letters, digits, dots, dashes and underscores"));
        }
        let key = key.strip_suffix('/').unwrap_or(key);
        if !key.is_empty() && !is_a_path(key) {
            return Err(refuse("empty names, `.` and `..` cannot be parts of a path in a bucket"));
        }
        Ok(Self { scheme, bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// `https://host:port/folder`, with or without percent-encoding.
    fn parse_web(scheme: Scheme, text: &str) -> Result<Self> {
        let rest = &text[scheme.prefix().len()..];
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.contains('@') {
            // What stands before the @ may be a password: not shown.
            let remedy = "leave it out: servers that ask for a password are not read";
            return Err(Error::bucket(scheme.prefix(), "has a user in it", Some(remedy)));
        }
        let refuse = |problem: &str| Err(Error::bucket(text, problem, Some(scheme.form())));
        if path.contains(['?', '#']) {
            // So may what stands after the question mark.
            let shown = format!("{}{host}/…", scheme.prefix());
            let remedy = "give the address of a folder, which ends without ? and #";
            return Err(Error::bucket(&shown, "is not the address of a folder", Some(remedy)));
        }
        if host.ends_with(".blob.core.windows.net") {
            let account = host.trim_end_matches(".blob.core.windows.net");
            let remedy = format!("write az://CONTAINER/PREFIX, and set AZURE_STORAGE_ACCOUNT={account}");
            return Err(Error::bucket(text, "is Azure Blob Storage", Some(&remedy)));
        }
        let (name, port) = host.split_once(':').unwrap_or((host, "80"));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if name.is_empty()
            || !name.chars().all(plain)
            || name.starts_with('.')
            || port.parse::<u16>().is_err()
        {
            return refuse("does not name a host");
        }
        let key = percent_decoded(path.strip_suffix('/').unwrap_or(path));
        match key {
            Some(key)
                if key.is_empty()
                    || (is_a_path(&key) && !key.split('/').any(|part| part.starts_with('.'))) =>
            {
                Ok(Self { scheme, bucket: host.to_ascii_lowercase(), key })
            }
            _ => refuse("empty names and names that begin with a dot cannot be parts of its path"),
        }
    }

    /// The address of something below.
    #[must_use]
    pub fn join(&self, below: &str) -> Self {
        self.with_key(&if self.key.is_empty() { below.to_owned() } else { format!("{}/{below}", self.key) })
    }

    /// The address of a different key in the same bucket.
    #[must_use]
    pub(super) fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }
}

/// Whether a key can be a relative path: nothing that leads out of its folder, no part without a name.
pub(super) fn is_a_path(key: &str) -> bool {
    key.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.scheme.prefix(), self.bucket)?;
        match self.key.as_str() {
            "" => Ok(()),
            // What would be read as an encoded character.
            key if self.scheme.is_web() => write!(f, "/{}", key.replace('%', "%25")),
            key => write!(f, "/{key}"),
        }
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
            ("gs://lake/a", "lake", "a"),
            ("az://$web/a", "$web", "a"),
            ("http://127.0.0.1:8080/runs", "127.0.0.1:8080", "runs"),
            ("https://example.org", "example.org", ""),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.bucket.as_str(), address.key.as_str()), (bucket, key));
            assert_eq!(address.to_string(), text.trim_end_matches('/'));
        }
        for wrong in [
            "s3://",
            "s3:///a",
            "s3://..",
            "s3://a b/c",
            "s3://lake/../x",
            "s3://lake/a//b",
            "lake/a",
            "https://",
            "https://a b",
            "https://host:port/a",
            "https://host/../a",
            "https://host/%2E%2E/a",
            "https://host/.objects/a",
            "https://host/a%2F..%2Fb",
            "https://host/%FF",
        ] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Address::parse("s3://lake").unwrap().join("a").to_string(), "s3://lake/a");
    }

    #[test]
    fn addresses_of_the_web_are_decoded_and_can_be_read_again() {
        for (text, key) in
            [("https://h/a%20b/c", "a b/c"), ("https://h/a b/c", "a b/c"), ("https://h/100%25", "100%")]
        {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.key, key);
            assert_eq!(Address::parse(&address.to_string()).unwrap(), address);
        }
        for (text, word) in [
            ("https://me:secret@host/a", "user"),
            ("https://host/a?sig=secret", "folder"),
            ("https://acc.blob.core.windows.net/c/a", "AZURE_STORAGE_ACCOUNT=acc"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("secret"), "{error}");
        }
    }
}
