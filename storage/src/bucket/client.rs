//! One request to a store, signed, and repeated where that may help.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ureq::http::{HeaderMap, Request, StatusCode};
use ureq::{Agent, Body};

use super::address::{Address, Scheme};
use super::credentials::Kind;
use super::settings::Settings;
use super::sign::{Unsigned, encoded, encoded_query, sha256_of};
use super::{azure, google, positioned, xml};
use crate::certificates;
use crate::clock::Moment;
use crate::error::{Error, Result};

/// How often a request is made before it is given up: with pauses that begin at 0.2 s and double, 25 seconds in all.
const ATTEMPTS: u32 = 8;
/// A connection that is silent for so long is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest answer that is not an object: a page of a listing has a thousand keys.
const LONGEST_TEXT: u64 = 16 << 20;
/// How often a web server may send on to a different address.
const REDIRECTS: u32 = 5;

/// What is asked of a store.
#[derive(Debug, Default)]
pub(super) struct Ask<'a> {
    pub method: &'static str,
    pub query: Vec<(String, String)>,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: &'a [u8],
    /// Statuses above 299 that are answers, not failures.
    pub expected: &'static [u16],
    /// The longest body that was asked for: a longer one is not read.
    pub most: Option<u64>,
}

/// What a store answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What was asked and read so far.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    repeated: AtomicU64,
}

/// A copy of [`Traffic`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    /// Requests, repeated ones included.
    pub requests: u64,
    /// Bytes of bodies that arrived whole.
    pub received: u64,
    /// Bytes of bodies that were sent, repeated ones included.
    pub sent: u64,
    /// Requests that had to be repeated.
    pub repeated: u64,
}

/// Makes requests to one store; many threads may.
#[derive(Debug)]
pub(super) struct Client {
    settings: Settings,
    agent: Agent,
    /// Corrected when the store names the bucket's own.
    region: Mutex<String>,
    traffic: Traffic,
}

/// Why an attempt came to nothing.
enum Failure {
    /// Repeating may help.
    Passing(String),
    /// It does not.
    Final(Error),
}

/// What came of one attempt.
type Tried<T> = std::result::Result<T, Failure>;

impl Client {
    /// # Errors
    /// Certificates that were named and cannot be read.
    pub fn new(settings: Settings) -> Result<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Nothing that is signed or secret is sent to a web server.
            .max_redirects(if settings.scheme.is_web() { REDIRECTS } else { 0 })
            .tls_config(certificates::trusted(settings.certificates.as_deref())?)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .max_idle_connections_per_host(16)
            .max_idle_connections(16)
            .user_agent(concat!("sae-workbench/", env!("CARGO_PKG_VERSION")));
        let region = Mutex::new(settings.region.clone());
        Ok(Self { settings, agent: config.build().into(), region, traffic: Traffic::default() })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn figures(&self) -> Figures {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Traffic { requests, received, sent, repeated } = &self.traffic;
        Figures { requests: of(requests), received: of(received), sent: of(sent), repeated: of(repeated) }
    }

    /// Asks until there is an answer.
    ///
    /// # Errors
    /// [`Error::Bucket`]: a refusal, or a network that stays away after every repetition.
    pub fn ask(&self, address: &Address, ask: &Ask<'_>) -> Result<Answer> {
        self.again(address, &|| self.attempt(address, ask))
    }

    /// Tries until it succeeds or cannot.
    fn again<T>(&self, address: &Address, attempt: &dyn Fn() -> Tried<T>) -> Result<T> {
        let mut problem = String::new();
        for number in 0..ATTEMPTS {
            if number > 0 {
                self.traffic.repeated.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(self.wait(number));
            }
            match attempt() {
                Ok(made) => return Ok(made),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(why)) => problem = why,
            }
        }
        let problem = format!("{problem} ({ATTEMPTS} attempts)");
        Err(Error::bucket(&address.to_string(), &problem, Some("try again; what has arrived is kept")))
    }

    /// Twice as long each time, and between half and all of that, so that many who were refused at once do not come back at once.
    fn wait(&self, attempt: u32) -> Duration {
        let count = self.traffic.requests.load(Ordering::Relaxed);
        let share = scattered(count ^ u64::from(std::process::id()) << 32) as f64 / u64::MAX as f64;
        self.settings.pause.mul_f64(f64::from(1_u32 << (attempt - 1).min(6)) * (0.5 + 0.5 * share))
    }

    fn attempt(&self, address: &Address, ask: &Ask<'_>) -> Tried<Answer> {
        let (parts, body) = self.send(address, ask)?.into_parts();
        let told = length_of(&parts.headers);
        if let (Some(most), Some(told), true) = (ask.most, told, parts.status.is_success())
            && told > most
            && ask.method != "HEAD"
        {
            let problem =
                format!("the server sent {told} bytes, asked were {most}: it does not send parts of files");
            return Err(Failure::Final(Error::bucket(&address.to_string(), &problem, None)));
        }
        let body = self
            .body(body, told, ask.method == "HEAD")
            .map_err(|error| Failure::Passing(error.to_string()))?;
        let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, body };
        self.judged(address, ask, answer)
    }

    /// Writes the body of an answer to `file` as it arrives, for files that may be larger than the memory; gives the answer without it.
    ///
    /// # Errors
    /// As [`Client::ask`]; a disk that is full or fails.
    pub fn download(&self, address: &Address, ask: &Ask<'_>, file: &File) -> Result<Answer> {
        self.again(address, &|| {
            let (parts, body) = self.send(address, ask)?.into_parts();
            let mut answer =
                Answer { status: parts.status.as_u16(), headers: parts.headers, body: Vec::new() };
            if !parts.status.is_success() {
                answer.body =
                    self.body(body, None, false).map_err(|error| Failure::Passing(error.to_string()))?;
                return self.judged(address, ask, answer);
            }
            let told = length_of(&answer.headers);
            let (mut reader, mut buffer, mut done) = (body.into_reader(), vec![0; 1 << 18], 0_u64);
            loop {
                let read = reader.read(&mut buffer).map_err(|error| Failure::Passing(error.to_string()))?;
                if read == 0 {
                    break;
                }
                if told.is_some_and(|told| done + read as u64 > told) {
                    return Err(Failure::Passing("more arrived than was told".to_owned()));
                }
                positioned::write(file, &buffer[..read], done).map_err(|error| {
                    Failure::Final(Error::bucket(&address.to_string(), &error.to_string(), None))
                })?;
                done += read as u64;
            }
            if told.is_some_and(|told| told != done) {
                return Err(Failure::Passing(format!("ended after {done} of {} bytes", told.unwrap_or(0))));
            }
            self.traffic.received.fetch_add(done, Ordering::Relaxed);
            Ok(answer)
        })
    }

    /// How an answer begins; its body is not read.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn begins(&self, address: &Address, ask: &Ask<'_>) -> Result<Answer> {
        self.again(address, &|| {
            let (parts, _) = self.send(address, ask)?.into_parts();
            self.judged(
                address,
                ask,
                Answer { status: parts.status.as_u16(), headers: parts.headers, body: Vec::new() },
            )
        })
    }

    /// One request, as it is.
    fn send(&self, address: &Address, ask: &Ask<'_>) -> Tried<ureq::http::Response<Body>> {
        self.traffic.requests.fetch_add(1, Ordering::Relaxed);
        let (base, host, path) = self.place(address);
        let (headers, query) = self.proven(ask, &host, &path);
        let mut url = format!("{base}{path}");
        if !query.is_empty() {
            let _ = write!(url, "?{}", encoded_query(&query));
        }
        let mut request = Request::builder().method(ask.method).uri(&url);
        for (name, value) in headers.iter().filter(|(name, _)| name != "host") {
            request = request.header(name, value);
        }
        let wrong = |error: ureq::http::Error| {
            Failure::Final(Error::bucket(&address.to_string(), &error.to_string(), None))
        };
        let answered = if matches!(ask.method, "PUT" | "POST") {
            self.traffic.sent.fetch_add(ask.body.len() as u64, Ordering::Relaxed);
            self.agent.run(request.body(ask.body).map_err(wrong)?)
        } else {
            self.agent.run(request.body(()).map_err(wrong)?)
        };
        answered.map_err(|error| self.unreachable(&error))
    }

    /// Headers and query with what proves who asks.
    fn proven(&self, ask: &Ask<'_>, host: &str, path: &str) -> (Pairs, Pairs) {
        let (mut headers, mut query) = (ask.headers.clone(), ask.query.clone());
        let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
        if self.settings.scheme == Scheme::Azure {
            add("x-ms-version", azure::VERSION);
            add("x-ms-date", &Moment::now().http());
        }
        match self.settings.credentials.as_ref().map(|credentials| credentials.kind()) {
            Some(Kind::Pair { key, secret, token }) => {
                let region = self.region.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
                let (now, sum) = (Moment::now().compact(), sha256_of(ask.body));
                add("host", host);
                add("x-amz-content-sha256", &sum);
                add("x-amz-date", &now);
                if let Some(token) = token {
                    add("x-amz-security-token", token);
                }
                let unsigned = Unsigned {
                    method: ask.method,
                    path,
                    query: &query,
                    headers: &headers,
                    body_sha256: &sum,
                    time: &now,
                    region: &region,
                };
                let proof = unsigned.authorization(key, secret);
                headers.push(("authorization".into(), proof));
            }
            Some(Kind::Bearer(token)) => add("authorization", &format!("Bearer {token}")),
            Some(Kind::Account { name, key }) => {
                // The server's own path may begin with the account's name.
                let base = self
                    .settings
                    .endpoint
                    .as_deref()
                    .and_then(|e| e.split_once("://"))
                    .map_or("", |(_, rest)| rest);
                let path = format!("{}{path}", base.find('/').map_or("", |at| &base[at..]));
                let unsigned =
                    azure::Unsigned { method: ask.method, path: &path, query: &query, headers: &headers };
                let proof = unsigned.authorization(name, key);
                headers.push(("authorization".into(), proof));
            }
            Some(Kind::Query(pairs)) => query.extend(pairs.iter().cloned()),
            None => {}
        }
        (headers, query)
    }

    /// The whole body; one that ends too early is an error.
    fn body(&self, body: Body, told: Option<u64>, none: bool) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if none {
            return Ok(bytes);
        }
        // Whoever asks for part of an object says how much, and compares.
        let limit = told.unwrap_or(LONGEST_TEXT).min(1 << 30);
        body.into_with_config().limit(limit + 1).reader().read_to_end(&mut bytes)?;
        if let Some(told) = told.filter(|told| *told != bytes.len() as u64) {
            return Err(std::io::Error::other(format!("ended after {} of {told} bytes", bytes.len())));
        }
        self.traffic.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    fn judged(&self, address: &Address, ask: &Ask<'_>, answer: Answer) -> Tried<Answer> {
        let status = answer.status;
        // A completed multipart upload may answer with 200 and an error in the body.
        let failed_late = status == 200 && ask.method == "POST" && answer.text().contains("<Error>");
        if ask.expected.contains(&status) || (status < 300 && !failed_late) {
            return Ok(answer);
        }
        let text = answer.text();
        let (code, said) = google::failure(&text).filter(|_| self.speaks_json()).unwrap_or_else(|| {
            let of = |name: &str| xml::text_of(&text, name).unwrap_or_default();
            (of("Code"), of("Message"))
        });
        if let Some(region) = answer.header("x-amz-bucket-region") {
            let mut current = self.region.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if *current != region && matches!(status, 301 | 307 | 400) {
                region.clone_into(&mut current);
                return Err(Failure::Passing(format!("the bucket is in region {region}")));
            }
        }
        // Azure adds lines with the number of the request.
        let said = said.lines().next().map_or_else(String::new, |message| format!(": {message}"));
        let name = match code.as_str() {
            "" => StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or_default(),
            code => code,
        };
        let problem = format!("the store answered {status} {name}{said}");
        let again = matches!(status, 200 | 408 | 429 | 500 | 502 | 503 | 504)
            || matches!(
                code.as_str(),
                "RequestTimeout"
                    | "SlowDown"
                    | "BadDigest"
                    | "ServerBusy"
                    | "rateLimitExceeded"
                    | "userRateLimitExceeded"
            );
        if again {
            return Err(Failure::Passing(problem));
        }
        Err(Failure::Final(Error::bucket(&address.to_string(), &problem, self.remedy(status, &code))))
    }

    fn remedy(&self, status: u16, code: &str) -> Option<&'static str> {
        let words = Words::of(self.settings.scheme);
        match (status, code) {
            (_, "NoSuchBucket" | "ContainerNotFound") => Some(words.no_bucket),
            (_, "RequestTimeTooSkewed") => Some("set this machine's clock"),
            (404, _) if self.speaks_json() => Some(words.no_bucket),
            (401 | 403, _) if self.settings.credentials.is_none() => Some(words.no_credentials),
            (401 | 403, _) => Some(words.refused),
            (301 | 307 | 400, _) => Some(words.no_bucket),
            _ => None,
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let error = error.to_string();
        let error = self.settings.credentials.as_ref().map_or(error.clone(), |secret| secret.hidden(&error));
        let text = match &self.settings.endpoint {
            Some(endpoint) => format!("{endpoint}: {error}"),
            None => error,
        };
        Failure::Passing(text)
    }

    /// What an address is asked at: scheme and host, the host as it is signed, the encoded path.
    fn place(&self, address: &Address) -> (String, String, String) {
        let key = encoded(&address.key, true);
        let bucket = &address.bucket;
        let region = self.region.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        match &self.settings.endpoint {
            Some(endpoint) if self.settings.scheme.is_web() => {
                (endpoint.clone(), bucket.clone(), format!("/{key}"))
            }
            Some(endpoint) if key.is_empty() && self.settings.scheme == Scheme::Azure => {
                (endpoint.clone(), String::new(), format!("/{bucket}"))
            }
            Some(endpoint) if self.speaks_json() => (endpoint.clone(), String::new(), google::path(address)),
            // Not every server of one's own has a name per bucket.
            Some(endpoint) => {
                let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host).to_owned();
                (endpoint.clone(), host, format!("/{bucket}/{key}"))
            }
            // Certificates of AWS are for one name below theirs.
            None if bucket.contains(['.', '_']) => {
                let host = format!("s3.{region}.amazonaws.com");
                (format!("https://{host}"), host, format!("/{bucket}/{key}"))
            }
            None => {
                let host = format!("{bucket}.s3.{region}.amazonaws.com");
                (format!("https://{host}"), host, format!("/{key}"))
            }
        }
    }
}

/// Names and values.
pub(super) type Pairs = Vec<(String, String)>;

fn length_of(headers: &HeaderMap) -> Option<u64> {
    headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok())
}

/// What to do, in the words of a kind of store.
struct Words {
    no_bucket: &'static str,
    no_credentials: &'static str,
    refused: &'static str,
}

impl Words {
    fn of(scheme: Scheme) -> Self {
        match scheme {
            Scheme::S3 => Self {
                no_bucket: "check the bucket's name, AWS_REGION and AWS_ENDPOINT_URL",
                no_credentials: "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with a profile of ~/.aws",
                refused: "the credentials that were found do not allow it: check AWS_PROFILE and the bucket's policy",
            },
            Scheme::Google => Self {
                no_bucket: "check the bucket's name",
                no_credentials: "no credentials were found: export CLOUDSDK_AUTH_ACCESS_TOKEN=$(gcloud auth print-access-token), or set GS_ACCESS_KEY_ID and GS_SECRET_ACCESS_KEY to an HMAC key",
                refused: "the credentials that were found do not allow it, or have expired: check CLOUDSDK_AUTH_ACCESS_TOKEN or GS_ACCESS_KEY_ID",
            },
            Scheme::Azure => Self {
                no_bucket: "check the container's name and AZURE_STORAGE_ACCOUNT",
                no_credentials: "no credentials were found: set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING",
                refused: "the credentials that were found do not allow it, or have expired: check AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN",
            },
            Scheme::Http | Scheme::Https => Self {
                no_bucket: "check the address in a browser",
                no_credentials: "servers that ask for a password are not read: copy the folder to this machine",
                refused: "servers that ask for a password are not read: copy the folder to this machine",
            },
        }
    }
}

/// A number that looks like none before it (SplitMix64): only waiting depends on it.
fn scattered(mut n: u64) -> u64 {
    n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
