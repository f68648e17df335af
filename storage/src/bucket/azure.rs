//! Azure Blob Storage: who asks, how a request is signed, and what is in a container. It is only read.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::address::{Address, Scheme};
use super::client::{Ask, Client};
use super::credentials::{Credentials, Lookup};
use super::md5;
use super::objects::{Object, bare};
use super::sign::hmac;
use super::xml;
use crate::error::{Error, Result};

/// The version of the protocol that is spoken.
pub(super) const VERSION: &str = "2021-08-06";
const REMEDY: &str = "set AZURE_STORAGE_ACCOUNT, and AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN unless the container is public; or \
                      AZURE_STORAGE_CONNECTION_STRING";

/// What the environment says, in the variables that Azure's own tools read.
#[derive(Debug)]
pub(super) struct Account {
    pub endpoint: String,
    /// Without them only public containers are read.
    pub credentials: Option<Credentials>,
}

/// Reads `AZURE_STORAGE_CONNECTION_STRING`, else `AZURE_STORAGE_ACCOUNT` with `AZURE_STORAGE_KEY` or `AZURE_STORAGE_SAS_TOKEN`.
///
/// # Errors
/// [`Error::Bucket`]: no account, a key that is not one.
pub(super) fn account(lookup: Lookup<'_>) -> Result<Account> {
    let string = lookup("AZURE_STORAGE_CONNECTION_STRING");
    let parts: BTreeMap<&str, &str> = string
        .iter()
        .flat_map(|string| string.split(';'))
        .filter_map(|part| part.trim().split_once('='))
        .collect();
    let value = |part: &str, variable: &str| match &string {
        Some(_) => parts.get(part).map(|value| (*value).to_owned()),
        None => lookup(variable),
    };
    let name = value("AccountName", "AZURE_STORAGE_ACCOUNT");
    let endpoint = match (parts.get("BlobEndpoint"), &name) {
        (Some(endpoint), _) => (*endpoint).to_owned(),
        (None, Some(name)) => {
            let suffix = parts.get("EndpointSuffix").unwrap_or(&"core.windows.net");
            let protocol = parts.get("DefaultEndpointsProtocol").unwrap_or(&"https");
            format!("{protocol}://{name}.blob.{suffix}")
        }
        (None, None) => return Err(refused("no account is named")),
    };
    let key = value("AccountKey", "AZURE_STORAGE_KEY");
    let signature = value("SharedAccessSignature", "AZURE_STORAGE_SAS_TOKEN");
    let credentials = match (name, key, signature) {
        (Some(name), Some(key), _) => {
            let key = STANDARD.decode(key.trim()).map_err(|_| refused("the account's key is not Base64"))?;
            Some(Credentials::account(&name, key))
        }
        (_, _, Some(signature)) => Some(Credentials::query(&signature)),
        _ => None,
    };
    Ok(Account { endpoint, credentials })
}

fn refused(problem: &str) -> Error {
    Error::bucket(Scheme::Azure.prefix(), problem, Some(REMEDY))
}

/// What is signed of a request, by a key that account and server share.
pub(super) struct Unsigned<'a> {
    pub method: &'a str,
    /// The path, encoded as it is sent.
    pub path: &'a str,
    /// Names and values of the query, not encoded.
    pub query: &'a [(String, String)],
    /// Headers to be sent, names in small letters.
    pub headers: &'a [(String, String)],
}

impl Unsigned<'_> {
    /// The value of the header `Authorization`.
    pub fn authorization(&self, account: &str, key: &[u8]) -> String {
        format!("SharedKey {account}:{}", STANDARD.encode(hmac(key, self.text(account).as_bytes())))
    }

    /// The lines that are signed: "Authorize with Shared Key", for Blob Storage.
    fn text(&self, account: &str) -> String {
        let header = |name: &str| {
            self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value.as_str())
        };
        let mut lines = vec![self.method];
        lines.extend(
            [
                "content-encoding",
                "content-language",
                "content-length",
                "content-md5",
                "content-type",
                "date",
                "if-modified-since",
                "if-match",
                "if-none-match",
                "if-unmodified-since",
                "range",
            ]
            .map(header),
        );
        let mut own: Vec<_> = self.headers.iter().filter(|(name, _)| name.starts_with("x-ms-")).collect();
        own.sort_unstable();
        let own: String = own.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let mut query: Vec<_> = self.query.iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        query.sort_unstable();
        let query: String = query.iter().map(|(name, value)| format!("\n{name}:{value}")).collect();
        format!("{}\n{own}/{account}{}{query}", lines.join("\n"), self.path)
    }
}

impl Client {
    /// Every blob of the container whose name begins with `prefix`, page by page.
    ///
    /// # Errors
    /// A store that refuses or stays away; a listing that cannot be understood.
    pub(super) fn list_blobs(&self, container: &Address, prefix: &str) -> Result<Vec<Object>> {
        let unclear = || {
            let problem = "the store's list of blobs cannot be understood";
            Error::bucket(
                &container.join(prefix).to_string(),
                problem,
                Some("check AZURE_STORAGE_CONNECTION_STRING"),
            )
        };
        let mut found = Vec::new();
        let mut marker = String::new();
        loop {
            let mut query = vec![("restype", "container"), ("comp", "list"), ("prefix", prefix)];
            if !marker.is_empty() {
                query.push(("marker", &marker));
            }
            let query = query.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let text = self.ask(container, &Ask { method: "GET", query, ..Ask::default() })?.text();
            if !text.contains("<EnumerationResults") {
                return Err(unclear());
            }
            for blob in xml::elements(&text, "Blob") {
                // With a hierarchy of names a folder is a blob, too.
                if xml::text_of(blob, "ResourceType").as_deref() == Some("directory") {
                    continue;
                }
                let key = xml::text_of(blob, "Name").ok_or_else(unclear)?;
                let bytes =
                    xml::text_of(blob, "Content-Length").and_then(|n| n.parse().ok()).ok_or_else(unclear)?;
                let etag = bare(&xml::text_of(blob, "Etag").ok_or_else(unclear)?);
                let md5 = xml::text_of(blob, "Content-MD5").as_deref().and_then(md5::of_base64);
                found.push(Object { key, bytes, etag, md5 });
            }
            marker = xml::text_of(&text, "NextMarker").unwrap_or_default();
            if marker.is_empty() {
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Account> {
        account(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn variables_are_those_of_azures_tools() {
        let found = of(&[("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_STORAGE_KEY", "AQID")]).unwrap();
        assert_eq!(found.endpoint, "https://acc.blob.core.windows.net");
        assert_eq!(found.credentials, Some(Credentials::account("acc", vec![1, 2, 3])));
        let found =
            of(&[("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=a%3D")]).unwrap();
        assert_eq!(found.credentials, Some(Credentials::query("sv=1&sig=a%3D")));
        let string = "DefaultEndpointsProtocol=http;AccountName=dev;AccountKey=AQI=;BlobEndpoint=http://127.0.0.1:9/dev;";
        let found =
            of(&[("AZURE_STORAGE_CONNECTION_STRING", string), ("AZURE_STORAGE_ACCOUNT", "other")]).unwrap();
        assert_eq!(found.endpoint, "http://127.0.0.1:9/dev");
        assert_eq!(found.credentials, Some(Credentials::account("dev", vec![1, 2])));
        assert_eq!(of(&[("AZURE_STORAGE_ACCOUNT", "acc")]).unwrap().credentials, None);
        assert!(of(&[]).unwrap_err().remedy().unwrap().contains("AZURE_STORAGE_ACCOUNT"));
        let wrong = [("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_STORAGE_KEY", "not one")];
        assert!(!of(&wrong).unwrap_err().to_string().contains("not one"));
    }

    /// The lines of the third example of "Authorize with Shared Key" in Azure's documentation: a list of containers' metadata.
    #[test]
    fn the_lines_of_the_documentation() {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let request = Unsigned {
            method: "GET",
            path: "/mycontainer",
            query: &own(&[("restype", "container"), ("comp", "metadata"), ("timeout", "20")]),
            headers: &own(&[("x-ms-version", "2015-02-21"), ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT")]),
        };
        assert_eq!(
            request.text("myaccount"),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
    }
}
