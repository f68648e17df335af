//! What a repository of the hub has, and which of it a model needs.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::cache::is_plain;
use super::download::Client;
use crate::{Error, Result};

/// Small files that are taken where they are there.
const SMALL: [&str; 7] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A file as the hub describes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Listed {
    pub file: String,
    pub size: Option<u64>,
    /// SHA-256 of a large file.
    pub sha256: Option<String>,
    /// Git's hash of a small one.
    git: Option<String>,
}

impl Listed {
    /// The blob's name in the cache.
    pub fn id(&self, commit: &str) -> String {
        let known = self.sha256.as_ref().or(self.git.as_ref()).filter(|id| is_plain(id)).cloned();
        // A mirror that tells no hashes.
        known.unwrap_or_else(|| {
            let hash = Sha256::digest(format!("{commit}/{}", self.file).as_bytes());
            hash.iter().map(|b| format!("{b:02x}")).collect()
        })
    }
}

/// The files of one commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub commit: String,
    files: Vec<Listed>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: Option<String>,
}

impl Listing {
    /// Asks the hub.
    pub fn get(client: &Client<'_>, name: &str, revision: &str) -> Result<Self> {
        let path = format!("api/models/{name}/revision/{}?blobs=true", revision.replace('/', "%2F"));
        let text = client.text(&path, name, revision)?;
        let answer: Answer = serde_json::from_str(&text).map_err(|e| {
            Error::network(format!(
                "{} answers with something else than a description of {name}: {e}",
                client.url(&path)
            ))
        })?;
        if !is_plain(&answer.sha) {
            return Err(Error::network(format!("{} names the commit `{}`", client.url(&path), answer.sha)));
        }
        let listed = |s: Sibling| Listed {
            file: s.rfilename,
            size: s.size,
            sha256: s.lfs.and_then(|lfs| lfs.sha256),
            git: s.blob,
        };
        Ok(Self { commit: answer.sha, files: answer.siblings.into_iter().map(listed).collect() })
    }

    fn find(&self, file: &str) -> Option<&Listed> {
        self.files.iter().find(|f| f.file == file)
    }

    /// The files that are needed, and the index if the weights are in several.
    ///
    /// # Errors
    /// A repository without weights or a tokenizer that this program reads.
    pub fn wanted(&self, name: &str) -> Result<(Vec<&Listed>, Option<&Listed>)> {
        if self.find("config.json").is_none() {
            return self.gguf(name).map(|file| (vec![file], None));
        }
        let mut files: Vec<&Listed> = SMALL.iter().filter_map(|file| self.find(file)).collect();
        let has = |file: &str| self.find(file).is_some();
        let has_tokenizer = has("tokenizer.json") || (has("vocab.json") && has("merges.txt"));
        if !has_tokenizer {
            return Err(Error::request(format!(
                "{name} has neither tokenizer.json nor vocab.json and merges.txt; make one with transformers: \
                 AutoTokenizer.from_pretrained(\"{name}\").save_pretrained(FOLDER)"
            )));
        }
        if let Some(weights) = self.find(WEIGHTS) {
            files.push(weights);
            return Ok((files, None));
        }
        match self.find(INDEX) {
            Some(index) => Ok((files, Some(index))),
            None => Err(Error::request(format!(
                "{name} has no {WEIGHTS}{}; load it with transformers and save_pretrained it as safetensors",
                if has("pytorch_model.bin") { ", only pytorch_model.bin, which is not read" } else { "" }
            ))),
        }
    }

    fn gguf(&self, name: &str) -> Result<&Listed> {
        let found: Vec<&Listed> =
            self.files.iter().filter(|f| f.file.ends_with(".gguf") && is_file_name(&f.file)).collect();
        match &found[..] {
            [one] => Ok(one),
            [] => Err(Error::request(format!("{name} has neither config.json nor a .gguf file"))),
            several => {
                let names: Vec<&str> = several.iter().map(|f| f.file.as_str()).collect();
                Err(Error::request(format!(
                    "{name} has {} GGUF files; fetch one (`hf download {name} FILE`) and give its path: {}",
                    names.len(),
                    names.join(", ")
                )))
            }
        }
    }

    /// The files that the index at `path` names.
    pub fn shards(&self, path: &Path) -> Result<Vec<&Listed>> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: std::collections::BTreeMap<String, String>,
        }
        let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let index: Index = serde_json::from_slice(&text)
            .map_err(|e| Error::format(path, format!("is no index of safetensors files: {e}")))?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        let shard = |name: &String| {
            let found = self.find(name).filter(|_| is_file_name(name) && name.ends_with(".safetensors"));
            found.ok_or_else(|| {
                Error::format(path, format!("names `{name}`, which the repository does not have"))
            })
        };
        names.into_iter().map(shard).collect()
    }
}

/// A name without a folder, which can be part of an address as it is.
fn is_file_name(name: &str) -> bool {
    !name.starts_with('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
