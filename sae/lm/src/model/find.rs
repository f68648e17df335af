//! Where a model's files are: in this program, in a folder, in GGUF files, or in Hugging Face's cache.

use std::path::{Path, PathBuf};

use super::Config;
use super::folder::{ModelFiles, in_folder};
use super::hub::{Hub, cache, snapshot};
use crate::{Error, Progress, Result};

/// Where a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// The small mixture-of-experts model inside this program.
    Default,
    /// A Hugging Face folder: `config.json`, weights in safetensors files, a tokenizer. Or a folder with one
    /// GGUF model.
    Folder(PathBuf),
    /// A GGUF file, or one of the files that a GGUF model is split into.
    Gguf(PathBuf),
    /// A model of the Hugging Face hub, in this machine's cache or to be [fetched](ModelSource::fetch) into
    /// it.
    Hub {
        /// `ORGANISATION/NAME`.
        name: String,
        /// Branch, tag or commit; `main` if None.
        revision: Option<String>,
    },
}

impl ModelSource {
    /// `default`, a folder, a `.gguf` file, or `ORGANISATION/NAME[@REVISION]` if there is no such folder.
    pub fn parse(name: &str) -> Self {
        let path = Path::new(name);
        if name == "default" {
            return Self::Default;
        }
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) && !path.is_dir() {
            return Self::Gguf(path.to_path_buf());
        }
        match hub_name(name) {
            Some((name, revision)) if !path.exists() => {
                Self::Hub { name: name.to_owned(), revision: revision.map(str::to_owned) }
            }
            _ => Self::Folder(path.to_path_buf()),
        }
    }

    /// Fetches a model of the hub into Hugging Face's cache if it is not whole there; of other sources
    /// nothing.
    ///
    /// # Errors
    /// As [`Hub::fetch`].
    pub fn fetch(&self, progress: &mut dyn Progress) -> Result<()> {
        match self {
            Self::Hub { name, revision } => {
                Hub::from_environment().fetch(name, revision.as_deref(), progress).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// A name that means the same model wherever and whenever it is read: whole paths, and the commit of a
    /// hub model.
    ///
    /// # Errors
    /// A path that is not there, a hub model that is not in the cache.
    pub fn lasting(&self) -> Result<String> {
        let whole = |path: &Path| {
            std::fs::canonicalize(path).map(|p| p.display().to_string()).map_err(|e| Error::io(path, e))
        };
        match self {
            Self::Default => Ok("default".to_owned()),
            Self::Folder(path) | Self::Gguf(path) => whole(path),
            Self::Hub { name, revision } => {
                let folder = snapshot(&cache(), name, revision.as_deref())?;
                let commit = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Ok(format!("{name}@{commit}"))
            }
        }
    }

    /// The model's configuration alone.
    ///
    /// # Errors
    /// As [`LanguageModel::load`](super::LanguageModel::load).
    pub fn config(&self) -> Result<Config> {
        let (text, path) = find(self)?.config()?;
        Config::parse(&text, &path)
    }

    /// The text of its `config.json`, or what a GGUF file says in those words. A folder needs no weights for
    /// that.
    ///
    /// # Errors
    /// A model that is not there, a file that is not read.
    pub fn config_text(&self) -> Result<String> {
        if let Self::Folder(folder) = self {
            let path = folder.join("config.json");
            return std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e));
        }
        Ok(find(self)?.config()?.0)
    }

    /// What people call the model.
    pub fn id(&self) -> String {
        let last = |name: Option<&std::ffi::OsStr>| {
            name.map_or_else(|| "model".into(), |n| n.to_string_lossy().into_owned())
        };
        match self {
            Self::Default => "sae-workbench/small-moe".to_owned(),
            Self::Folder(path) => last(path.file_name()),
            Self::Gguf(path) => last(path.file_stem()),
            Self::Hub { name, .. } => name.clone(),
        }
    }
}

impl std::fmt::Display for ModelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Folder(path) | Self::Gguf(path) => write!(f, "{}", path.display()),
            Self::Hub { name, revision: None } => f.write_str(name),
            Self::Hub { name, revision: Some(revision) } => write!(f, "{name}@{revision}"),
        }
    }
}

/// `ORGANISATION/NAME[@REVISION]`, if it is one.
fn hub_name(text: &str) -> Option<(&str, Option<&str>)> {
    let (name, revision) = match text.split_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (text, None),
    };
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && !part.contains("..") && part.chars().all(allowed)
    };
    let (organisation, model) = name.split_once('/')?;
    // A branch may have slashes.
    let good = plain(organisation) && plain(model) && revision.is_none_or(|r| r.split('/').all(plain));
    good.then_some((name, revision))
}

/// Finds the files.
///
/// # Errors
/// What is missing, where, and how to get it.
pub(super) fn find(source: &ModelSource) -> Result<ModelFiles> {
    match source {
        ModelSource::Default => Ok(ModelFiles::Embedded),
        ModelSource::Gguf(path) => Ok(ModelFiles::Gguf(path.clone())),
        ModelSource::Folder(folder) => in_folder(folder),
        ModelSource::Hub { name, revision } => in_folder(&snapshot(&cache(), name, revision.as_deref())?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_told_apart() {
        let hub = |name: &str, revision: Option<&str>| ModelSource::Hub {
            name: name.into(),
            revision: revision.map(Into::into),
        };
        let cases = [
            ("default", ModelSource::Default),
            ("models/a.gguf", ModelSource::Gguf("models/a.gguf".into())),
            ("EleutherAI/pythia-160m", hub("EleutherAI/pythia-160m", None)),
            ("EleutherAI/pythia-160m@step3000", hub("EleutherAI/pythia-160m", Some("step3000"))),
            ("a/b@refs/pr/1", hub("a/b", Some("refs/pr/1"))),
            ("a/b/c", ModelSource::Folder("a/b/c".into())),
            ("./a", ModelSource::Folder("./a".into())),
            ("../a", ModelSource::Folder("../a".into())),
            ("/a/b", ModelSource::Folder("/a/b".into())),
            ("a/b@../../x", ModelSource::Folder("a/b@../../x".into())),
            ("model", ModelSource::Folder("model".into())),
        ];
        for (text, expected) in cases {
            let source = ModelSource::parse(text);
            assert_eq!(source, expected, "{text}");
            assert_eq!(source.to_string(), text);
        }
        // A folder that is there wins: the tests run in the crate's folder.
        assert_eq!(ModelSource::parse("src/model"), ModelSource::Folder("src/model".into()));
    }

    #[test]
    fn a_snapshot_is_found_by_branch_and_by_commit() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("models--a--b");
        std::fs::create_dir_all(folder.join("snapshots/0123abc")).unwrap();
        std::fs::create_dir_all(folder.join("refs")).unwrap();
        std::fs::write(folder.join("refs/main"), "0123abc").unwrap();
        std::fs::write(folder.join("refs/evil"), "../../..").unwrap();
        let expected = folder.join("snapshots/0123abc");
        for revision in [None, Some("main"), Some("0123abc")] {
            assert_eq!(snapshot(cache.path(), "a/b", revision).unwrap(), expected);
        }
        for revision in ["other", "evil"] {
            let error = snapshot(cache.path(), "a/b", Some(revision)).unwrap_err().to_string();
            assert!(error.contains("hf download a/b"), "{error}");
        }
        assert!(snapshot(cache.path(), "a/c", None).is_err());
        // A cache copied without its refs: what is there alone is meant.
        std::fs::remove_dir_all(folder.join("refs")).unwrap();
        assert_eq!(snapshot(cache.path(), "a/b", None).unwrap(), expected);
        assert!(snapshot(cache.path(), "a/b", Some("other")).is_err());
        std::fs::create_dir_all(folder.join("snapshots/4567def")).unwrap();
        let error = snapshot(cache.path(), "a/b", None).unwrap_err().to_string();
        assert!(error.contains("a/b@0123abc, a/b@4567def"), "{error}");
    }
}
