//! The files of a model in a folder: which of them make the model, and what is missing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Gguf;
use super::weights::gguf;
use crate::{Error, Result};

/// The files of a model.
#[derive(Debug)]
pub(super) enum ModelFiles {
    /// Inside the program.
    Embedded,
    /// A folder, and its safetensors files in order.
    Folder(PathBuf, Vec<PathBuf>),
    /// A GGUF file, or the first of several.
    Gguf(PathBuf),
}

/// What a model consists of, for errors about a model that is not there.
pub(super) const NEEDED: &str = "a model is a folder with config.json, model.safetensors (or \
                                 model.safetensors.index.json and its files) and tokenizer.json, a .gguf file, \
                                 ORGANISATION/NAME of a model on the Hugging Face hub, or `default`";

impl ModelFiles {
    /// Text of the configuration and the file that errors about it name.
    ///
    /// # Errors
    /// A file that cannot be read or is not UTF-8, a GGUF file that is not read (see [`Gguf::open`]).
    pub fn config(&self) -> Result<(String, PathBuf)> {
        match self {
            Self::Embedded => {
                let path = PathBuf::from("the embedded model").join("config.json");
                Ok((String::from_utf8_lossy(crate::embedded::CONFIG).into_owned(), path))
            }
            Self::Folder(folder, _) => {
                let path = folder.join("config.json");
                let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
                let text = String::from_utf8(text).map_err(|_| Error::format(&path, "is not UTF-8 text"))?;
                Ok((text, path))
            }
            Self::Gguf(path) => Ok((Gguf::open(path)?.config()?.to_string(), path.clone())),
        }
    }
}

/// The model in a folder: safetensors files with a `config.json`, or GGUF.
///
/// # Errors
/// What is missing, and how to get it.
pub(super) fn in_folder(folder: &Path) -> Result<ModelFiles> {
    if !folder.is_dir() {
        return Err(Error::request(format!("{} is not a folder", folder.display())).with_remedy(NEEDED));
    }
    if folder.join("config.json").is_file() {
        return match safetensors(folder)? {
            Some(files) => Ok(ModelFiles::Folder(folder.to_path_buf(), files)),
            // Repositories of GGUF files often keep the original's config.json next to them.
            None => gguf_model(folder)?.ok_or_else(|| no_weights(folder)),
        };
    }
    gguf_model(folder)?
        .ok_or_else(|| Error::request(format!("{} has no config.json", folder.display())).with_remedy(NEEDED))
}

/// The GGUF model of a folder, None if there is no GGUF file.
fn gguf_model(folder: &Path) -> Result<Option<ModelFiles>> {
    let models = gguf_models(file_names(folder)?.iter().map(String::as_str));
    match &models[..] {
        [] => Ok(None),
        [one] => Ok(Some(ModelFiles::Gguf(folder.join(one)))),
        several => Err(Error::request(format!("{} has {} GGUF models", folder.display(), several.len()))
            .with_remedy(format!("name one of them: {}", several.join(", ")))),
    }
}

/// The models among file names: GGUF files, of several parts the first. Files that only go with a model (the
/// part that sees pictures, importance matrices) are left out.
pub(super) fn gguf_models<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let alone = |name: &&str| {
        let lower = name.to_lowercase();
        lower.ends_with(".gguf") && !lower.contains("mmproj") && !lower.contains("imatrix")
    };
    let first = |name: &'a str| gguf::Part::of(name).map_or_else(|| name.to_owned(), |part| part.name(1));
    names.filter(alone).map(first).collect::<BTreeSet<_>>().into_iter().collect()
}

fn file_names(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        if entry.path().is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// The safetensors files that make the model: `model.safetensors`, those that the index names, or, where
/// neither is there, the only file or complete set of numbered files.
fn safetensors(folder: &Path) -> Result<Option<Vec<PathBuf>>> {
    let one = folder.join("model.safetensors");
    if one.is_file() {
        return Ok(Some(vec![one]));
    }
    let index = folder.join("model.safetensors.index.json");
    if index.is_file() {
        return indexed(folder, &index).map(Some);
    }
    let mut names = weight_names(&file_names(folder)?);
    names.sort();
    let Some(first) = names.first() else { return Ok(None) };
    let Some((stem, count)) = shard(first).map(|(stem, _, count)| (stem.to_owned(), count)) else {
        return match &names[..] {
            [one] => Ok(Some(vec![folder.join(one)])),
            several => Err(Error::request(format!(
                "{} has several safetensors files and no model.safetensors.index.json: {}",
                folder.display(),
                several.join(", ")
            ))
            .with_remedy("add the index of the model's repository, or leave only the model's file there")),
        };
    };
    let expected = shard_names(&stem, count);
    if names != expected {
        let missing = expected.iter().find(|name| !names.contains(name));
        let problem = match missing {
            Some(name) => format!("{} lacks {name}", folder.display()),
            None => format!("{} has other safetensors files next to the {count} of {stem}", folder.display()),
        };
        return Err(Error::request(problem)
            .with_remedy("download every file of the model, and its model.safetensors.index.json"));
    }
    Ok(Some(names.iter().map(|name| folder.join(name)).collect()))
}

/// Names that can be the model's own: adapters and Mistral's `consolidated` copy are not.
fn weight_names(names: &[String]) -> Vec<String> {
    let own = |name: &&String| {
        name.ends_with(".safetensors") && !name.starts_with("adapter_") && !name.starts_with("consolidated")
    };
    names.iter().filter(own).cloned().collect()
}

/// The numbered files of a model in order, if they are all there and nothing else could be the model.
pub(super) fn complete_shards(names: &[String]) -> Option<Vec<String>> {
    let mut names = weight_names(names);
    names.sort();
    let (stem, _, count) = shard(names.first()?)?;
    (names == shard_names(stem, count)).then_some(names)
}

fn shard_names(stem: &str, count: usize) -> Vec<String> {
    (1..=count).map(|i| format!("{stem}-{i:05}-of-{count:05}.safetensors")).collect()
}

/// `STEM-00002-of-00005.safetensors` → stem, 2, 5.
fn shard(name: &str) -> Option<(&str, usize, usize)> {
    let (rest, count) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    (digits(number) && digits(count)).then(|| Some((stem, number.parse().ok()?, count.parse().ok()?)))?
}

fn no_weights(folder: &Path) -> Error {
    let has = |name: &str| folder.join(name).exists();
    let problem = format!("{} has no model.safetensors", folder.display());
    let (problem, remedy) = if has("adapter_model.safetensors") {
        let merge = "merge the adapter into its base model with peft (merge_and_unload) and save_pretrained the result";
        (format!("{problem}, only adapter_model.safetensors, which is a LoRA adapter"), merge)
    } else if has("pytorch_model.bin") || has("pytorch_model.bin.index.json") {
        let convert =
            "pytorch_model.bin is not read: load the model with transformers and save_pretrained it";
        (problem, convert)
    } else if has("consolidated.safetensors") || has("consolidated.00.pth") {
        let other =
            "take the files in Hugging Face's format: the consolidated ones have other names for tensors";
        (format!("{problem}, only the consolidated weights"), other)
    } else {
        (problem, NEEDED)
    };
    Error::request(problem).with_remedy(remedy)
}

/// The files that `model.safetensors.index.json` names, in order of name.
fn indexed(folder: &Path, path: &Path) -> Result<Vec<PathBuf>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let index: Index = serde_json::from_slice(&text)
        .map_err(|e| Error::format(path, format!("is not an index of safetensors files: {e}")))?;
    let names: BTreeSet<&String> = index.weight_map.values().collect();
    let file = |name: &String| {
        // Only files of this folder: the index came with the model.
        if Path::new(name).components().count() != 1 || !name.ends_with(".safetensors") {
            return Err(Error::format(path, format!("names the file `{name}`; expected NAME.safetensors")));
        }
        let file = folder.join(name);
        if !file.is_file() {
            return Err(Error::format(path, format!("names {name}, which is not next to it"))
                .with_remedy("download every file of the model"));
        }
        Ok(file)
    };
    let files: Vec<PathBuf> = names.into_iter().map(file).collect::<Result<_>>()?;
    if files.is_empty() { Err(Error::format(path, "names no files")) } else { Ok(files) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn with(names: &[&str]) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            names.iter().for_each(|name| folder.write(name, ""));
            folder
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        fn error(&self) -> String {
            in_folder(self.0.path()).unwrap_err().to_string()
        }

        /// Names of the weight files.
        fn found(&self) -> Vec<String> {
            let files = match in_folder(self.0.path()).unwrap() {
                ModelFiles::Folder(_, files) => files,
                ModelFiles::Gguf(file) => vec![file],
                ModelFiles::Embedded => panic!("embedded"),
            };
            files.iter().map(|f| f.file_name().unwrap().to_string_lossy().into_owned()).collect()
        }
    }

    #[test]
    fn a_folder_says_what_is_missing() {
        let folder = Folder::with(&[]);
        assert!(folder.error().contains("has no config.json"));
        folder.write("config.json", "{}");
        assert!(folder.error().contains("no model.safetensors"));
        folder.write("pytorch_model.bin", "");
        assert!(folder.error().contains("pytorch_model.bin is not read"));
        folder.write("adapter_model.safetensors", "");
        assert!(folder.error().contains("LoRA"));
        let index = r#"{"weight_map": {"a": "1.safetensors", "b": "1.safetensors"}}"#;
        folder.write("model.safetensors.index.json", index);
        assert!(folder.error().contains("1.safetensors, which is not next to it"));
        folder.write("1.safetensors", "");
        assert_eq!(folder.found(), ["1.safetensors"]);
        folder.write("model.safetensors.index.json", r#"{"weight_map": {"a": "../1.safetensors"}}"#);
        assert!(folder.error().contains("`../1.safetensors`"));
        folder.write("model.safetensors", "");
        assert_eq!(folder.found(), ["model.safetensors"]);
        assert!(in_folder(Path::new("nowhere")).unwrap_err().to_string().contains("is not a folder"));
    }

    #[test]
    fn weights_without_an_index_are_a_whole_set_or_one_file() {
        let two = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let folder = Folder::with(&["config.json", "consolidated.safetensors", two[1]]);
        assert!(folder.error().contains(two[0]), "{}", folder.error());
        folder.write(two[0], "");
        assert_eq!(folder.found(), two);
        folder.write("other.safetensors", "");
        assert!(folder.error().contains("next to"), "{}", folder.error());
        assert_eq!(Folder::with(&["config.json", "weights.safetensors"]).found(), ["weights.safetensors"]);
        let one = "model-00001-of-00001.safetensors";
        assert_eq!(Folder::with(&["config.json", one]).found(), [one]);
        let several = Folder::with(&["config.json", "a.safetensors", "b.safetensors"]);
        assert!(several.error().contains("a.safetensors, b.safetensors"));
    }

    #[test]
    fn gguf_models_are_counted_not_files() {
        let folder = Folder::with(&["m-00002-of-00002.gguf", "m-00001-of-00002.gguf", "mmproj-F16.gguf"]);
        assert_eq!(folder.found(), ["m-00001-of-00002.gguf"]);
        folder.write("config.json", "{}");
        assert_eq!(folder.found(), ["m-00001-of-00002.gguf"]);
        folder.write("n.gguf", "");
        assert!(folder.error().contains("2 GGUF models") && folder.error().contains("n.gguf"));
    }
}
