//! What a repository of the hub has, and which of it a model needs.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::cache::is_plain;
use crate::model::folder::{complete_shards, gguf_models};
use crate::model::weights::gguf::Part;
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
pub(super) struct RepositoryFile {
    pub file: String,
    pub size: Option<u64>,
    /// SHA-256 of a large file.
    pub sha256: Option<String>,
    /// Git's hash of a small one.
    git: Option<String>,
}

impl RepositoryFile {
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
    pub files: Vec<RepositoryFile>,
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
    /// From the hub's answer; an error says what is wrong with it.
    ///
    /// # Errors
    /// An answer that is not such a description, or a commit that is not a plain name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let answer: Answer = serde_json::from_str(text)
            .map_err(|e| format!("does not answer with a description of the repository: {e}"))?;
        if !is_plain(&answer.sha) {
            return Err(format!("names the commit `{}`", answer.sha));
        }
        let file = |s: Sibling| RepositoryFile {
            file: s.rfilename,
            size: s.size,
            sha256: s.lfs.and_then(|lfs| lfs.sha256),
            git: s.blob,
        };
        Ok(Self { commit: answer.sha, files: answer.siblings.into_iter().map(file).collect() })
    }

    pub fn find(&self, file: &str) -> Option<&RepositoryFile> {
        self.files.iter().find(|f| f.file == file)
    }

    /// The files that are needed, and the index if the weights are in several.
    ///
    /// # Errors
    /// A repository without weights or a tokenizer that this program reads.
    pub fn wanted(&self, name: &str) -> Result<(Vec<&RepositoryFile>, Option<&RepositoryFile>)> {
        let has = |file: &str| self.find(file).is_some();
        let shards = self.shards_without_index();
        let safetensors = has(WEIGHTS) || has(INDEX) || !shards.is_empty();
        let gguf = self.gguf(name)?;
        if !has("config.json") || (!safetensors && !gguf.is_empty()) {
            return match gguf.is_empty() {
                false => Ok((gguf, None)),
                true => Err(Error::request(format!("{name} has neither config.json nor a .gguf file"))),
            };
        }
        let reads = has("tokenizer.json") || (has("vocab.json") && has("merges.txt"));
        if !reads {
            return Err(Error::request(format!("{name} has neither tokenizer.json nor vocab.json and merges.txt"))
                .with_remedy(format!(
                    "make one with transformers: AutoTokenizer.from_pretrained(\"{name}\").save_pretrained(FOLDER)"
                )));
        }
        let mut files: Vec<&RepositoryFile> = SMALL.iter().filter_map(|file| self.find(file)).collect();
        if let Some(weights) = self.find(WEIGHTS) {
            files.push(weights);
            return Ok((files, None));
        }
        if let Some(index) = self.find(INDEX) {
            return Ok((files, Some(index)));
        }
        if !shards.is_empty() {
            files.extend(shards);
            return Ok((files, None));
        }
        let other = if has("pytorch_model.bin") { ", only pytorch_model.bin, which is not read" } else { "" };
        Err(Error::request(format!("{name} has no {WEIGHTS}{other}"))
            .with_remedy("load it with transformers and save_pretrained it as safetensors"))
    }

    /// A complete set of numbered files, where no index names them.
    fn shards_without_index(&self) -> Vec<&RepositoryFile> {
        let names: Vec<String> = self.files.iter().map(|f| f.file.clone()).collect();
        let shards = complete_shards(&names).unwrap_or_default();
        shards.iter().filter_map(|name| self.find(name)).filter(|f| is_file_name(&f.file)).collect()
    }

    /// The files of the GGUF model; none if there is none.
    fn gguf(&self, name: &str) -> Result<Vec<&RepositoryFile>> {
        let names = self.files.iter().map(|f| f.file.as_str()).filter(|name| is_file_name(name));
        let models = gguf_models(names);
        let (first, whole) = match &models[..] {
            [] => return Ok(Vec::new()),
            [one] => (one, Part::of(one).map_or_else(|| vec![one.clone()], |part| part.names())),
            // Next to safetensors they are another way to have the model.
            _ if self.find("config.json").is_some() && self.find(WEIGHTS).is_some() => return Ok(Vec::new()),
            several => {
                let remedy = format!(
                    "fetch one (`hf download {name} FILE`) and give its path: {}",
                    several.join(", ")
                );
                return Err(
                    Error::request(format!("{name} has {} GGUF models", several.len())).with_remedy(remedy)
                );
            }
        };
        let found: Vec<&RepositoryFile> = whole.iter().filter_map(|name| self.find(name)).collect();
        match found.len() == whole.len() {
            true => Ok(found),
            false => Err(Error::request(format!("{name} does not have every part of {first}"))),
        }
    }

    /// The files that the index at `path` names.
    ///
    /// # Errors
    /// An index that cannot be read or is not one; a name in it that the repository does not have.
    pub fn shards(&self, path: &Path) -> Result<Vec<&RepositoryFile>> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: std::collections::BTreeMap<String, String>,
        }
        let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let index: Index = serde_json::from_slice(&text)
            .map_err(|e| Error::format(path, format!("is not an index of safetensors files: {e}")))?;
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
