//! Writes chats as templates write them. Each line of standard input is a JSON object of `template`, `bos`, `eos` and
//! `messages`; each line of standard output one with `text`, or with `error`: what `tests/outside/chats.py` compares
//! with Jinja for Python.

use std::io::{BufRead as _, Write as _};

use lm::text::{Chat, ChatTemplate};

fn rendered(line: &str) -> Result<String, String> {
    let job: serde_json::Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let text = |name: &str| job[name].as_str().unwrap_or_default();
    let chat = Chat::from_json(&job["messages"].to_string())?;
    ChatTemplate::new(text("template"), text("bos"), text("eos")).render(&chat).map_err(|e| e.to_string())
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match rendered(&line?) {
            Ok(text) => serde_json::json!({ "text": text }),
            Err(error) => serde_json::json!({ "error": error }),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}
