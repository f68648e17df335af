//! Tokens of texts: the argument is a GGUF file or a model's folder, each line of standard input a JSON string, each line of standard output
//! the array of its tokens. `tests/outside/gguf_tokens.py` compares them with llama.cpp's.

use std::io::{BufRead as _, Write as _};
use std::path::Path;

use lm::model::{Gguf, Tokenizer};

fn tokenizer(path: &Path) -> lm::Result<Tokenizer> {
    if path.is_dir() {
        return Ok(Tokenizer::from_folder(path, None)?.0);
    }
    Ok(Tokenizer::new(Gguf::open(path)?.tokenizer()?, None))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give a GGUF file or a model's folder")?;
    let tokenizer = tokenizer(Path::new(&path))?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        writeln!(out, "{}", serde_json::json!(tokenizer.encode(&text)?))?;
    }
    Ok(())
}
