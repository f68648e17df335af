//! Which store is meant, and where what comes from it is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::credentials::{Credentials, Lookup, account};
use crate::error::{Error, Result};

/// Bytes that the cache may take if `SAE_CACHE_SIZE` does not say: 20 GB.
pub const DEFAULT_LIMIT: u64 = 20_000_000_000;

/// How a store is reached.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `https://host`, or `None` for AWS.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// Requests are not signed without.
    pub credentials: Option<Credentials>,
    /// A file of certificates (PEM) to trust in place of the public ones.
    pub certificates: Option<PathBuf>,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// Bytes that the cache may take.
    pub limit: u64,
    /// Waited before the first repetition of a request; doubled each time.
    pub pause: Duration,
}

impl Settings {
    /// What the environment and `~/.aws` say.
    ///
    /// # Errors
    /// [`Error::Bucket`]: credentials that are incomplete or need a different program, an address of a store that is not one, a
    /// size that is not a number; files of `~/.aws` that cannot be read.
    pub fn from_environment() -> Result<Self> {
        Self::from_lookup(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_lookup(lookup: Lookup<'_>) -> Result<Self> {
        let account = account(lookup)?;
        let limit = match lookup("SAE_CACHE_SIZE") {
            Some(text) => size(&text).ok_or_else(|| {
                let problem = format!("SAE_CACHE_SIZE is {text}");
                Error::bucket("s3://", &problem, Some("give bytes, or a number with MB, GB or TB: 50GB"))
            })?,
            None => DEFAULT_LIMIT,
        };
        Ok(Self {
            endpoint: account.endpoint.map(|endpoint| checked(&endpoint)).transpose()?,
            region: account.region.unwrap_or_else(|| "us-east-1".to_owned()),
            credentials: account.credentials,
            certificates: lookup("AWS_CA_BUNDLE").or_else(|| lookup("SSL_CERT_FILE")).map(PathBuf::from),
            cache: cache(lookup),
            limit,
            pause: Duration::from_millis(200),
        })
    }

    /// The folder of what comes from this store: `CACHE/s3/HOST`.
    pub fn root(&self) -> PathBuf {
        let host = match &self.endpoint {
            None => "aws".to_owned(),
            Some(endpoint) => {
                let plain = |c: char| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' };
                endpoint
                    .split_once("://")
                    .map_or(endpoint.as_str(), |(_, host)| host)
                    .chars()
                    .map(plain)
                    .collect()
            }
        };
        self.cache.join("s3").join(host)
    }
}

/// `http://host` or `https://host:port`, without a slash at the end.
fn checked(endpoint: &str) -> Result<String> {
    let plain = endpoint.trim_end_matches('/');
    let rest = plain.strip_prefix("https://").or_else(|| plain.strip_prefix("http://"));
    match rest {
        Some(host) if !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']) => Ok(plain.to_owned()),
        // It may hold a password: not shown.
        _ => Err(Error::bucket(
            "s3://",
            "the endpoint (AWS_ENDPOINT_URL or endpoint_url in ~/.aws/config) is not the address of a server",
            Some("write https://HOST or http://HOST:PORT, without a path, user or password"),
        )),
    }
}

/// `SAE_CACHE`, else this program's folder where caches are.
fn cache(lookup: Lookup<'_>) -> PathBuf {
    if let Some(own) = lookup("SAE_CACHE") {
        return absolute(Path::new(&own));
    }
    let caches = lookup("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(lookup("HOME")?).join(".cache")))
        .or_else(|| lookup("LOCALAPPDATA").map(PathBuf::from))
        .unwrap_or_else(std::env::temp_dir);
    absolute(&caches).join("sae-workbench")
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// `20GB` → 20,000,000,000.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "mb" => 1e6,
        "gb" | "g" => 1e9,
        "tb" | "t" => 1e12,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| (number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::from_lookup(&|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn where_things_are() {
        let plain = of(&[("HOME", "/h")]).unwrap();
        assert_eq!(plain.root(), Path::new("/h/.cache/sae-workbench/s3/aws"));
        assert_eq!((plain.limit, plain.region.as_str()), (DEFAULT_LIMIT, "us-east-1"));
        let own = of(&[
            ("SAE_CACHE", "/big"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000/"),
            ("SAE_CACHE_SIZE", "1.5 TB"),
        ]);
        let own = own.unwrap();
        assert_eq!(own.root(), Path::new("/big/s3/127.0.0.1_9000"));
        assert_eq!((own.limit, own.endpoint.as_deref()), (1_500_000_000_000, Some("http://127.0.0.1:9000")));
        for (name, value) in [("SAE_CACHE_SIZE", "much"), ("AWS_ENDPOINT_URL", "http://me:secret@host")] {
            let error = of(&[(name, value)]).unwrap_err();
            assert!(error.remedy().is_some() && !error.to_string().contains("secret"), "{error}");
        }
    }
}
