//! Where a dictionary is.

use std::path::{Path, PathBuf};

use super::{Format, gemma_scope2, hub as repository, recognise};
use crate::{Error, Progress, Result};
use lm::model::Hub;

/// Where a dictionary is: a folder, a file, or `owner/name[@revision][/path/inside]` of the Hugging Face hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DictionarySource {
    /// A folder or file of this machine.
    Path(PathBuf),
    /// A repository of the hub, or something in it.
    Hub {
        /// `OWNER/NAME`.
        name: String,
        /// Branch, tag or commit; `main` if none is given.
        revision: Option<String>,
        /// A folder or file in the repository; empty for all of it.
        inside: String,
    },
}

impl DictionarySource {
    /// A path if there is such a file or folder, if it begins with a folder that is there or if it cannot be a name of the hub; else a
    /// name of the hub.
    pub fn parse(text: &str) -> Self {
        let path = Path::new(text);
        let local = ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start));
        // `runs/topk` with a slip in it is not a name of the hub where there is a folder `runs`: nobody is asked for it.
        let begins = path.components().next().is_some_and(|first| Path::new(first.as_os_str()).is_dir());
        if local || path.exists() || begins {
            return Self::Path(path.to_path_buf());
        }
        hub(text).unwrap_or_else(|| Self::Path(path.to_path_buf()))
    }

    /// The folder or file on this machine. A repository of the hub is looked for in Hugging Face's cache; it is not downloaded.
    ///
    /// # Errors
    /// A path that is not there; a repository, revision or path inside that is not in the cache, and the command that brings it there.
    pub fn locate(&self) -> Result<PathBuf> {
        self.locate_in(&Hub::from_environment())
    }

    /// The folder or file on this machine; what is missing of a repository of the hub is fetched into Hugging Face's cache: the files of
    /// one dictionary, and nothing else.
    ///
    /// # Errors
    /// As [`DictionarySource::locate`]; a repository or path that the hub does not have, several dictionaries, and which;
    /// [`Error::Network`], [`Error::Stopped`].
    pub fn fetch(&self, progress: &mut dyn Progress) -> Result<PathBuf> {
        self.fetch_from(&Hub::from_environment(), progress)
    }

    /// As [`DictionarySource::fetch`], from this hub.
    ///
    /// # Errors
    /// As there.
    pub fn fetch_from(&self, hub: &Hub, progress: &mut dyn Progress) -> Result<PathBuf> {
        let there = self.locate_in(hub);
        let Self::Hub { name, revision, inside } = self else { return there };
        let format = there.as_ref().ok().and_then(|place| recognise(place).ok());
        // Weights come last, so what is recognised is whole. Only of the layers of a set there may be more.
        let layers = |place: &PathBuf| match format {
            Some(Format::TranscoderSet | Format::CrossLayer) => place.is_dir(),
            Some(Format::GemmaScope2) => place.is_dir() && !place.join(gemma_scope2::FILE).exists(),
            _ => false,
        };
        let may_grow = there.as_ref().is_ok_and(layers);
        if hub.offline || (format.is_some() && !may_grow) {
            return there;
        }
        let choose = |files: &[lm::model::HubFile]| repository::wanted(name, inside, files);
        match hub.fetch_files(name, revision.as_deref(), &choose, progress) {
            Ok(folder) => Ok(folder.join(inside)),
            Err(Error::Network(_)) if may_grow => {
                progress
                    .remark(&format!("the hub cannot be reached; taking the layers of {self} that are here"));
                there
            }
            Err(error @ Error::Network(_)) => {
                Err(error.with_remedy(download(name, revision.as_deref(), inside)))
            }
            Err(error) if error.remedy().is_none() => Err(error.with_remedy(format!(
                "if a run or a folder was meant, check its path: there is no {self} here"
            ))),
            Err(error) => Err(error),
        }
    }

    fn locate_in(&self, hub: &Hub) -> Result<PathBuf> {
        match self {
            Self::Path(path) if path.exists() => Ok(path.clone()),
            Self::Path(path) => Err(Error::io(path, std::io::ErrorKind::NotFound.into())),
            Self::Hub { name, revision, inside } => {
                let download = download(name, revision.as_deref(), inside);
                let found = hub.cached(name, revision.as_deref());
                let place = found.map_err(|error| error.with_remedy(download.as_str()))?.join(inside);
                match place.exists() {
                    true => Ok(place),
                    false => Err(Error::request(format!(
                        "{self} is not in Hugging Face's cache, {}",
                        hub.cache.display()
                    ))
                    .with_remedy(download)),
                }
            }
        }
    }
}

impl std::fmt::Display for DictionarySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Hub { name, revision, inside } => {
                f.write_str(name)?;
                if let Some(revision) = revision {
                    write!(f, "@{revision}")?;
                }
                if inside.is_empty() { Ok(()) } else { write!(f, "/{inside}") }
            }
        }
    }
}

/// The command that brings a source into the cache, and no more of the repository than that.
fn download(name: &str, revision: Option<&str>, inside: &str) -> String {
    let revision = revision.map(|revision| format!(" --revision {revision}")).unwrap_or_default();
    let file = Path::new(inside)
        .extension()
        .is_some_and(|end| ["pt", "pth", "npz", "safetensors"].iter().any(|e| end == *e));
    let part = match (inside.is_empty(), file) {
        (true, _) => String::new(),
        (false, true) => format!(" {inside}"),
        (false, false) => format!(" --include \"{inside}/*\""),
    };
    format!(
        "check the path, or for a dictionary of the hub run `hf download {name}{revision}{part}` (here, or on a machine with a \
         network and copy its cache)"
    )
}

/// `owner/name[@revision][/path/inside]`.
fn hub(text: &str) -> Option<DictionarySource> {
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && !part.contains("..") && part.chars().all(allowed)
    };
    let mut parts = text.trim_end_matches('/').split('/');
    let (owner, name) = (parts.next()?, parts.next()?);
    let (name, revision) = match name.split_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (name, None),
    };
    let inside: Vec<&str> = parts.collect();
    // Folders have names such as `k=32` and `width 16k`.
    let stays = |part: &&str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', ':', '\0']);
    let good = plain(owner) && plain(name) && revision.is_none_or(plain) && inside.iter().all(stays);
    good.then(|| DictionarySource::Hub {
        name: format!("{owner}/{name}"),
        revision: revision.map(str::to_owned),
        inside: inside.join("/"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_told_apart() {
        let hub = |name: &str, revision: Option<&str>, inside: &str| DictionarySource::Hub {
            name: name.into(),
            revision: revision.map(Into::into),
            inside: inside.into(),
        };
        for (text, expected) in [
            (
                "google/gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_59",
                hub("google/gemma-scope-2b-pt-res", None, "layer_3/width_16k/average_l0_59"),
            ),
            ("Qwen/SAE@abc123/layer0.sae.pt", hub("Qwen/SAE", Some("abc123"), "layer0.sae.pt")),
            ("a/b", hub("a/b", None, "")),
            ("./a/b", DictionarySource::Path("./a/b".into())),
            ("../a", DictionarySource::Path("../a".into())),
            ("/a/b", DictionarySource::Path("/a/b".into())),
            ("run", DictionarySource::Path("run".into())),
            ("a/b/../../c", DictionarySource::Path("a/b/../../c".into())),
        ] {
            let source = DictionarySource::parse(text);
            assert_eq!(source, expected, "{text}");
            assert_eq!(source.to_string(), text);
        }
        // What is there wins: tests run in the crate's folder.
        assert_eq!(DictionarySource::parse("src/interop"), DictionarySource::Path("src/interop".into()));
    }

    #[test]
    fn a_repository_is_found_in_the_cache_or_its_download_is_named() {
        let cache = tempfile::tempdir().unwrap();
        let snapshot = cache.path().join("models--google--gemma-scope-2b-pt-res/snapshots/0123abc");
        std::fs::create_dir_all(snapshot.join("layer_3/width_16k/average_l0_59")).unwrap();
        let hub = Hub { cache: cache.path().to_path_buf(), offline: true, ..Hub::from_environment() };
        let locate = |text: &str| DictionarySource::parse(text).locate_in(&hub);
        let there = "google/gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_59";
        assert_eq!(locate(there).unwrap(), snapshot.join("layer_3/width_16k/average_l0_59"));
        for (text, command) in [
            (
                "google/gemma-scope-2b-pt-res/layer_4/width_16k/average_l0_9",
                "hf download google/gemma-scope-2b-pt-res --include \"layer_4/width_16k/average_l0_9/*\"",
            ),
            ("Qwen/SAE@abc/layer0.sae.pt", "hf download Qwen/SAE --revision abc layer0.sae.pt`"),
            ("a/b", "hf download a/b`"),
        ] {
            let error = locate(text).unwrap_err();
            assert!(error.remedy().is_some_and(|remedy| remedy.contains(command)), "{error}");
        }
    }
}
