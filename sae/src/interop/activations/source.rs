//! What an import reads from: files of one kind, one after another, as chunks of rows.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chunk::{Chunks, Facts, Names};
use super::{arrow, npy, parquet, tensors};
use crate::{Error, Result};

/// What `datasets` writes next to the folders of a data set's splits.
const SPLITS: &str = "dataset_dict.json";

/// Files of one kind.
pub(super) struct Source {
    /// The files, in the order of their rows.
    pub files: Vec<PathBuf>,
    pub facts: Facts,
    pub chunks: Chunks,
    /// Whether splits say which documents are held out.
    pub splits: bool,
}

/// Whether a split of this name is held out. What is not known by its name is trained on.
pub(super) fn is_held_out_split(split: &str) -> bool {
    lm::text::held_out(split) == Some(true)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Npy,
    Safetensors,
    Arrow,
    Parquet,
}

/// A file that is read.
struct Input {
    kind: Kind,
    path: PathBuf,
    split: Option<String>,
}

/// Opens files and folders.
///
/// # Errors
/// Files that are not there, of several kinds or of none that is read; what the reader of that kind finds at
/// their beginnings.
pub(super) fn open(inputs: &[PathBuf], names: &Names) -> Result<Source> {
    let (kind, inputs) = find(inputs)?;
    let files: Vec<PathBuf> = inputs.iter().map(|input| input.path.clone()).collect();
    let (mut facts, chunks) = match kind {
        Kind::Npy => npy::open(&files, names)?,
        Kind::Safetensors => tensors::open(&files, names)?,
        Kind::Arrow => arrow::open(&files, names)?,
        Kind::Parquet => parquet::open(&files, names)?,
    };
    let held_out = |input: &Input| input.split.as_deref().is_some_and(is_held_out_split);
    // Somebody who imports a test split alone wants to train on it.
    let splits = inputs.iter().any(held_out) && !inputs.iter().all(held_out);
    if !splits {
        return Ok(Source { files, facts, chunks, splits });
    }
    let mut names: Vec<&str> =
        inputs.iter().filter(|i| held_out(i)).filter_map(|i| i.split.as_deref()).collect();
    names.dedup();
    facts.notes.push(format!("held out are the splits {}, and nothing else", names.join(", ")));
    let split = |input: &Input| Some((input.path.clone(), Arc::from(input.split.as_deref()?)));
    let of: HashMap<PathBuf, Arc<str>> = inputs.iter().filter_map(split).collect();
    let chunks = chunks.map(move |chunk| {
        chunk.map(|mut chunk| {
            chunk.split = of.get(&chunk.file).cloned();
            chunk
        })
    });
    Ok(Source { files, facts, chunks: Box::new(chunks), splits })
}

const KINDS: &str = ".npy, .safetensors, .parquet, .arrow, .feather, or a folder of Hugging Face datasets \
                     (state.json and data-*.arrow)";

fn find(inputs: &[PathBuf]) -> Result<(Kind, Vec<Input>)> {
    let mut found: Vec<Input> = Vec::new();
    for input in inputs {
        if input.is_dir() {
            in_folder(input, None, &mut found)?;
        } else if !input.exists() {
            return Err(Error::request(format!("{} does not exist", input.display()))
                .with_remedy(format!("name {KINDS}")));
        } else {
            found.push(Input { kind: kind_of(input)?, path: input.clone(), split: split_of(input) });
        }
    }
    let Some(first) = found.first() else {
        let names: Vec<_> = inputs.iter().map(|p| p.display().to_string()).collect();
        return Err(Error::request(format!("no activations in {}; expected {KINDS}", names.join(", "))));
    };
    let kind = first.kind;
    if let Some(other) = found.iter().find(|other| other.kind != kind) {
        let (a, b) = (first.path.display(), other.path.display());
        return Err(Error::request(format!("{a} and {b} are of different kinds"))
            .with_remedy("import them one by one"));
    }
    Ok((kind, found))
}

fn kind_of(path: &Path) -> Result<Kind> {
    let extension = path.extension().map_or_else(String::new, |e| e.to_string_lossy().to_lowercase());
    let remedy = match extension.as_str() {
        "npy" => return Ok(Kind::Npy),
        "safetensors" => return Ok(Kind::Safetensors),
        "arrow" | "arrows" | "feather" | "ipc" => return Ok(Kind::Arrow),
        "parquet" => return Ok(Kind::Parquet),
        "npz" => "save the array alone: numpy.save(\"x.npy\", file[\"NAME\"])",
        "pt" | "pth" | "bin" | "pkl" => {
            "pickled Python objects are not read; write the tensor with \
             safetensors.torch.save_file({\"activations\": x}, \"x.safetensors\")"
        }
        _ => "convert it to one of them",
    };
    Err(Error::format(path, format!("is not one of {KINDS}")).with_remedy(remedy))
}

/// The split that a file's name tells, written as the Hub's converter does: `test-00000-of-00002.parquet`.
fn split_of(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (split, number) = rest.rsplit_once('-')?;
    let number = [number, count].iter().all(|n| n.len() == 5 && n.bytes().all(|b| b.is_ascii_digit()));
    (number && lm::text::held_out(split).is_some()).then(|| split.to_owned())
}

/// The names of the splits of a `DatasetDict`, in the order it gives them.
fn splits_of(folder: &Path) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Splits {
        splits: Vec<String>,
    }
    let path = folder.join(SPLITS);
    let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    let Splits { splits } = serde_json::from_slice(&text)
        .map_err(|e| Error::format(&path, format!("does not name the splits of a data set: {e}")))?;
    for split in &splits {
        let plain = Path::new(split).file_name() == Some(split.as_ref());
        if !plain || !folder.join(split).is_dir() {
            let problem = format!("names the split `{split}`, which is not a folder next to it");
            return Err(Error::format(&path, problem));
        }
    }
    Ok(splits)
}

/// Files of a folder in order of name; of a data set those that its state names, split after split, shard
/// after shard.
fn in_folder(folder: &Path, split: Option<&str>, found: &mut Vec<Input>) -> Result<()> {
    if folder.join(SPLITS).is_file() {
        let splits = splits_of(folder)?;
        return splits.iter().try_for_each(|split| in_folder(&folder.join(split), Some(split), found));
    }
    let split = split.map(str::to_owned);
    if folder.join(arrow::STATE).is_file() {
        let files = arrow::files_of(folder)?.into_iter();
        found.extend(files.map(|path| Input { kind: Kind::Arrow, path, split: split.clone() }));
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let paths: Vec<PathBuf> =
        entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>().map_err(|e| Error::io(folder, e))?;
    let (mut shards, mut files): (Vec<PathBuf>, Vec<PathBuf>) = paths.into_iter().partition(|p| p.is_dir());
    // What begins with a dot is not data: other systems keep attributes of `x.npy` in `._x.npy`.
    files.retain(|file| !file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    files.sort();
    for path in files {
        if let Ok(kind) = kind_of(&path) {
            let split = split.clone().or_else(|| split_of(&path));
            found.push(Input { kind, path, split });
        }
    }
    // `shard_10` comes after `shard_9`.
    shards.retain(|shard| shard.join(arrow::STATE).is_file());
    shards.sort_by_key(|shard| (number_at_end(shard), shard.clone()));
    shards.iter().try_for_each(|shard| in_folder(shard, split.as_deref(), found))
}

fn number_at_end(path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let digits = name.chars().rev().take_while(char::is_ascii_digit).collect::<Vec<_>>();
    digits.iter().rev().collect::<String>().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_of_the_hub_tell_their_split() {
        let split = |name: &str| split_of(Path::new(name));
        assert_eq!(split("a/test-00000-of-00002.parquet").as_deref(), Some("test"));
        assert_eq!(split("train-00001-of-00002.parquet").as_deref(), Some("train"));
        for name in
            ["data-00000-of-00001.arrow", "test.parquet", "test-0-of-1.parquet", "latest-00000-of-00001.npy"]
        {
            assert_eq!(split(name), None, "{name}");
        }
    }
}
