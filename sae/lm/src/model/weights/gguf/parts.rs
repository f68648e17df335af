//! Models that are split into several GGUF files: `NAME-00001-of-00003.gguf` and its siblings.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What a file name says about its place among the files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::model) struct Part {
    stem: String,
    number: usize,
    count: usize,
}

impl Part {
    /// None if the name is not that of a part.
    pub fn of(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".gguf").or_else(|| name.strip_suffix(".GGUF"))?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let number_of = |text: &str| {
            let plain = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| text.parse::<usize>().ok()).flatten().filter(|n| *n > 0)
        };
        let (number, count) = (number_of(number)?, number_of(count)?);
        (number <= count).then(|| Self { stem: stem.to_owned(), number, count })
    }

    /// The file names of all parts.
    pub fn names(&self) -> Vec<String> {
        (1..=self.count).map(|number| self.name(number)).collect()
    }

    /// The file name of another part.
    pub fn name(&self, number: usize) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count)
    }
}

/// The files of the model that `path` is a part of, in order; of most models `path` alone.
///
/// # Errors
/// [`Error::Request`] naming the first part that is missing.
pub(in crate::model) fn parts(path: &Path) -> Result<Vec<PathBuf>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(part) = Part::of(&name) else {
        return match path.is_file() {
            true => Ok(vec![path.to_path_buf()]),
            false => Err(Error::request(format!("{} is not a file", path.display()))),
        };
    };
    let sibling = |number: usize| {
        let file = path.with_file_name(part.name(number));
        match file.is_file() {
            true => Ok(file),
            false => Err(Error::request(format!(
                "{} is one of the {} files of a model, and {} is not next to it",
                path.display(),
                part.count,
                part.name(number)
            ))
            .with_remedy(
                "download all of them into one folder, or join them with `llama-gguf-split --merge`",
            )),
        }
    };
    (1..=part.count).map(sibling).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        let part = Part::of("Llama-3.3-70B-Q4_K_M-00002-of-00003.gguf").unwrap();
        assert_eq!((part.number, part.count), (2, 3));
        assert_eq!(part.name(1), "Llama-3.3-70B-Q4_K_M-00001-of-00003.gguf");
        for name in
            ["m.gguf", "m-00004-of-00003.gguf", "m-00000-of-00003.gguf", "m-1-of-3.gguf", "m-00001-of-00003"]
        {
            assert_eq!(Part::of(name), None, "{name}");
        }
    }

    #[test]
    fn a_missing_part_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["m-00001-of-00003.gguf", "m-00003-of-00003.gguf", "n.gguf"] {
            std::fs::write(path(name), "").unwrap();
        }
        let error = parts(&path("m-00003-of-00003.gguf")).unwrap_err();
        assert!(error.to_string().contains("m-00002-of-00003.gguf is not next to it"), "{error}");
        assert!(error.remedy().is_some_and(|r| r.contains("llama-gguf-split")));
        std::fs::write(path("m-00002-of-00003.gguf"), "").unwrap();
        assert_eq!(parts(&path("m-00002-of-00003.gguf")).unwrap().len(), 3);
        assert_eq!(parts(&path("n.gguf")).unwrap(), [path("n.gguf")]);
        assert!(parts(&path("o.gguf")).unwrap_err().to_string().contains("is not a file"));
    }
}
