//! Objects of a store: listed, looked at, read in part, written whole or in parts.

use std::fs::File;
use std::ops::Range;

use super::address::{Address, Scheme};
use super::client::{Answer, Ask, Client, Pairs};
use super::{google, web, xml};
use crate::error::{Error, Result};

/// One object as a listing tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// Its whole key.
    pub key: String,
    pub bytes: u64,
    /// With its quotes removed. Of Google's store its generation, which does what an ETag does.
    pub etag: String,
    /// Of its bytes, in hexadecimal, if the store tells it.
    pub md5: Option<String>,
}

/// Under what condition something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition<'a> {
    /// There is nothing of that name.
    Absent,
    /// What is there has this ETag.
    Unchanged(&'a str),
}

impl Condition<'_> {
    fn header(self) -> (String, String) {
        match self {
            Self::Absent => ("if-none-match".into(), "*".into()),
            Self::Unchanged(etag) => ("if-match".into(), format!("\"{etag}\"")),
        }
    }
}

/// Statuses of a condition that does not hold: 409 where two write at the same time.
const CONFLICT: &[u16] = &[409, 412];

fn pairs(of: &[(&str, &str)]) -> Pairs {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// An ETag without its quotes.
pub(super) fn bare(etag: &str) -> String {
    etag.trim().trim_matches('"').to_owned()
}

impl Client {
    /// Every object below `address`, or the object of exactly that key where there is none below.
    ///
    /// # Errors
    /// A store that refuses or stays away; a listing that cannot be understood.
    pub fn below(&self, address: &Address) -> Result<Vec<Object>> {
        if address.scheme.is_web() {
            return web::below(self, address);
        }
        let prefix = if address.key.is_empty() { String::new() } else { format!("{}/", address.key) };
        let mut objects = self.list(address, &prefix)?;
        if objects.is_empty() && !address.key.is_empty() {
            objects.extend(self.head(address)?);
        }
        Ok(objects)
    }

    /// Every object of the bucket of `address` whose key begins with `prefix`, page by page.
    ///
    /// # Errors
    /// A store that refuses or stays away; a listing that cannot be understood.
    pub fn list(&self, address: &Address, prefix: &str) -> Result<Vec<Object>> {
        let address = address.with_key("");
        if address.scheme == Scheme::Azure {
            return self.list_blobs(&address, prefix);
        }
        if self.speaks_json() {
            return self.list_items(&address, prefix);
        }
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut query = pairs(&[("list-type", "2"), ("encoding-type", "url"), ("prefix", prefix)]);
            query.extend(token.take().map(|token| ("continuation-token".to_owned(), token)));
            let answer = self.ask(&address, &Ask { method: "GET", query, ..Ask::default() })?;
            let text = answer.text();
            let unclear = || {
                let problem = "the store's list of objects cannot be understood";
                let asked = format!("{address}/{prefix}");
                Error::bucket(
                    &asked,
                    problem,
                    (address.scheme == Scheme::S3).then_some("check AWS_ENDPOINT_URL"),
                )
            };
            if !text.contains("<ListBucketResult") {
                return Err(unclear());
            }
            let is_encoded = xml::text_of(&text, "EncodingType").as_deref() == Some("url");
            for entry in xml::elements(&text, "Contents") {
                let key = xml::text_of(entry, "Key").ok_or_else(unclear)?;
                let key = if is_encoded { xml::decoded(&key).ok_or_else(unclear)? } else { key };
                let bytes =
                    xml::text_of(entry, "Size").and_then(|size| size.parse().ok()).ok_or_else(unclear)?;
                let etag = bare(&xml::text_of(entry, "ETag").ok_or_else(unclear)?);
                let md5 = md5_of_etag(&address, &etag);
                found.push(Object { key, bytes, etag, md5 });
            }
            if xml::text_of(&text, "IsTruncated").as_deref() != Some("true") {
                return Ok(found);
            }
            token = Some(xml::text_of(&text, "NextContinuationToken").ok_or_else(unclear)?);
        }
    }

    /// The object of exactly that key, if there is one.
    ///
    /// # Errors
    /// A store that refuses or stays away.
    pub fn head(&self, address: &Address) -> Result<Option<Object>> {
        if self.speaks_json() {
            return self.item(address);
        }
        let answer = self.ask(address, &Ask { method: "HEAD", expected: &[404], ..Ask::default() })?;
        if answer.status == 404 {
            return Ok(None);
        }
        let bytes = answer.header("content-length").and_then(|n| n.parse().ok());
        match (bytes, self.identity(address, &answer)) {
            (Some(bytes), Some(etag)) => {
                let md5 = md5_of_etag(address, &etag);
                Ok(Some(Object { key: address.key.clone(), bytes, etag, md5 }))
            }
            _ => Err(Error::bucket(
                &address.to_string(),
                "the server does not tell its length, or not what tells one version of it from the next",
                None,
            )),
        }
    }

    /// Bytes of the object that had this ETag when it was listed, never of a later one.
    ///
    /// # Errors
    /// [`Error::Bucket`]: an object that changed or went away, a store that refuses or stays away.
    pub fn range(&self, address: &Address, etag: &str, range: Range<u64>) -> Result<Answer> {
        let length = range.end - range.start;
        let (mut headers, query) = self.version(address, etag);
        if length > 0 {
            headers.push(("range".into(), format!("bytes={}-{}", range.start, range.end - 1)));
        }
        let expected: &[u16] = &[404, 412, 416];
        let ask = Ask { method: "GET", query, headers, expected, most: Some(length), ..Ask::default() };
        let answer = self.ask(address, &ask)?;
        let now = self.identity(address, &answer);
        if expected.contains(&answer.status) || now.is_some_and(|now| now != etag) {
            return Err(changed(address));
        }
        if !is_of(&answer, &range) {
            let problem = "the server sent a different part than was asked for";
            return Err(Error::bucket(&address.to_string(), problem, None));
        }
        if answer.body.len() as u64 != length {
            let problem = format!("the store sent {} bytes, asked were {length}", answer.body.len());
            return Err(Error::bucket(&address.to_string(), &problem, None));
        }
        Ok(answer)
    }

    /// Headers and query that ask for this version of an object and for no other.
    fn version(&self, address: &Address, etag: &str) -> (Pairs, Pairs) {
        if self.speaks_json() {
            return (Vec::new(), pairs(&[("alt", "media"), ("generation", etag)]));
        }
        // A web server may have no ETag, or only one that it does not compare.
        if address.scheme.is_web() {
            return (Vec::new(), Vec::new());
        }
        (pairs(&[("if-match", &format!("\"{etag}\""))]), Vec::new())
    }

    /// What tells this version of an object from the next: its ETag, of Google's store its generation; of a web server that has no ETag, when
    /// it was changed.
    pub(super) fn identity(&self, address: &Address, answer: &Answer) -> Option<String> {
        if self.speaks_json() {
            return answer.header(google::GENERATION).map(str::to_owned);
        }
        let changed = || answer.header("last-modified").filter(|_| address.scheme.is_web());
        answer.header("etag").or_else(changed).map(bare)
    }

    /// Whether the server of `address` sends parts of files.
    ///
    /// # Errors
    /// A server that refuses or stays away.
    pub fn sends_parts(&self, address: &Address) -> Result<bool> {
        let headers = pairs(&[("range", "bytes=0-0")]);
        // Nothing is read of a whole file that is sent all the same.
        let answer =
            self.begins(address, &Ask { method: "GET", headers, expected: &[416], ..Ask::default() })?;
        Ok(answer.status == 206 && is_of(&answer, &(0..1)))
    }

    /// All of an object that is this version of it, into a file.
    ///
    /// # Errors
    /// As [`Client::range`]; a disk that is full or fails.
    pub fn whole(&self, address: &Address, etag: &str, bytes: u64, file: &File) -> Result<()> {
        let (headers, query) = self.version(address, etag);
        let ask = Ask { method: "GET", query, headers, expected: &[404, 412], ..Ask::default() };
        let answer = self.download(address, &ask, file)?;
        let now = self.identity(address, &answer);
        let length = file
            .metadata()
            .map_err(|error| Error::bucket(&address.to_string(), &error.to_string(), None))?
            .len();
        if answer.status > 299 || now.is_some_and(|now| now != etag) || length != bytes {
            return Err(changed(address));
        }
        Ok(())
    }

    /// Writes an object whole; its ETag, or `None` where the condition does not hold.
    ///
    /// # Errors
    /// A store that refuses or stays away.
    pub fn put(&self, address: &Address, body: &[u8], condition: Condition<'_>) -> Result<Option<String>> {
        let headers = vec![condition.header()];
        let answer =
            self.ask(address, &Ask { method: "PUT", headers, body, expected: CONFLICT, ..Ask::default() })?;
        if CONFLICT.contains(&answer.status) {
            return Ok(None);
        }
        etag_of(address, &answer).map(Some)
    }

    /// Removes an object; one that is not there is removed, too.
    ///
    /// # Errors
    /// A store that refuses or stays away.
    pub fn delete(&self, address: &Address) -> Result<()> {
        self.ask(address, &Ask { method: "DELETE", expected: &[404], ..Ask::default() }).map(drop)
    }

    /// Begins an object of several parts; its upload's name.
    ///
    /// # Errors
    /// A store that refuses or stays away.
    pub fn begin(&self, address: &Address) -> Result<String> {
        let answer =
            self.ask(address, &Ask { method: "POST", query: pairs(&[("uploads", "")]), ..Ask::default() })?;
        xml::text_of(&answer.text(), "UploadId")
            .ok_or_else(|| Error::bucket(&address.to_string(), "the store gives no UploadId", None))
    }

    /// Sends a part, counted from 1; its ETag.
    ///
    /// # Errors
    /// A store that refuses or stays away.
    pub fn part(&self, address: &Address, upload: &str, number: usize, body: &[u8]) -> Result<String> {
        let query = pairs(&[("partNumber", &number.to_string()), ("uploadId", upload)]);
        etag_of(address, &self.ask(address, &Ask { method: "PUT", query, body, ..Ask::default() })?)
    }

    /// Makes one object of its parts; its ETag, or `None` where the condition does not hold.
    ///
    /// # Errors
    /// A store that refuses or stays away.
    pub fn complete(
        &self,
        address: &Address,
        upload: &str,
        parts: &[String],
        condition: Condition<'_>,
    ) -> Result<Option<String>> {
        let list: String = (1..)
            .zip(parts)
            .map(|(number, etag): (usize, _)| {
                let etag = xml::escaped(&format!("\"{etag}\""));
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
            })
            .collect();
        let body = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        let ask = Ask {
            method: "POST",
            query: pairs(&[("uploadId", upload)]),
            headers: vec![condition.header()],
            body: body.as_bytes(),
            expected: &[404, 409, 412],
            most: None,
        };
        let answer = self.ask(address, &ask)?;
        if CONFLICT.contains(&answer.status) {
            return Ok(None);
        }
        if answer.status == 404 {
            // An answer that was lost on its way: the repeated request finds the upload completed.
            let there = self.head(address)?.map(|object| object.etag);
            return there.filter(|etag| etag.ends_with(&format!("-{}", parts.len()))).map(Some).ok_or_else(
                || Error::bucket(&address.to_string(), "the store lost the upload", Some("try again")),
            );
        }
        xml::text_of(&answer.text(), "ETag").map(|etag| Some(bare(&etag))).ok_or_else(|| {
            Error::bucket(&address.to_string(), "the store gives no ETag of what it wrote", None)
        })
    }

    /// Gives an upload of parts up, so that its parts cost nothing. Best effort: stores remove them after a time.
    pub fn abandon(&self, address: &Address, upload: &str) {
        let ask = Ask {
            method: "DELETE",
            query: pairs(&[("uploadId", upload)]),
            expected: &[404],
            ..Ask::default()
        };
        let _ = self.ask(address, &ask);
    }
}

/// An object that is not what it was.
pub(super) fn changed(address: &Address) -> Error {
    let problem = "it changed, or was removed, while it was read";
    Error::bucket(&address.to_string(), problem, Some("try again"))
}

/// The MD5 that an ETag of S3 is: not of objects that came in parts, and not in directory buckets. Of objects that are encrypted with keys of
/// their own it is none either, which only their answers tell.
fn md5_of_etag(address: &Address, etag: &str) -> Option<String> {
    let is_one = etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_one && !address.scheme.is_web() && !address.bucket.ends_with("--x-s3")).then(|| etag.to_owned())
}

/// Whether the body is this part, as far as the answer tells.
fn is_of(answer: &Answer, range: &Range<u64>) -> bool {
    let part = answer.header("content-range").and_then(|part| part.strip_prefix("bytes "));
    match (answer.status, part) {
        (206, Some(part)) => {
            part.split('/').next() == Some(&format!("{}-{}", range.start, range.end.saturating_sub(1)))
        }
        // Not every server that tells it is a part tells which.
        (206, None) => true,
        _ => range.start == 0,
    }
}

fn etag_of(address: &Address, answer: &Answer) -> Result<String> {
    answer
        .header("etag")
        .map(bare)
        .ok_or_else(|| Error::bucket(&address.to_string(), "the store gives no ETag of what it wrote", None))
}
