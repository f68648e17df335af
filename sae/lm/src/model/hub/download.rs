//! Requests to the hub: what redirects, breaks off and refuses.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

use super::Hub;
use super::listing::RepositoryFile;
use crate::{Error, Result};

/// Repetitions without a byte of progress before it is given up.
const REPETITIONS: u32 = 5;
/// A connection that is silent for so long is dead.
const SILENCE: Duration = Duration::from_secs(60);
const REDIRECTS: usize = 8;
const PIECE: usize = 1 << 18;
/// The longest description of a repository.
const LONGEST_TEXT: u64 = 64 << 20;

/// Makes requests.
pub(super) struct Client<'a> {
    hub: &'a Hub,
    agent: Agent,
}

/// What came of one attempt.
enum Attempt {
    /// The body is there.
    Over,
    /// Broke off; why.
    Broken(String),
    /// The server does not resume here: from the start.
    Again,
}

impl<'a> Client<'a> {
    /// # Errors
    /// Authorities that were named and cannot be read.
    pub fn new(hub: &'a Hub) -> Result<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(hub.tls()?)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("sae-workbench/", env!("CARGO_PKG_VERSION")));
        Ok(Self { hub, agent: config.build().into() })
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.hub.endpoint)
    }

    /// Follows redirects; the token goes to the endpoint alone.
    fn get(&self, path: &str, range: Option<&str>) -> Result<Response<Body>, Failure> {
        let mut url = self.url(path);
        for _ in 0..REDIRECTS {
            let mut request = self.agent.get(&url);
            if let Some(token) = self.hub.token.as_ref().filter(|_| self.is_ours(&url)) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            if let Some(range) = range {
                request = request.header("Range", range);
            }
            let answer = request.call().map_err(|e| Failure::of(&url, &e))?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let to = header(answer.headers(), "location")
                .ok_or_else(|| Failure::passing(format!("{url}: a redirect to nowhere")))?;
            url = match to.strip_prefix('/') {
                Some(path) => format!("{}/{path}", authority(&url)),
                None => to.to_owned(),
            };
        }
        Err(Failure::passing(format!("{}: more than {REDIRECTS} redirects", self.url(path))))
    }

    fn is_ours(&self, url: &str) -> bool {
        authority(url) == authority(&self.hub.endpoint)
    }

    /// A small text.
    ///
    /// # Errors
    /// A repository, revision or file that the hub refuses; a text that is too long; a network that stays
    /// away after every repetition.
    pub fn text(&self, path: &str, name: &str, revision: &str) -> Result<String> {
        let mut repeat = Repeat::new(self.hub.pause);
        loop {
            let problem = match self.get(path, None) {
                // Nothing was reached yet: waiting does not help who has no network.
                Err(Failure { text, unreachable: true }) => return Err(self.given_up(&text, name)),
                Err(Failure { text, .. }) => text,
                Ok(answer) if answer.status().is_success() => {
                    match answer.into_body().with_config().limit(LONGEST_TEXT).read_to_string() {
                        Ok(text) => return Ok(text),
                        Err(error) => format!("{}: {error}", self.url(path)),
                    }
                }
                Ok(answer) => self.refusal(answer.status(), name, revision)?,
            };
            repeat.after(&problem, &mut || false).map_err(|e| self.given_up(&e, name))?;
        }
    }

    /// A status that repeating may help, or an error.
    fn refusal(&self, status: StatusCode, name: &str, revision: &str) -> Result<String> {
        let page = format!("{}/{name}", self.hub.endpoint);
        match status.as_u16() {
            401 | 403 => Err(Error::request(match self.hub.token {
                None => format!(
                    "{name} needs a login (it is gated or private, or does not exist; status {status}): accept its terms at {page}, make a \
                     token at {}/settings/tokens, and run `hf auth login` or set HF_TOKEN",
                    self.hub.endpoint
                ),
                Some(_) => format!(
                    "{name} is refused to your token (status {status}): accept its terms at {page} with the account of the token, \
                     and give the token the right to read gated repositories"
                ),
            })),
            404 => Err(Error::request(format!(
                "{page} has no revision `{revision}`, or there is no such repository; names are ORGANISATION/NAME[@REVISION]"
            ))),
            429 | 500..=599 => Ok(format!("{page}: status {status}")),
            _ => Err(Error::network(format!("{page}: status {status}"))),
        }
    }

    fn given_up(&self, problem: &str, name: &str) -> Error {
        Error::network(format!(
            "{name} could not be fetched: {problem}. Repeat the command to resume; without a network, copy the folder or Hugging \
             Face's cache ({}) from a machine that has it",
            self.hub.cache.display()
        ))
    }

    /// Downloads into `blob` by way of `blob.incomplete`, which is resumed. `advance` gets the number of
    /// bytes that are there and answers whether to stop.
    ///
    /// # Errors
    /// [`Error::Network`] when repeating does not help or what arrived is damaged, [`Error::Request`] when
    /// the hub refuses, [`Error::Stopped`].
    pub fn download(
        &self,
        path: &str,
        file: &RepositoryFile,
        blob: &Path,
        advance: &mut dyn FnMut(u64) -> bool,
    ) -> Result<()> {
        let folder = blob.parent().unwrap_or(blob);
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let mut name = blob.as_os_str().to_owned();
        name.push(".incomplete");
        let partial = PathBuf::from(name);
        let repository = path.split("/resolve/").next().unwrap_or(path);
        let mut repeat = Repeat::new(self.hub.pause);
        loop {
            let have = std::fs::metadata(&partial).map_or(0, |m| m.len());
            if file.size.is_some_and(|size| have > size) {
                std::fs::remove_file(&partial).map_err(|e| Error::io(&partial, e))?;
                continue;
            }
            if file.size == Some(have) && have > 0 {
                break;
            }
            match self.attempt(path, file, &partial, have, repository, advance)? {
                Attempt::Over => break,
                Attempt::Again => {
                    File::create(&partial).map_err(|e| Error::io(&partial, e))?;
                    repeat
                        .after("the server does not resume where it stopped", &mut || advance(0))
                        .map_err(|e| self.given_up(&e, repository))?;
                }
                Attempt::Broken(problem) => {
                    let now = std::fs::metadata(&partial).map_or(0, |m| m.len());
                    if now > have {
                        repeat = Repeat::new(self.hub.pause);
                    }
                    repeat
                        .after(&problem, &mut || advance(now))
                        .map_err(|e| self.given_up(&e, repository))?;
                    if advance(now) {
                        return Err(stopped());
                    }
                }
            }
        }
        check(&partial, file)?;
        std::fs::rename(&partial, blob).map_err(|e| Error::io(blob, e))
    }

    /// One request for what is missing.
    fn attempt(
        &self,
        path: &str,
        file: &RepositoryFile,
        partial: &Path,
        have: u64,
        name: &str,
        advance: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Attempt> {
        let range = (have > 0).then(|| format!("bytes={have}-"));
        let answer = match self.get(path, range.as_deref()) {
            Ok(answer) => answer,
            Err(problem) => return Ok(Attempt::Broken(problem.text)),
        };
        let goes_on = answer.status() == StatusCode::PARTIAL_CONTENT
            && header(answer.headers(), "content-range")
                .is_some_and(|r| r.starts_with(&format!("bytes {have}-")));
        let mut at = match answer.status() {
            StatusCode::PARTIAL_CONTENT if goes_on => have,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => return Ok(Attempt::Again),
            status if status.is_success() => 0,
            status => return self.refusal(status, name, "main").map(Attempt::Broken),
        };
        let opened =
            OpenOptions::new().create(true).write(true).append(at > 0).truncate(at == 0).open(partial);
        let mut out = opened.map_err(|e| Error::io(partial, e))?;
        let expected =
            header(answer.headers(), "content-length").and_then(|n| n.parse::<u64>().ok()).map(|n| at + n);
        let mut body = answer.into_body().into_reader();
        let mut piece = vec![0; PIECE];
        loop {
            let read = match body.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => return Ok(Attempt::Broken(format!("{}: {error}", self.url(path)))),
            };
            out.write_all(&piece[..read]).map_err(|e| Error::io(partial, e))?;
            at += read as u64;
            if advance(at) {
                return Err(stopped());
            }
        }
        match file.size.or(expected) {
            Some(size) if at < size => {
                Ok(Attempt::Broken(format!("{}: ended after {at} of {size} bytes", self.url(path))))
            }
            _ => Ok(Attempt::Over),
        }
    }
}

/// Why there is no answer.
struct Failure {
    text: String,
    /// No server was reached at all.
    unreachable: bool,
}

impl Failure {
    fn of(url: &str, error: &ureq::Error) -> Self {
        use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable};
        let unreachable = match error {
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
            ureq::Error::Io(error) => {
                [ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable].contains(&error.kind())
                    // What the resolver of the system says has no kind of its own.
                    || error.to_string().contains("lookup address")
            }
            _ => false,
        };
        Self { text: explained(url, error), unreachable }
    }

    fn passing(text: String) -> Self {
        Self { text, unreachable: false }
    }
}

/// What went wrong, and what to do where this program cannot know better than its user.
fn explained(url: &str, error: &ureq::Error) -> String {
    let text = error.to_string();
    let remedy = if text.contains("certificate") {
        " (if your network looks into TLS, name its authority's certificate in SSL_CERT_FILE)"
    } else {
        ""
    };
    format!("{url}: {text}{remedy}")
}

fn stopped() -> Error {
    Error::stopped("what has arrived is kept; give the same command again to resume")
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `https://host:port` of an address.
fn authority(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    &url[..end]
}

/// The length and hash that the hub told.
fn check(partial: &Path, file: &RepositoryFile) -> Result<()> {
    let mut opened = File::open(partial).map_err(|e| Error::io(partial, e))?;
    opened.sync_all().map_err(|e| Error::io(partial, e))?;
    let length = opened.metadata().map_err(|e| Error::io(partial, e))?.len();
    let mut problem = None;
    if file.size.is_some_and(|size| size != length) {
        problem = Some(format!("{length} bytes arrived, expected {}", file.size.unwrap_or_default()));
    } else if let Some(expected) = &file.sha256 {
        let mut hash = Sha256::new();
        std::io::copy(&mut opened, &mut hash).map_err(|e| Error::io(partial, e))?;
        let found: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        if found != *expected {
            problem = Some(format!("SHA-256 {found}, expected {expected}"));
        }
    }
    match problem {
        None => Ok(()),
        Some(problem) => {
            std::fs::remove_file(partial).map_err(|e| Error::io(partial, e))?;
            Err(Error::network(format!(
                "{} arrived damaged: {problem}; it was removed, repeat the command",
                file.file
            )))
        }
    }
}

/// Waits longer after each failure, and gives up at last.
struct Repeat {
    failures: u32,
    pause: Duration,
}

impl Repeat {
    fn new(pause: Duration) -> Self {
        Self { failures: 0, pause }
    }

    /// Waits, or the problem after the last repetition or if `stop` says yes.
    fn after(&mut self, problem: &str, stop: &mut dyn FnMut() -> bool) -> Result<(), String> {
        self.failures += 1;
        if self.failures > REPETITIONS {
            return Err(problem.to_owned());
        }
        let began = Instant::now();
        while began.elapsed() < self.pause {
            if stop() {
                return Err(problem.to_owned());
            }
            std::thread::sleep(self.pause.min(Duration::from_millis(100)));
        }
        self.pause *= 2;
        Ok(())
    }
}
