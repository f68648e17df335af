//! Many requests at once, each sent once only.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use lm::model::hexadecimal;
use lm::remote::{ChatAnswer, ChatRequest, ChatServer};
use sha2::{Digest as _, Sha256};
use storage::Lock;
use storage::judged::{AnswerFile, AnswerLine};

use crate::{Error, Progress, Result};

/// How often a wish to stop is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// What identifies a request: SHA-256 of its body.
pub fn key(request: &ChatRequest) -> String {
    // serde_json keeps the fields of an object in one order.
    hexadecimal(&Sha256::digest(request.identity().to_string()))
}

/// Tokens that were used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    pub requests: u64,
    pub prompt_tokens: u64,
    pub answer_tokens: u64,
    /// Answers without a count of tokens.
    pub uncounted: u64,
}

/// All answers that there are, on disk and in memory.
pub struct Answers {
    file: AnswerFile,
    texts: HashMap<String, String>,
    /// Used since the folder was opened.
    pub used: Used,
    _lock: Lock,
}

impl Answers {
    /// Opens the folder for this process alone.
    ///
    /// # Errors
    /// A folder that cannot be made or is in use, a file of answers that is damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let lock = Lock::take(folder)?;
        let (file, lines) = AnswerFile::open(folder)?;
        let texts = lines.into_iter().map(|line| (line.key, line.text)).collect();
        Ok(Self { file, texts, used: Used::default(), _lock: lock })
    }

    /// The answer to a request, if there is one.
    pub fn get(&self, request: &ChatRequest) -> Option<&str> {
        self.texts.get(&key(request)).map(String::as_str)
    }

    /// The requests that have no answer, each once.
    pub fn missing<'a>(&self, requests: impl IntoIterator<Item = &'a ChatRequest>) -> Vec<ChatRequest> {
        let mut seen = HashSet::new();
        requests
            .into_iter()
            .filter(|request| {
                let key = key(request);
                !self.texts.contains_key(&key) && seen.insert(key)
            })
            .cloned()
            .collect()
    }

    fn take(&mut self, request: &ChatRequest, answer: ChatAnswer) -> Result<()> {
        let line = AnswerLine {
            key: key(request),
            request: request.identity(),
            answer: answer.body,
            text: answer.text,
            prompt_tokens: answer.prompt_tokens,
            answer_tokens: answer.answer_tokens,
        };
        self.file.append(&line)?;
        self.used.requests += 1;
        self.used.prompt_tokens += line.prompt_tokens.unwrap_or_default();
        self.used.answer_tokens += line.answer_tokens.unwrap_or_default();
        self.used.uncounted += u64::from(line.prompt_tokens.is_none() || line.answer_tokens.is_none());
        self.texts.insert(line.key, line.text);
        Ok(())
    }

    /// Asks `server` what has not been answered, `concurrency` requests at a time. Answers are kept as they come, also of a run that is
    /// stopped or fails.
    ///
    /// # Errors
    /// The first failure of a request; [`Error::Stopped`]; a file that cannot be written to.
    pub fn ask(
        &mut self,
        server: &Arc<ChatServer>,
        requests: Vec<ChatRequest>,
        concurrency: usize,
        stage: &str,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let all = requests.len();
        progress.begin(stage, Some(all as u64), "answers");
        let requests = Arc::new(requests);
        let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (sender, answers) = mpsc::channel();
        for _ in 0..concurrency.min(all) {
            // Not scoped: a request that hangs must not hold up a stop.
            let (server, requests, sender) = (server.clone(), requests.clone(), sender.clone());
            let (stop, next) = (stop.clone(), next.clone());
            std::thread::spawn(move || {
                let stopped = || stop.load(Ordering::Relaxed);
                while !stopped() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(request) = requests.get(at) else { break };
                    if sender.send((at, server.ask(request, &stopped))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut failure = None;
        let mut done = 0;
        while done < all {
            match answers.recv_timeout(LOOK) {
                Ok((at, Ok(answer))) => {
                    self.take(&requests[at], answer)?;
                    done += 1;
                }
                Ok((_, Err(error))) => {
                    stop.store(true, Ordering::Relaxed);
                    failure = failure.or(Some(error));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            progress.advance(
                done as u64,
                &format!("{} tokens", self.used.prompt_tokens + self.used.answer_tokens),
            );
            if progress.stop_requested() {
                stop.store(true, Ordering::Relaxed);
                return Err(Error::stopped(
                    "what has been answered is kept; give the same command again to continue",
                ));
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        progress.end(&format!("{done} answers"));
        Ok(())
    }
}
