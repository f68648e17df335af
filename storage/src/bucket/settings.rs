//! Which store is meant, and where what comes from it is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::{Address, Scheme};
use super::azure;
use super::credentials::{Credentials, Lookup, account};
use crate::error::{Error, Result};

/// Google's own server.
const GOOGLE: &str = "https://storage.googleapis.com";

/// Bytes that the cache may take if `SAE_CACHE_SIZE` does not say: 20 GB.
pub const DEFAULT_LIMIT: u64 = 20_000_000_000;

/// How a store is reached.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What kind of store it is.
    pub scheme: Scheme,
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
    /// What the environment says of the store that `address` is in; for S3 also `~/.aws`.
    ///
    /// # Errors
    /// [`Error::Bucket`]: credentials that are incomplete or need a different program, an address of a store that is not one, a
    /// size that is not a number; files of `~/.aws` that cannot be read.
    pub fn of(address: &Address) -> Result<Self> {
        Self::from_lookup(address, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_lookup(address: &Address, lookup: Lookup<'_>) -> Result<Self> {
        let prefix = address.scheme.prefix();
        let limit = match lookup("SAE_CACHE_SIZE") {
            Some(text) => size(&text).ok_or_else(|| {
                let problem = format!("SAE_CACHE_SIZE is {text}");
                Error::bucket(prefix, &problem, Some("give bytes, or a number with MB, GB or TB: 50GB"))
            })?,
            None => DEFAULT_LIMIT,
        };
        let own = if address.scheme == Scheme::S3 { "AWS_CA_BUNDLE" } else { "SSL_CERT_FILE" };
        let (endpoint, region, credentials) = match address.scheme {
            Scheme::S3 => {
                let account = account(lookup)?;
                (account.endpoint, account.region, account.credentials)
            }
            Scheme::Google => (Some(google(lookup)), Some("auto".to_owned()), google_credentials(lookup)?),
            Scheme::Azure => {
                let account = azure::account(lookup)?;
                (Some(account.endpoint), None, account.credentials)
            }
            Scheme::Http | Scheme::Https => (Some(format!("{prefix}{}", address.bucket)), None, None),
        };
        Ok(Self {
            scheme: address.scheme,
            endpoint: endpoint.map(|endpoint| checked(address.scheme, &endpoint)).transpose()?,
            region: region.unwrap_or_else(|| "us-east-1".to_owned()),
            credentials,
            certificates: lookup(own).or_else(|| lookup("SSL_CERT_FILE")).map(PathBuf::from),
            cache: cache(lookup),
            limit,
            pause: Duration::from_millis(200),
        })
    }

    /// How the addresses of this store begin: `s3://`, `https://HOST/`.
    pub fn prefix(&self) -> String {
        match &self.endpoint {
            Some(endpoint) if self.scheme.is_web() => format!("{endpoint}/"),
            _ => self.scheme.prefix().to_owned(),
        }
    }

    /// Whether `address` is in this store.
    pub(super) fn holds(&self, address: &Address) -> bool {
        self.scheme == address.scheme
            && (!self.scheme.is_web()
                || self.endpoint.as_deref() == Some(&format!("{}{}", self.scheme.prefix(), address.bucket)))
    }

    /// The folder of what comes from this store: `CACHE/s3/HOST`, `CACHE/https/HOST`.
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
        self.cache.join(self.scheme.folder()).join(host)
    }
}

/// Where Google's store is: at an emulator, if one is named as its libraries have it named.
fn google(lookup: Lookup<'_>) -> String {
    match lookup("STORAGE_EMULATOR_HOST") {
        Some(host) if host.contains("://") => host,
        Some(host) => format!("http://{host}"),
        None => GOOGLE.to_owned(),
    }
}

fn google_credentials(lookup: Lookup<'_>) -> Result<Option<Credentials>> {
    if let Some(token) = lookup("CLOUDSDK_AUTH_ACCESS_TOKEN") {
        return Ok(Some(Credentials::bearer(&token)));
    }
    match (lookup("GS_ACCESS_KEY_ID"), lookup("GS_SECRET_ACCESS_KEY")) {
        (Some(key), Some(secret)) => Ok(Some(Credentials::new(&key, &secret, None))),
        (None, None) => Ok(None),
        _ => Err(Error::bucket(
            Scheme::Google.prefix(),
            "GS_ACCESS_KEY_ID and GS_SECRET_ACCESS_KEY belong together, and one is not set",
            Some("set both or neither"),
        )),
    }
}

/// `http://host` or `https://host:port`, without a slash at the end. Azure's servers on a machine of one's own have the account after that.
fn checked(scheme: Scheme, endpoint: &str) -> Result<String> {
    let plain = endpoint.trim_end_matches('/');
    let rest = plain.strip_prefix("https://").or_else(|| plain.strip_prefix("http://"));
    let (source, remedy) = match scheme {
        Scheme::Azure => (
            "BlobEndpoint of AZURE_STORAGE_CONNECTION_STRING",
            "write https://HOST or http://HOST:PORT/ACCOUNT",
        ),
        Scheme::Google => ("STORAGE_EMULATOR_HOST", "write http://HOST:PORT"),
        _ => (
            "AWS_ENDPOINT_URL or endpoint_url in ~/.aws/config",
            "write https://HOST or http://HOST:PORT, without a path, user or password",
        ),
    };
    let is_server = |host: &str| !host.is_empty() && !host.contains(['@', '?', '#', ' ']);
    let has_path = |host: &str| host.contains('/') && scheme != Scheme::Azure;
    match rest {
        Some(host) if is_server(host) && !has_path(host) => Ok(plain.to_owned()),
        // It may hold a password: not shown.
        _ => {
            let problem = format!("the endpoint ({source}) is not the address of a server");
            Err(Error::bucket(scheme.prefix(), &problem, Some(remedy)))
        }
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

    fn at(address: &str, variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::from_lookup(&Address::parse(address).unwrap(), &|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn of(variables: &[(&str, &str)]) -> Result<Settings> {
        at("s3://lake", variables)
    }

    #[test]
    fn other_stores_have_their_own_variables_and_folders() {
        let home = ("HOME", "/h");
        let plain = at("gs://lake/a", &[home, ("AWS_ACCESS_KEY_ID", "x")]).unwrap();
        assert_eq!(plain.root(), Path::new("/h/.cache/sae-workbench/gs/storage.googleapis.com"));
        assert_eq!(plain.credentials, None);
        let keys =
            [("GS_ACCESS_KEY_ID", "A"), ("GS_SECRET_ACCESS_KEY", "s"), ("STORAGE_EMULATOR_HOST", "h:9")];
        let own = at("gs://lake", &keys).unwrap();
        assert_eq!(own.endpoint.as_deref(), Some("http://h:9"));
        assert_eq!(own.credentials, Some(Credentials::new("A", "s", None)));
        assert!(at("gs://lake", &keys[..1]).is_err());
        let token = at("gs://lake", &[("CLOUDSDK_AUTH_ACCESS_TOKEN", "t"), keys[0], keys[1]]).unwrap();
        assert_eq!(token.credentials, Some(Credentials::bearer("t")));

        let web = at("https://example.org:8443/runs", &[home]).unwrap();
        assert_eq!(web.root(), Path::new("/h/.cache/sae-workbench/https/example.org_8443"));
        assert_eq!(web.prefix(), "https://example.org:8443/");
        assert!(web.holds(&Address::parse("https://example.org:8443/other").unwrap()));
        for other in ["https://example.org/runs", "http://example.org:8443/runs", "s3://lake"] {
            assert!(!web.holds(&Address::parse(other).unwrap()), "{other}");
        }
        let azure = at("az://c/a", &[home, ("AZURE_STORAGE_ACCOUNT", "acc")]).unwrap();
        assert_eq!(azure.root(), Path::new("/h/.cache/sae-workbench/az/acc.blob.core.windows.net"));
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
