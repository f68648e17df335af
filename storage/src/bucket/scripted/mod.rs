//! A small object store for tests, on this machine, that can be told to fail. It shares no code with the client. It can also behave as
//! a web server, or as Azure's or Google's.

mod azure;
mod google;
mod web;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed without an answer.
    Drop,
    /// A status in place of the answer.
    Status(u16),
    /// Only half of the body arrives.
    Truncate,
    /// The work is done, the answer gets lost.
    Lost,
    /// A bit of the body is turned.
    Damage,
}

/// What kind of server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// An S3 store with the bucket `lake`.
    Store,
    /// Azure's, with the account `acc` and the container `lake`.
    Azure,
    /// Google's, with the bucket `lake`.
    Google,
    /// A web server with everything below `/lake`: whether it lists folders, and what it makes of ranges.
    Web { lists: bool, ranges: Ranges },
}

/// What a web server makes of ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranges {
    /// What was asked for.
    Right,
    /// The whole file.
    Ignored,
    /// As many bytes of a different place.
    Wrong,
}

/// What is in the store: key → bytes and ETag, and what was asked of it, in order.
#[derive(Default)]
pub struct Contents {
    pub objects: BTreeMap<String, (Vec<u8>, String)>,
    pub log: Vec<String>,
    /// What requests had as `Authorization`.
    pub proofs: Vec<String>,
    uploads: BTreeMap<String, BTreeMap<usize, Vec<u8>>>,
    revision: usize,
}

type Rule = dyn Fn(usize, &str) -> Option<Fault> + Send + Sync;

/// The store, and where it is.
pub struct Server {
    pub endpoint: String,
    pub contents: Arc<Mutex<Contents>>,
    rule: Arc<Mutex<Arc<Rule>>>,
}

impl Server {
    pub fn start() -> Self {
        Self::start_as(Manner::Store)
    }

    pub fn start_as(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let contents: Arc<Mutex<Contents>> = Arc::default();
        let rule: Arc<Mutex<Arc<Rule>>> = Arc::new(Mutex::new(Arc::new(|_, _| None)));
        let (kept, ruled, count) = (contents.clone(), rule.clone(), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, ruled, count) = (kept.clone(), ruled.clone(), count.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut stream = stream;
                    while serve(manner, &mut reader, &mut stream, &kept, &ruled, &count).is_some() {}
                });
            }
        });
        Self { endpoint, contents, rule }
    }

    /// From now on `rule` says what goes wrong with the request of that number, counted from 0 over all, and that first line.
    pub fn fail(&self, rule: impl Fn(usize, &str) -> Option<Fault> + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Arc::new(rule);
    }

    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.contents.lock().unwrap().store(key, bytes.to_vec(), None);
    }

    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        Some(self.contents.lock().unwrap().objects.get(key)?.0.clone())
    }

    pub fn keys(&self) -> Vec<String> {
        self.contents.lock().unwrap().objects.keys().cloned().collect()
    }

    /// First lines of the requests since the last call.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.contents.lock().unwrap().log)
    }
}

impl Contents {
    fn store(&mut self, key: &str, bytes: Vec<u8>, etag: Option<String>) -> String {
        self.revision += 1;
        // Not an MD5, as of encrypted objects; one test sets its own.
        let etag = etag.unwrap_or_else(|| format!("r{}-x", self.revision));
        self.objects.insert(key.to_owned(), (bytes, etag.clone()));
        etag
    }
}

fn serve(
    manner: Manner,
    reader: &mut BufReader<TcpStream>,
    stream: &mut TcpStream,
    contents: &Mutex<Contents>,
    rule: &Mutex<Arc<Rule>>,
    count: &AtomicUsize,
) -> Option<()> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut parts = first.split_whitespace();
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let line = format!("{method} {target}");
    let rule = rule.lock().unwrap().clone();
    let fault = rule(count.fetch_add(1, Ordering::SeqCst), &line);
    let mut contents = contents.lock().unwrap();
    contents.log.push(line);
    contents.proofs.extend(headers.get("authorization").cloned());
    let (status, extra, mut answer) = match fault {
        Some(Fault::Drop) => return None,
        Some(Fault::Status(status)) => {
            (status, String::new(), b"<Error><Code>X</Code><Message>no</Message></Error>".to_vec())
        }
        _ => match manner {
            Manner::Store => reply(&mut contents, &method, &target, &headers, body),
            Manner::Azure => azure::reply(&contents, &method, &target, &headers),
            Manner::Google => google::reply(&contents, &method, &target, &headers),
            Manner::Web { lists, ranges } => web::reply(&contents, &method, &target, &headers, lists, ranges),
        },
    };
    drop(contents);
    if fault == Some(Fault::Lost) {
        return None;
    }
    if let (Some(Fault::Damage), Some(byte)) = (fault, answer.first_mut()) {
        *byte ^= 1;
    }
    let length = answer.len();
    if fault == Some(Fault::Truncate) {
        answer.truncate(length / 2);
    }
    let told = if method == "HEAD" { String::new() } else { format!("Content-Length: {length}\r\n") };
    write!(stream, "HTTP/1.1 {status} X\r\n{extra}{told}\r\n").ok()?;
    if method != "HEAD" {
        stream.write_all(&answer).ok()?;
    }
    stream.flush().ok()?;
    (fault != Some(Fault::Truncate)).then_some(())
}

fn reply(
    contents: &mut Contents,
    method: &str,
    target: &str,
    headers: &BTreeMap<String, String>,
    body: Vec<u8>,
) -> Reply {
    let (path, query) = split(target);
    let key = path.trim_start_matches("/lake").trim_start_matches('/').replace("%20", " ");
    let there = contents.objects.get(&key).cloned();
    let tag = |etag: &str| format!("ETag: \"{etag}\"\r\n");
    let holds = match (headers.get("if-match"), headers.contains_key("if-none-match")) {
        (Some(wanted), _) => there.as_ref().is_some_and(|(_, etag)| wanted == &format!("\"{etag}\"")),
        (None, true) => there.is_none(),
        (None, false) => true,
    };
    match (method, query.get("uploadId")) {
        ("GET", _) if query.contains_key("list-type") => {
            (200, String::new(), list(contents, &query).into_bytes())
        }
        ("GET" | "HEAD", _) if there.is_none() => (404, String::new(), Vec::new()),
        (_, None) | ("POST", Some(_)) if !holds => (412, String::new(), Vec::new()),
        ("GET" | "HEAD", _) => {
            let (bytes, etag) = there.unwrap();
            let range =
                headers.get("range").map(|range| range.trim_start_matches("bytes=").split_once('-').unwrap());
            let part = match range {
                Some((from, to)) => bytes[from.parse().unwrap()..=to.parse::<usize>().unwrap()].to_vec(),
                None => bytes,
            };
            let length =
                if method == "HEAD" { format!("Content-Length: {}\r\n", part.len()) } else { String::new() };
            (if range.is_some() { 206 } else { 200 }, tag(&etag) + &length, part)
        }
        ("PUT", None) => (200, tag(&contents.store(&key, body, None)), Vec::new()),
        ("PUT", Some(upload)) => {
            let number: usize = query["partNumber"].parse().unwrap();
            contents.uploads.get_mut(*upload).unwrap().insert(number, body);
            (200, tag(&format!("p{number}")), Vec::new())
        }
        ("POST", None) => {
            let name = format!("u{}", contents.log.len());
            contents.uploads.insert(name.clone(), BTreeMap::new());
            (200, String::new(), format!("<R><UploadId>{name}</UploadId></R>").into_bytes())
        }
        ("POST", Some(upload)) => match contents.uploads.remove(*upload) {
            None => (404, String::new(), Vec::new()),
            Some(parts) => {
                let count = parts.len();
                contents.revision += 1;
                let etag = format!("m{}-{count}", contents.revision);
                let etag = contents.store(&key, parts.into_values().flatten().collect(), Some(etag));
                (200, String::new(), format!("<R><ETag>&quot;{etag}&quot;</ETag></R>").into_bytes())
            }
        },
        ("DELETE", Some(upload)) => {
            contents.uploads.remove(*upload);
            (204, String::new(), Vec::new())
        }
        ("DELETE", None) => {
            contents.objects.remove(&key);
            (204, String::new(), Vec::new())
        }
        _ => (405, String::new(), Vec::new()),
    }
}

/// Three keys a page, so that continuation is always needed.
fn list(contents: &Contents, query: &BTreeMap<&str, &str>) -> String {
    let prefix = plain(query["prefix"]);
    let after = query.get("continuation-token").map_or(String::new(), |token| plain(token));
    let mut entries = contents.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
    let page: Vec<_> = entries.by_ref().take(3).collect();
    let mut text = "<ListBucketResult><EncodingType>url</EncodingType>".to_owned();
    for (key, (bytes, etag)) in &page {
        let key = key.replace(' ', "+");
        text += &format!(
            "<Contents><Key>{key}</Key><Size>{}</Size><ETag>&quot;{etag}&quot;</ETag></Contents>",
            bytes.len()
        );
    }
    if entries.next().is_some() {
        let last = page.last().unwrap().0;
        text +=
            &format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>");
    }
    text + "</ListBucketResult>"
}

type Reply = (u16, String, Vec<u8>);

/// The path of what is asked for, and what stands after the question mark.
fn split(target: &str) -> (&str, BTreeMap<&str, &str>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (path, query.split('&').filter_map(|pair| pair.split_once('=')).collect())
}

/// A key as it is, of one in a request.
fn plain(text: &str) -> String {
    text.replace("%2F", "/").replace("%20", " ")
}

/// From where to where a request wants to read.
fn range_of(headers: &BTreeMap<String, String>) -> Option<(usize, usize)> {
    let (from, to) = headers.get("range")?.trim_start_matches("bytes=").split_once('-')?;
    Some((from.parse().unwrap(), to.parse::<usize>().unwrap() + 1))
}

/// An object or a part of it; `extra` are headers that tell its version.
fn object(method: &str, bytes: &[u8], part: Option<(usize, usize)>, extra: String) -> Reply {
    let (from, to) = part.map_or((0, bytes.len()), |(from, to)| (from, to.min(bytes.len())));
    let mut headers = extra;
    if part.is_some() {
        headers += &format!("Content-Range: bytes {from}-{}/{}\r\n", to - 1, bytes.len());
    }
    if method == "HEAD" {
        headers += &format!("Content-Length: {}\r\n", to - from);
    }
    (if part.is_some() { 206 } else { 200 }, headers, bytes[from..to].to_vec())
}
