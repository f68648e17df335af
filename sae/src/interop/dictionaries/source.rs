//! Where a dictionary is.

use std::path::{Path, PathBuf};

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
    /// A path if there is such a file or folder or if it cannot be a name of the hub, else a name of the hub.
    pub fn parse(text: &str) -> Self {
        let path = Path::new(text);
        let local = ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start));
        if local || path.exists() {
            return Self::Path(path.to_path_buf());
        }
        hub(text).unwrap_or_else(|| Self::Path(path.to_path_buf()))
    }

    /// The folder or file on this machine, fetched into Hugging Face's cache if it is not there.
    ///
    /// # Errors
    /// A path that is not there; a repository, revision or path inside that does not exist; no network.
    pub fn fetch(&self, progress: &mut dyn Progress) -> Result<PathBuf> {
        match self {
            Self::Path(path) if path.exists() => Ok(path.clone()),
            Self::Path(path) => Err(Error::io(path, std::io::ErrorKind::NotFound.into())),
            Self::Hub { name, revision, inside } => {
                let hub = Hub::from_environment();
                let folder = hub.fetch(name, revision.as_deref(), progress)?;
                Ok(folder.join(inside))
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
    let good =
        plain(owner) && plain(name) && revision.is_none_or(plain) && inside.iter().all(|part| plain(part));
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
}
