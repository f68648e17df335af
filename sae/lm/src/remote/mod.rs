//! Language models on a server that speaks OpenAI's `/v1/chat/completions`: llama.cpp, vLLM, hosted ones.
//!
//! ```text
//! ChatRequest ─▶ ChatServer::ask ─▶ POST …/chat/completions ─ 200 ─▶ ChatAnswer
//!                     ▲                    ├─ 429, 5xx, silence: again, after a pause (Retry-After)
//!                     └────────────────────┴─ 400 with a schema: again without it
//! ```
//!
//! A server on this machine is asked directly, past any proxy; redirects are not followed, so that what is meant for one host does not
//! reach a different one. The key stands in one header and nowhere else: not in errors, not in `Debug`, not in what is kept.

mod address;
pub mod scripted;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::HeaderMap;

use crate::model::Hub;
use crate::{Error, Result};
pub use address::Address;

/// The longest answer, in bytes.
const LONGEST: u64 = 16 << 20;
/// Times that a server may say that it is too busy (429) before it is given up.
const BUSY: u32 = 20;
/// The longest pause that a server can ask for; one that asks for more is given up, with what it asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Characters of a server's message that an error shows.
const SHOWN: usize = 300;

/// How a server is asked.
#[derive(Debug, Clone)]
pub struct ChatOptions {
    /// An answer that takes longer is given up.
    pub timeout: Duration,
    /// Repetitions of what failed and may succeed.
    pub retries: u32,
    /// Pause before the first repetition; each further one is twice as long.
    pub pause: Duration,
}

impl Default for ChatOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(300), retries: 3, pause: Duration::from_secs(1) }
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// Name of the model, as the server knows it.
    pub model: String,
    /// What frames the task.
    pub system: String,
    /// What is asked.
    pub user: String,
    /// Tokens of the answer at most.
    pub max_tokens: u32,
    /// Seed of the server's draws, which at temperature 0 should not matter.
    pub seed: u64,
    /// JSON Schema of the answer, for servers that know how to hold a model to one.
    pub schema: Option<Value>,
}

impl ChatRequest {
    /// The body, with the schema or without it.
    fn body(&self, with_schema: bool) -> Value {
        let mut body = json!({
            "model": self.model,
            "messages": [
                {"role": "system", "content": self.system},
                {"role": "user", "content": self.user},
            ],
            "temperature": 0,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
        });
        if let Some(schema) = self.schema.as_ref().filter(|_| with_schema) {
            body["response_format"] = json!({
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": true, "schema": schema},
            });
        }
        body
    }

    /// The body without the schema: what identifies the request, whether or not the server knows schemas.
    pub fn identity(&self) -> Value {
        self.body(false)
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatAnswer {
    /// What the model wrote; empty where it wrote nothing.
    pub text: String,
    /// Tokens of the request, where the server counts them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, where the server counts them.
    pub answer_tokens: Option<u64>,
    /// The body as it came.
    pub body: Value,
}

/// A server, ready to be asked from several threads.
pub struct ChatServer {
    address: Address,
    agent: Agent,
    key: Option<String>,
    options: ChatOptions,
    /// It refused a schema once, and is asked without from then on.
    without_schema: AtomicBool,
}

impl fmt::Debug for ChatServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_some() { "set" } else { "none" };
        f.debug_struct("ChatServer")
            .field("address", &self.address)
            .field("key", &key)
            .finish_non_exhaustive()
    }
}

/// What one attempt came to.
enum Attempt {
    Answered(ChatAnswer),
    /// Repeating may help.
    Failed(String),
    /// Too busy, with the pause that was asked for.
    Busy(String, Option<Duration>),
    /// The schema was refused.
    NoSchema,
}

impl ChatServer {
    /// The server at `address`; `key` goes into the header `Authorization`.
    ///
    /// # Errors
    /// Certificates that the environment names and that cannot be read; a key that cannot be a header.
    pub fn new(address: Address, key: Option<String>, options: ChatOptions) -> Result<Self> {
        if key.as_deref().is_some_and(|key| key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Error::request(
                "the key of the server is empty or holds blanks or other signs that no key has",
            )
            .with_remedy("check the environment variable that --key-env names"));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(Hub::from_environment().tls()?)
            .timeout_connect(Some(Duration::from_secs(20).min(options.timeout)))
            .timeout_global(Some(options.timeout))
            .user_agent(concat!("sae-workbench/", env!("CARGO_PKG_VERSION")));
        // A proxy would see what is meant for this machine.
        let config = if address.is_local() { config.proxy(None) } else { config };
        let agent = config.build().into();
        Ok(Self { address, agent, key, options, without_schema: AtomicBool::new(false) })
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Asks, and asks again where that may help, until `stop` says yes.
    ///
    /// # Errors
    /// [`Error::Request`] for what the server refuses: the key, the model, the request. [`Error::Network`] where it cannot be reached,
    /// stays silent, too busy or unintelligible after every repetition. [`Error::Stopped`].
    pub fn ask(&self, request: &ChatRequest, stop: &dyn Fn() -> bool) -> Result<ChatAnswer> {
        let (mut failures, mut busy) = (0, 0);
        loop {
            let (problem, pause) = match self.attempt(request)? {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::NoSchema => {
                    self.without_schema.store(true, Ordering::Relaxed);
                    continue;
                }
                Attempt::Failed(problem) => {
                    failures += 1;
                    if failures > self.options.retries {
                        return Err(self.given_up(&problem));
                    }
                    (problem, self.options.pause * (1 << (failures - 1).min(8)))
                }
                Attempt::Busy(problem, asked) => {
                    busy += 1;
                    if busy > BUSY {
                        return Err(self.given_up(&problem));
                    }
                    (problem, asked.unwrap_or(self.options.pause * (1 << (busy - 1).min(6))))
                }
            };
            if pause > LONGEST_PAUSE {
                return Err(
                    self.given_up(&format!("{problem}, and asks for a pause of {} s", pause.as_secs()))
                );
            }
            wait(pause, stop)?;
        }
    }

    fn attempt(&self, request: &ChatRequest) -> Result<Attempt> {
        let with_schema = request.schema.is_some() && !self.without_schema.load(Ordering::Relaxed);
        let mut call = self.agent.post(self.address.url()).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            call = call.header("Authorization", format!("Bearer {key}"));
        }
        let answer = match call.send(request.body(with_schema).to_string()) {
            Ok(answer) => answer,
            Err(error) => return Ok(Attempt::Failed(self.shown(&error.to_string()))),
        };
        let status = answer.status();
        let pause = retry_after(answer.headers());
        let text = match answer.into_body().with_config().limit(LONGEST).read_to_string() {
            Ok(text) => text,
            Err(error) => return Ok(Attempt::Failed(self.shown(&error.to_string()))),
        };
        if status.is_success() {
            return Ok(match read(&text) {
                Ok(answer) => Attempt::Answered(answer),
                Err(problem) => Attempt::Failed(format!("{problem}: {}", self.shown(&text))),
            });
        }
        let problem = format!("status {status}: {}", self.shown(&message(&text)));
        match status.as_u16() {
            429 | 503 if pause.is_some() || status.as_u16() == 429 => Ok(Attempt::Busy(problem, pause)),
            408 | 409 | 425 | 500..=599 => Ok(Attempt::Failed(problem)),
            400 | 422 if with_schema => Ok(Attempt::NoSchema),
            code => Err(self.refusal(code, &problem)),
        }
    }

    fn refusal(&self, status: u16, problem: &str) -> Error {
        let url = self.address.url();
        let error = Error::request(format!("{url}: {problem}"));
        match (status, &self.key) {
            (401 | 403, None) => {
                error.with_remedy("name the environment variable that holds the key with --key-env")
            }
            (401 | 403, Some(_)) => error.with_remedy("check the key in the variable that --key-env names"),
            (404, _) => error.with_remedy("check --url and --model"),
            (300..=399, _) => {
                error.with_remedy("redirects are not followed: give the address itself with --url")
            }
            (400 | 413 | 422, _) => error
                .with_remedy("if the request was too long for the model, ask with fewer or shorter passages"),
            _ => error,
        }
    }

    fn given_up(&self, problem: &str) -> Error {
        Error::network(format!("{}: {problem}", self.address.url()))
            .with_remedy("give the same command again to continue: what has been answered is kept")
    }

    /// What a server wrote, short, on one line, and without the key, which some servers repeat.
    fn shown(&self, text: &str) -> String {
        let mut text = text.replace(['\n', '\r', '\t'], " ");
        if let Some(key) = &self.key {
            text = text.replace(key.as_str(), "***");
        }
        match text.char_indices().nth(SHOWN) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    }
}

/// What the answer says, or what is wrong with it.
fn read(text: &str) -> std::result::Result<ChatAnswer, &'static str> {
    let body: Value = serde_json::from_str(text).map_err(|_| "the answer is not JSON")?;
    let message = body.pointer("/choices/0/message").ok_or("the answer has no choices[0].message")?;
    let content = match message.get("content") {
        Some(Value::String(content)) => content.clone(),
        // Models that think may spend all their tokens on it.
        None | Some(Value::Null) => String::new(),
        Some(_) => return Err("choices[0].message.content of the answer is not text"),
    };
    let tokens = |name: &str| body.get("usage")?.get(name)?.as_u64();
    let (prompt_tokens, answer_tokens) = (tokens("prompt_tokens"), tokens("completion_tokens"));
    Ok(ChatAnswer { text: content, prompt_tokens, answer_tokens, body })
}

/// The message of an error, which servers wrap in different ways.
fn message(text: &str) -> String {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let said =
        ["/error/message", "/message", "/detail", "/error"].iter().find_map(|at| body.pointer(at)?.as_str());
    said.unwrap_or(text).to_owned()
}

/// The pause of the header, where it is in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn wait(pause: Duration, stop: &dyn Fn() -> bool) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < pause {
        if stop() {
            return Err(Error::stopped(
                "what has been answered is kept; give the same command again to continue",
            ));
        }
        std::thread::sleep((pause - began.elapsed().min(pause)).min(Duration::from_millis(50)));
    }
    Ok(())
}
