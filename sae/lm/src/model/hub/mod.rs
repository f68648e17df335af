//! Models and other repositories of the Hugging Face hub: from its cache on this machine, or fetched into it.
//!
//! ```text
//! NAME@REVISION ── cache: refs/REVISION → snapshots/COMMIT, complete? ──────────────────────────▶ folder
//!                    └─ no ─▶ api/models/NAME/revision/REVISION: commit, files, sizes, hashes
//!                               └─▶ resolve/COMMIT/FILE ─▶ blobs/HASH.incomplete ─ checked ─▶ blobs/HASH ◀─ snapshots/COMMIT/FILE
//! ```
//!
//! The cache is the one that Python's `huggingface_hub` uses, in its layout: what one of them fetched the
//! other finds. A model that is there whole is used as it is, nobody is asked; a commit (`NAME@COMMIT`) says
//! which. `refs/REVISION` is written last, so what was interrupted is not found by name, and is resumed where
//! it was.
//!
//! Environment: `HF_HUB_CACHE` or `HF_HOME` (where the cache is), `HF_ENDPOINT` (a mirror), `HF_TOKEN` or the
//! file that `hf auth login` leaves, `HF_HUB_OFFLINE` (ask nobody), `SSL_CERT_FILE` (whom to trust),
//! `HTTPS_PROXY`. The token goes to the endpoint alone, not to where it sends us.
//!
//! The client is our own, on `ureq` with `rustls` (blocking, 12 crates that were not there before, no system
//! library). The crate `hf-hub` 1.0 brings 130 more (tokio, hyper, aws-lc with cmake, a database); 0.5
//! appends a whole file to half of one where a server does not know ranges, compares neither length nor hash,
//! cannot be interrupted, and does not know `HF_TOKEN`, `HF_HUB_CACHE` and `HF_HUB_OFFLINE`.

mod cache;
mod download;
mod files;
mod listing;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use cache::{cache, snapshot};

use super::folder::{ModelFiles, in_folder};
use super::weights::gguf;
use crate::{Error, Progress, Result};
use download::Client;
pub use files::HubFile;
use listing::{Listing, RepositoryFile};

/// Variables that name a file of authorities, as Python's clients and curl know them.
const AUTHORITIES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
/// The hub itself.
const ENDPOINT: &str = "https://huggingface.co";

/// Where models come from and where they are kept.
#[derive(Debug, Clone)]
pub struct Hub {
    /// `https://huggingface.co`, or a mirror.
    pub endpoint: String,
    /// The folder of `models--ORG--NAME`.
    pub cache: PathBuf,
    /// What `hf auth login` gives.
    pub token: Option<String>,
    /// Whom to trust instead of Mozilla's list, as PEM: networks that look into TLS have an authority of
    /// their own.
    pub certificates: Option<PathBuf>,
    /// Ask nobody.
    pub offline: bool,
    /// Wait so long before the first repetition of what failed, then twice as long.
    pub pause: Duration,
}

impl Hub {
    /// As the environment has it.
    pub fn from_environment() -> Self {
        let text =
            |name: &str| std::env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let yes = |v: String| ["1", "true", "yes", "on"].contains(&v.to_lowercase().as_str());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: cache(),
            token: text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(cache::token),
            certificates: AUTHORITIES.iter().find_map(|name| text(name)).map(PathBuf::from),
            offline: text("HF_HUB_OFFLINE").is_some_and(yes),
            pause: Duration::from_secs(1),
        }
    }

    /// Whom connections trust: for every client of this crate.
    ///
    /// # Errors
    /// Authorities that were named and cannot be read.
    pub(crate) fn tls(&self) -> Result<ureq::tls::TlsConfig> {
        Ok(storage::certificates::trusted(self.certificates.as_deref())?)
    }

    /// The folder of a repository in the cache, whatever it holds and however much of it is there.
    ///
    /// # Errors
    /// [`Error::Request`]: it is not in the cache, or in several revisions and none is given.
    pub fn cached(&self, name: &str, revision: Option<&str>) -> Result<PathBuf> {
        snapshot(&self.cache, name, revision)
    }

    /// The folder of a model, fetched if it is not whole in the cache.
    ///
    /// # Errors
    /// [`Error::Request`]: no such model or revision, one that needs a token, one without files that can be
    /// read, offline. [`Error::Network`]: the hub cannot be reached or breaks off again and again; what has
    /// arrived is kept. [`Error::Stopped`].
    pub fn fetch(&self, name: &str, revision: Option<&str>, progress: &mut dyn Progress) -> Result<PathBuf> {
        if let Ok(folder) = snapshot(&self.cache, name, revision)
            && is_whole(&folder)
        {
            return Ok(folder);
        }
        let folder = self.bring(name, revision, progress, |fetcher, listing, progress| {
            let (first, index) = listing.wanted(name)?;
            let mut files = first;
            if let Some(index) = index {
                // Which shards there are only the index says.
                progress.begin("index", index.size, "bytes");
                fetcher.one(index, progress)?;
                progress.end(&index.file);
                files.extend(listing.shards(&fetcher.snapshot().join(&index.file))?);
            }
            fetcher.all(&files, progress)
        })?;
        in_folder(&folder)?;
        Ok(folder)
    }

    /// Asks the hub what a repository holds, lets `fetch` take of it, and notes the commit when that is done; the
    /// commit's folder.
    fn bring(
        &self,
        name: &str,
        revision: Option<&str>,
        progress: &mut dyn Progress,
        fetch: impl FnOnce(&mut Fetcher<'_>, &Listing, &mut dyn Progress) -> Result<()>,
    ) -> Result<PathBuf> {
        let revision = revision.unwrap_or("main");
        if self.offline {
            let cache = self.cache.display();
            return Err(Error::request(format!(
                "{name} at revision {revision} is not whole in Hugging Face's cache, {cache}, and HF_HUB_OFFLINE is set"
            ))
            .with_remedy("unset it, or copy the folder here and give that"));
        }
        let client = Client::new(self)?;
        let listing = listing(&client, name, revision)?;
        let model = self.cache.join(format!("models--{}", name.replace('/', "--")));
        let lock = self.cache.join(".locks").join(model.file_name().unwrap_or_default());
        std::fs::create_dir_all(&lock).map_err(|e| Error::io(&lock, e))?;
        let _lock = storage::Lock::take(&lock)?;
        let mut fetcher =
            Fetcher { client: &client, name, commit: &listing.commit, model: &model, before: 0 };
        fetch(&mut fetcher, &listing, progress)?;
        cache::refer(&model, revision, &listing.commit)?;
        Ok(fetcher.snapshot())
    }
}

/// What the hub says about a revision of a repository.
fn listing(client: &Client<'_>, name: &str, revision: &str) -> Result<Listing> {
    let path = format!("api/models/{name}/revision/{}?blobs=true", revision.replace('/', "%2F"));
    let text = client.text(&path, name, revision)?;
    Listing::parse(&text).map_err(|problem| Error::network(format!("{} {problem}", client.url(&path))))
}

/// Whether a snapshot has everything that a model needs.
fn is_whole(folder: &Path) -> bool {
    let tokenizer = ["tokenizer.json", "vocab.json"].iter().any(|name| folder.join(name).is_file());
    match in_folder(folder) {
        Ok(ModelFiles::Gguf(file)) => gguf::parts(&file).is_ok(),
        Ok(_) => tokenizer,
        Err(_) => false,
    }
}

/// The files of one commit on their way into the cache.
struct Fetcher<'a> {
    client: &'a Client<'a>,
    name: &'a str,
    commit: &'a str,
    /// `models--ORG--NAME`.
    model: &'a Path,
    /// Bytes of the files that are done.
    before: u64,
}

impl Fetcher<'_> {
    /// The folder of the commit.
    fn snapshot(&self) -> PathBuf {
        self.model.join("snapshots").join(self.commit)
    }

    fn blob(&self, file: &RepositoryFile) -> PathBuf {
        self.model.join("blobs").join(file.id(self.commit))
    }

    fn all(&mut self, files: &[&RepositoryFile], progress: &mut dyn Progress) -> Result<()> {
        self.before = 0;
        let total = files.iter().map(|f| f.size).sum::<Option<u64>>();
        self.announce(files, progress);
        progress.begin("download", total, "bytes");
        for file in files {
            self.one(file, progress)?;
        }
        progress.end(&format!("{} at {}, {:.1} MB", self.name, self.commit, self.before as f64 / 1e6));
        Ok(())
    }

    /// Says what is about to be downloaded, and how large it is.
    fn announce(&self, files: &[&RepositoryFile], progress: &mut dyn Progress) {
        let missing: Vec<&&RepositoryFile> = files.iter().filter(|file| !self.blob(file).is_file()).collect();
        let Some(first) = missing.first() else { return };
        let size = match missing.iter().map(|file| file.size).sum::<Option<u64>>() {
            Some(bytes) => format!("{:.1} MB", bytes as f64 / 1e6),
            None => "of unknown size".to_owned(),
        };
        let what = match missing.len() {
            1 => first.file.clone(),
            n => format!("{n} files"),
        };
        let to = self.model.display();
        progress.remark(&format!("downloading {what}, {size}, of {} into {to}", self.name));
    }

    fn one(&mut self, file: &RepositoryFile, progress: &mut dyn Progress) -> Result<()> {
        let blob = self.blob(file);
        if !blob.is_file() {
            let path = format!("{}/resolve/{}/{}", self.name, self.commit, files::encoded(&file.file));
            let before = self.before;
            let mut advance = |done: u64| {
                progress.advance(before + done, &file.file);
                progress.stop_requested()
            };
            self.client.download(&path, file, &blob, &mut advance)?;
        }
        self.before += std::fs::metadata(&blob).map_err(|e| Error::io(&blob, e))?.len();
        progress.advance(self.before, &file.file);
        cache::link(self.model, self.commit, &file.file, &blob)
    }
}
