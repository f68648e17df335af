//! Google Cloud Storage by its own protocol, JSON over HTTP. It is only read. HMAC keys are for its S3 protocol alone: who has one is
//! served by that.

use serde::Deserialize;

use super::address::{Address, Scheme};
use super::client::{Ask, Client};
use super::credentials::Kind;
use super::md5;
use super::objects::Object;
use super::sign::encoded;
use crate::error::{Error, Result};

/// What tells one version of an object from the next.
pub(super) const GENERATION: &str = "x-goog-generation";
/// What is wanted of a list; the whole of it is ten times as long.
const FIELDS: &str = "items(name,size,generation,md5Hash),nextPageToken";

/// A page of a list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    items: Vec<Item>,
    next_page_token: Option<String>,
}

/// An object as the server tells of it; numbers are texts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: String,
    size: String,
    generation: String,
    /// Not of objects that were composed of others.
    md5_hash: Option<String>,
}

impl Item {
    fn object(self) -> Option<Object> {
        let bytes = self.size.parse().ok()?;
        let md5 = self.md5_hash.as_deref().and_then(md5::of_base64);
        Some(Object { key: self.name, bytes, etag: self.generation, md5 })
    }
}

/// What an error in JSON says: its reason in a word, and its message.
pub(super) fn failure(text: &str) -> Option<(String, String)> {
    let error: serde_json::Value = serde_json::from_str(text).ok()?;
    let error = error.get("error")?;
    let text =
        |value: Option<&serde_json::Value>| value.and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    Some((text(error.pointer("/errors/0/reason")), text(error.get("message"))))
}

/// Where the server has an object, or with no key the list of its bucket.
pub(super) fn path(address: &Address) -> String {
    let list = format!("/storage/v1/b/{}/o", encoded(&address.bucket, false));
    if address.key.is_empty() { list } else { format!("{list}/{}", encoded(&address.key, false)) }
}

impl Client {
    /// Whether the store is Google's and asked by its own protocol.
    pub(super) fn speaks_json(&self) -> bool {
        let settings = self.settings();
        let kind = settings.credentials.as_ref().map(|credentials| credentials.kind());
        settings.scheme == Scheme::Google && !matches!(kind, Some(Kind::Pair { .. }))
    }

    /// Every object of the bucket whose name begins with `prefix`, page by page.
    ///
    /// # Errors
    /// A store that refuses or stays away; a list that cannot be understood.
    pub(super) fn list_items(&self, bucket: &Address, prefix: &str) -> Result<Vec<Object>> {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut query =
                vec![("prefix".to_owned(), prefix.to_owned()), ("fields".to_owned(), FIELDS.to_owned())];
            query.extend(token.take().map(|token| ("pageToken".to_owned(), token)));
            let answer = self.ask(bucket, &Ask { method: "GET", query, ..Ask::default() })?;
            let page: Page = serde_json::from_slice(&answer.body).map_err(|_| unclear(bucket, prefix))?;
            for item in page.items {
                found.push(item.object().ok_or_else(|| unclear(bucket, prefix))?);
            }
            token = page.next_page_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// The object of exactly that name, if there is one.
    ///
    /// # Errors
    /// As [`Client::list_items`].
    pub(super) fn item(&self, address: &Address) -> Result<Option<Object>> {
        let answer = self.ask(address, &Ask { method: "GET", expected: &[404], ..Ask::default() })?;
        if answer.status == 404 {
            return Ok(None);
        }
        let item: Option<Item> = serde_json::from_slice(&answer.body).ok();
        item.and_then(Item::object).map(Some).ok_or_else(|| unclear(&address.with_key(""), &address.key))
    }
}

fn unclear(bucket: &Address, prefix: &str) -> Error {
    let problem = "what the store tells of its objects cannot be understood";
    Error::bucket(&bucket.join(prefix).to_string(), problem, Some("check STORAGE_EMULATOR_HOST"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_the_servers_words() {
        let text = r#"{"error":{"code":403,"message":"You may not.","errors":[{"domain":"global","reason":"forbidden"}]}}"#;
        assert_eq!(failure(text), Some(("forbidden".to_owned(), "You may not.".to_owned())));
        for not in ["", "no", "[]", r#"{"kind":"storage#objects"}"#] {
            assert_eq!(failure(not), None, "{not}");
        }
        assert_eq!(failure(r#"{"error":"text"}"#), Some(Default::default()));
    }

    #[test]
    fn names_are_one_part_of_a_path() {
        let of = |text: &str| path(&Address::parse(text).unwrap());
        assert_eq!(of("gs://lake"), "/storage/v1/b/lake/o");
        assert_eq!(of("gs://lake/a b/ü"), "/storage/v1/b/lake/o/a%20b%2F%C3%BC");
    }
}
