//! Who sends a request. Credentials are read where every S3 program reads them, are never written and never shown.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::sign::encoded;
use super::xml::percent_decoded;
use crate::error::{Error, Result};

/// What proves who sends a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(Kind);

/// As stores have them.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A key and its secret, by which requests are signed as S3 has it, and the session token of temporary ones.
    Pair { key: String, secret: String, token: Option<String> },
    /// A token that is sent as it is.
    Bearer(String),
    /// An account of Azure and its key.
    Account { name: String, key: Vec<u8> },
    /// What Azure wants in the query of every address.
    Query(Vec<(String, String)>),
}

impl Credentials {
    /// A key, its secret, and the session token of temporary ones.
    pub fn new(key: &str, secret: &str, token: Option<String>) -> Self {
        Self(Kind::Pair { key: key.to_owned(), secret: secret.to_owned(), token })
    }

    /// A token that is sent as it is.
    pub fn bearer(token: &str) -> Self {
        Self(Kind::Bearer(token.to_owned()))
    }

    /// An account of Azure and its key.
    pub fn account(name: &str, key: Vec<u8>) -> Self {
        Self(Kind::Account { name: name.to_owned(), key })
    }

    /// A shared access signature of Azure; with or without a `?` before it.
    pub fn query(signature: &str) -> Self {
        let pairs =
            signature.trim().trim_start_matches('?').split('&').filter_map(|pair| pair.split_once('='));
        let decoded = |text: &str| percent_decoded(text).unwrap_or_else(|| text.to_owned());
        Self(Kind::Query(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()))
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.0
    }

    /// `text`, which a library made of an address, without what must not be shown.
    pub(super) fn hidden(&self, text: &str) -> String {
        match &self.0 {
            Kind::Query(pairs) => {
                pairs.iter().filter(|(name, _)| name == "sig").fold(text.to_owned(), |text, (_, value)| {
                    text.replace(&encoded(value, false), "…").replace(value, "…")
                })
            }
            _ => text.to_owned(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

/// What `~/.aws` and the environment say.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    /// Requests are not signed without.
    pub credentials: Option<Credentials>,
    pub region: Option<String>,
    pub endpoint: Option<String>,
}

/// A variable that is set to something.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the variables `AWS_…`, then the profile in `~/.aws`.
///
/// # Errors
/// [`Error::Bucket`]: half a pair of variables, a profile that is named and not there, or one that a different program has to resolve;
/// files that cannot be read.
pub(super) fn account(lookup: Lookup<'_>) -> Result<Account> {
    let named = lookup("AWS_PROFILE");
    let profile = profile(lookup, named.as_deref())?;
    let of_profile = |name: &str| profile.as_ref().and_then(|profile| profile.get(name).cloned());
    let pair = match (lookup("AWS_ACCESS_KEY_ID"), lookup("AWS_SECRET_ACCESS_KEY")) {
        (Some(key), Some(secret)) => Some(Credentials::new(&key, &secret, lookup("AWS_SESSION_TOKEN"))),
        (None, None) => None,
        (key, _) => {
            let [there, missing] = match key {
                Some(_) => ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
                None => ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"],
            };
            return Err(refused(&format!("{there} is set without {missing}"), Some("set both or neither")));
        }
    };
    let credentials = match pair {
        Some(pair) => Some(pair),
        None => match (of_profile("aws_access_key_id"), of_profile("aws_secret_access_key")) {
            (Some(key), Some(secret)) => {
                Some(Credentials::new(&key, &secret, of_profile("aws_session_token")))
            }
            _ => {
                let other = ["sso_session", "sso_start_url", "role_arn", "credential_process"];
                if let Some(found) = other.iter().find(|name| of_profile(name).is_some()) {
                    return Err(refused(
                        &format!("the profile has {found}, which this program does not resolve"),
                        Some("run: eval \"$(aws configure export-credentials --format env)\""),
                    ));
                }
                None
            }
        },
    };
    Ok(Account {
        credentials,
        region: lookup("AWS_REGION")
            .or_else(|| lookup("AWS_DEFAULT_REGION"))
            .or_else(|| of_profile("region")),
        endpoint: lookup("AWS_ENDPOINT_URL_S3")
            .or_else(|| lookup("AWS_ENDPOINT_URL"))
            .or_else(|| of_profile("endpoint_url")),
    })
}

fn refused(problem: &str, remedy: Option<&str>) -> Error {
    Error::bucket("s3://", problem, remedy)
}

/// The entries of one profile, of both files.
fn profile(lookup: Lookup<'_>, named: Option<&str>) -> Result<Option<BTreeMap<String, String>>> {
    let home = lookup("HOME").or_else(|| lookup("USERPROFILE")).map(PathBuf::from);
    let file = |variable: &str, name: &str| {
        let usual = home.as_ref().map(|home| home.join(".aws").join(name));
        lookup(variable).map(PathBuf::from).or(usual)
    };
    let wanted = named.unwrap_or("default");
    let mut entries: Option<BTreeMap<String, String>> = None;
    let files = [file("AWS_CONFIG_FILE", "config"), file("AWS_SHARED_CREDENTIALS_FILE", "credentials")];
    for path in files.iter().flatten() {
        if let Some(found) = read(path)?.remove(wanted) {
            entries.get_or_insert_default().extend(found);
        }
    }
    match named {
        Some(name) if entries.is_none() => Err(refused(
            &format!("AWS_PROFILE is {name}; there is no such profile in ~/.aws"),
            Some("unset it or name one that is there"),
        )),
        _ => Ok(entries),
    }
}

/// Profile → entries of a file of `~/.aws`; none where there is no file. Indented lines belong to a service and are left out.
fn read(path: &Path) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let mut profiles: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        let plain = line.trim();
        if let Some(name) = plain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let name = name.trim();
            current = Some(name.strip_prefix("profile ").unwrap_or(name).trim().to_owned());
        } else if let (Some(profile), Some((name, value)), false) =
            (&current, plain.split_once('='), line.starts_with([' ', '\t', '#', ';']))
        {
            let entries = profiles.entry(profile.clone()).or_default();
            entries.insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    Ok(profiles)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Account> {
        account(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn variables_go_before_profiles() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(home.path().join(".aws").join(name), text).unwrap();
        write(
            "credentials",
            "[default]\naws_access_key_id = A\naws_secret_access_key=s1\n# no\n[lab]\naws_access_key_id=B\n\
             aws_secret_access_key=s2\naws_session_token=t2\n",
        );
        write(
            "config",
            "[default]\nregion=eu-west-1\n[profile lab]\nregion = us-west-2\nendpoint_url = http://lab:9\ns3 =\n  \
             region = nowhere\n[profile sso]\nsso_session = x\n",
        );
        let home = home.path().to_str().unwrap();
        let found = of(&[("HOME", home)]).unwrap();
        assert_eq!(found.credentials, Some(Credentials::new("A", "s1", None)));
        assert_eq!((found.region.as_deref(), found.endpoint), (Some("eu-west-1"), None));
        let found = of(&[("HOME", home), ("AWS_PROFILE", "lab")]).unwrap();
        assert_eq!(found.credentials, Some(Credentials::new("B", "s2", Some("t2".into()))));
        assert_eq!(found.region.as_deref(), Some("us-west-2"));
        assert_eq!(found.endpoint.as_deref(), Some("http://lab:9"));
        let both = [
            ("AWS_ACCESS_KEY_ID", "C"),
            ("AWS_SECRET_ACCESS_KEY", "s3"),
            ("AWS_REGION", "r"),
            ("HOME", home),
        ];
        let found = of(&both).unwrap();
        assert_eq!(found.credentials, Some(Credentials::new("C", "s3", None)));
        assert_eq!(found.region.as_deref(), Some("r"));
        assert!(of(&both[..1]).unwrap_err().to_string().contains("without AWS_SECRET_ACCESS_KEY"));
        assert!(of(&[("HOME", home), ("AWS_PROFILE", "nobody")]).unwrap_err().to_string().contains("nobody"));
        let sso = of(&[("HOME", home), ("AWS_PROFILE", "sso")]).unwrap_err();
        assert!(sso.remedy().unwrap().contains("export-credentials"), "{sso}");
        assert_eq!(of(&[("HOME", "/nowhere")]).unwrap().credentials, None);
    }

    #[test]
    fn nothing_shows_them() {
        let shown = format!(
            "{:?}",
            Account {
                credentials: Some(Credentials::new("AKIA", "wJal", Some("tok".into()))),
                ..Account::default()
            }
        );
        assert!(!shown.contains("AKIA") && !shown.contains("wJal") && !shown.contains("tok"), "{shown}");
    }
}
