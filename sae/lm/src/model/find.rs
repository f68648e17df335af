//! Where a model's files are: in this program, in a folder, in one GGUF file, or in Hugging Face's cache.

use std::path::{Path, PathBuf};

use super::hub::{Hub, cache, snapshot};
use super::{Config, Gguf};
use crate::{Error, Progress, Result};

/// Where a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// The small mixture-of-experts model inside this program.
    Default,
    /// A Hugging Face folder: `config.json`, weights in safetensors files, a tokenizer. Or a folder with one GGUF file.
    Folder(PathBuf),
    /// A GGUF file.
    Gguf(PathBuf),
    /// A model of the Hugging Face hub, in this machine's cache or to be [fetched](ModelSource::fetch) into it.
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

    /// Fetches a model of the hub into Hugging Face's cache if it is not whole there; of other sources nothing.
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

    /// A name that means the same model wherever and whenever it is read: whole paths, and the commit of a hub model.
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

    /// The text of its `config.json`, or what a GGUF file says in those words. A folder needs no weights for that.
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

/// The files of a model.
#[derive(Debug)]
pub(super) enum Found {
    /// Inside the program.
    Embedded,
    /// A folder, and its safetensors files in order.
    Folder(PathBuf, Vec<PathBuf>),
    /// A GGUF file.
    Gguf(PathBuf),
}

impl Found {
    /// Text of the configuration and the file that errors about it name.
    pub fn config(&self) -> Result<(String, PathBuf)> {
        match self {
            Self::Embedded => {
                let path = PathBuf::from("the embedded model").join("config.json");
                Ok((String::from_utf8_lossy(crate::embedded::CONFIG).into_owned(), path))
            }
            Self::Folder(folder, _) => {
                let path = folder.join("config.json");
                let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
                let text = String::from_utf8(text).map_err(|_| Error::format(&path, "is no UTF-8 text"))?;
                Ok((text, path))
            }
            Self::Gguf(path) => Ok((Gguf::open(path)?.config()?.to_string(), path.clone())),
        }
    }
}

/// Finds the files.
///
/// # Errors
/// What is missing, where, and how to get it.
pub(super) fn find(source: &ModelSource) -> Result<Found> {
    match source {
        ModelSource::Default => Ok(Found::Embedded),
        ModelSource::Gguf(path) => Ok(Found::Gguf(path.clone())),
        ModelSource::Folder(folder) => in_folder(folder),
        ModelSource::Hub { name, revision } => in_folder(&snapshot(&cache(), name, revision.as_deref())?),
    }
}

const NEEDED: &str = "a model is a folder with config.json, model.safetensors (or model.safetensors.index.json and its files) and \
                      tokenizer.json, a .gguf file, ORGANISATION/NAME of a model on the Hugging Face hub, or `default`";

pub(super) fn in_folder(folder: &Path) -> Result<Found> {
    if !folder.is_dir() {
        return Err(Error::request(format!("{} is no folder; {NEEDED}", folder.display())));
    }
    if !folder.join("config.json").is_file() {
        return match &gguf_files(folder)?[..] {
            [one] => Ok(Found::Gguf(one.clone())),
            [] => Err(Error::request(format!("{} has no config.json; {NEEDED}", folder.display()))),
            several => Err(Error::request(format!(
                "{} has {} .gguf files and no config.json; name one of them",
                folder.display(),
                several.len()
            ))),
        };
    }
    let one = folder.join("model.safetensors");
    let files = if one.is_file() { vec![one] } else { shards(folder)? };
    Ok(Found::Folder(folder.to_path_buf(), files))
}

fn gguf_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.filter(|path| path.extension().is_some_and(|e| e == "gguf")).collect())
}

/// The files that `model.safetensors.index.json` names, in order of name.
fn shards(folder: &Path) -> Result<Vec<PathBuf>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let path = folder.join("model.safetensors.index.json");
    if !path.is_file() {
        let pickled = folder.join("pytorch_model.bin").exists();
        let remedy = if pickled {
            "pytorch_model.bin is not read: load the model with transformers and save_pretrained it as safetensors"
        } else {
            NEEDED
        };
        return Err(Error::request(format!("{} has no model.safetensors; {remedy}", folder.display())));
    }
    let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    let index: Index = serde_json::from_slice(&text)
        .map_err(|e| Error::format(&path, format!("is no index of safetensors files: {e}")))?;
    let names: std::collections::BTreeSet<&String> = index.weight_map.values().collect();
    let file = |name: &String| {
        // Only files of this folder: the index came with the model.
        if Path::new(name).components().count() != 1 || !name.ends_with(".safetensors") {
            return Err(Error::format(&path, format!("names the file `{name}`; expected NAME.safetensors")));
        }
        let file = folder.join(name);
        if !file.is_file() {
            return Err(Error::format(&path, format!("names {name}, which is not beside it")));
        }
        Ok(file)
    };
    let files: Vec<PathBuf> = names.into_iter().map(file).collect::<Result<_>>()?;
    if files.is_empty() { Err(Error::format(&path, "names no files")) } else { Ok(files) }
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
    }

    #[test]
    fn a_folder_says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let error = || in_folder(folder.path()).unwrap_err().to_string();
        assert!(error().contains("has no config.json"));
        write("m.gguf", "");
        assert!(matches!(in_folder(folder.path()).unwrap(), Found::Gguf(path) if path.ends_with("m.gguf")));
        write("n.gguf", "");
        assert!(error().contains("2 .gguf files"));
        write("config.json", "{}");
        assert!(error().contains("no model.safetensors"));
        write("pytorch_model.bin", "");
        assert!(error().contains("pytorch_model.bin is not read"));
        write(
            "model.safetensors.index.json",
            r#"{"weight_map": {"a": "1.safetensors", "b": "1.safetensors"}}"#,
        );
        assert!(error().contains("1.safetensors, which is not beside it"));
        write("1.safetensors", "");
        assert!(matches!(in_folder(folder.path()).unwrap(), Found::Folder(_, files) if files.len() == 1));
        write("model.safetensors.index.json", r#"{"weight_map": {"a": "../1.safetensors"}}"#);
        assert!(error().contains("`../1.safetensors`"));
        write("model.safetensors", "");
        assert!(matches!(in_folder(folder.path()).unwrap(), Found::Folder(_, files) if files.len() == 1));
        assert!(in_folder(Path::new("nowhere")).unwrap_err().to_string().contains("is no folder"));
    }
}
