//! A server for tests, on this machine, that answers by a script.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answers with a status, lines of headers (each ended by `\r\n`) and a body.
    Status(u16, &'static str, String),
    /// Says nothing for so long and hangs up.
    Silence(Duration),
}

impl Reply {
    /// An answer of a model.
    pub fn said(text: &str) -> Self {
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 2});
        let body = json!({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage});
        Self::Status(200, "", body.to_string())
    }
}

/// Starts a server that ends with the process, and gives its address. The script is given the body of each request and the header
/// `Authorization`.
///
/// # Errors
/// No port is free.
pub fn start(script: impl FnMut(&Value, &str) -> Reply + Send + 'static) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    let script = Arc::new(Mutex::new(script));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let script = script.clone();
            std::thread::spawn(move || {
                // A client may hang up; the server does not care.
                let _ = serve(stream, &script);
            });
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream, script: &Mutex<impl FnMut(&Value, &str) -> Reply>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let (name, value) = line.trim().split_once(':').unwrap_or((line.trim(), ""));
        match name.to_lowercase().as_str() {
            "" => break,
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => key = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let Ok(reply) = script.lock().map(|mut script| script(&body, &key)) else { return Ok(()) };
    match reply {
        Reply::Silence(time) => std::thread::sleep(time),
        Reply::Status(status, headers, text) => write!(
            stream,
            "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )?,
    }
    Ok(())
}
