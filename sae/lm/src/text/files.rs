//! The files of a text: folders searched through, each file once, its format told by its ending.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::split;
use crate::{Error, Result};

/// How a file holds documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A text of its own: `.txt`, `.md`.
    Plain,
    /// An object per line.
    JsonLines,
    /// One JSON text, or objects after each other.
    Json,
    /// A table with this separator and a line of names.
    Csv(u8),
    /// A Parquet file.
    Parquet,
    /// An Arrow stream or file.
    Arrow,
}

/// How a file is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not at all.
    None,
    /// `.gz`.
    Gzip,
    /// `.zst`.
    Zstd,
}

/// What the program reads, for messages.
pub(super) const ENDINGS: &str =
    ".txt, .md, .jsonl, .ndjson, .json, .csv, .tsv, .parquet or .arrow, also with .gz or .zst after it";

/// One file of text.
#[derive(Debug, Clone)]
pub(super) struct TextFile {
    pub path: PathBuf,
    pub format: Format,
    pub compression: Compression,
    /// What the names of its folders and its own say about its split.
    pub held_out: Option<bool>,
    /// It was named, not met in a folder: then it must hold text.
    pub named: bool,
}

/// The files of some paths, and what was met besides.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub files: Vec<TextFile>,
    /// Files that are not text that this program reads, with what they are.
    pub passed_over: Vec<String>,
    seen: HashSet<PathBuf>,
}

/// Files that describe a dataset of Hugging Face and hold none of its text.
const DESCRIPTIONS: [&str; 4] =
    ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];

/// The format and compression that a name says.
fn format_of(path: &Path) -> Option<(Format, Compression)> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let (name, compression) = match name.rsplit_once('.')? {
        (inner, "gz") => (inner.to_owned(), Compression::Gzip),
        (inner, "zst" | "zstd") => (inner.to_owned(), Compression::Zstd),
        _ => (name, Compression::None),
    };
    let format = match name.rsplit_once('.')?.1 {
        "txt" | "text" | "md" | "markdown" => Format::Plain,
        "jsonl" | "ndjson" | "jl" => Format::JsonLines,
        "json" => Format::Json,
        "csv" => Format::Csv(b','),
        "tsv" => Format::Csv(b'\t'),
        "parquet" => Format::Parquet,
        "arrow" | "feather" => Format::Arrow,
        _ => return None,
    };
    // These two compress themselves and are read from any place in them.
    let whole = matches!(format, Format::Parquet | Format::Arrow) && compression != Compression::None;
    (!whole).then_some((format, compression))
}

/// The compression that a name says.
pub(super) fn compression(path: &Path) -> Compression {
    match path.extension().and_then(|end| end.to_str()) {
        Some("gz") => Compression::Gzip,
        Some("zst" | "zstd") => Compression::Zstd,
        _ => Compression::None,
    }
}

/// What comes after the first point of a name: `jsonl.gz`.
pub(super) fn ending(path: &Path) -> String {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().to_lowercase());
    let packed =
        [".gz", ".zst", ".zstd"].iter().find_map(|end| name.strip_suffix(end).map(|inner| (inner, *end)));
    let (inner, end) = packed.unwrap_or((&name, ""));
    inner.rsplit_once('.').map_or_else(|| end.to_owned(), |(_, last)| format!(".{last}{end}"))
}

/// Finds the files of `paths`.
///
/// # Errors
/// [`Error::Request`] for a path that is not there, a file of a format that is not read, and no file at all.
pub(super) fn find(paths: &[PathBuf]) -> Result<Found> {
    let mut found = Found::default();
    for path in paths {
        if path.is_dir() {
            found.folder(path, None)?;
        } else if path.as_os_str() == "-" && !path.exists() {
            return Err(Error::request("text is not read from standard input".to_owned()).with_remedy(
                "write it to a file whose name ends as its format does, or give a named pipe that is called so \
                 (mkfifo text.jsonl)",
            ));
        } else if !path.exists() {
            return Err(Error::request(format!("{} does not exist", path.display()))
                .with_remedy("name a text file or a folder"));
        } else {
            let (format, compression) = format_of(path).ok_or_else(|| {
                let what = match ending(path) {
                    none if none.is_empty() => format!("has a name without an ending; expected {ENDINGS}"),
                    other => format!("has the ending `{other}`; expected {ENDINGS}"),
                };
                Error::format(path, what)
            })?;
            let held_out = split::of_file(path);
            found.add(TextFile { path: path.clone(), format, compression, held_out, named: true });
        }
    }
    if found.files.is_empty() {
        let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
        let others = found.passed_over_note().map_or_else(String::new, |note| format!(" ({note})"));
        return Err(Error::request(format!("no file of text in {}{others}", names.join(", ")))
            .with_remedy(format!("text is read from {ENDINGS}")));
    }
    // Names decide only where they tell files apart: somebody who gives test.txt alone wants to use it.
    if found.files.iter().all(|f| f.held_out == Some(true)) {
        found.files.iter_mut().for_each(|f| f.held_out = None);
    }
    Ok(found)
}

impl Found {
    fn add(&mut self, file: TextFile) {
        let same = std::fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone());
        if self.seen.insert(same) {
            self.files.push(file);
        } else {
            self.pass_over(&file.path, "is there already");
        }
    }

    fn pass_over(&mut self, path: &Path, why: &str) {
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        self.passed_over.push(format!("{name} ({why})"));
    }

    /// One line about what was passed over, if anything was.
    pub fn passed_over_note(&self) -> Option<String> {
        const SHOWN: usize = 5;
        let n = self.passed_over.len();
        let shown = self.passed_over.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = if n > SHOWN { ", …" } else { "" };
        let files = if n == 1 { "file was" } else { "files were" };
        (n > 0).then(|| format!("{n} {files} passed over: {shown}{more}"))
    }

    /// One line about what is read, by ending.
    pub fn read_note(&self) -> String {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for file in &self.files {
            *counts.entry(ending(&file.path)).or_default() += 1;
        }
        let parts: Vec<String> = counts.iter().map(|(ending, n)| format!("{n} {ending}")).collect();
        let n = self.files.len();
        format!("{n} {} of text: {}", if n == 1 { "file" } else { "files" }, parts.join(", "))
    }

    /// Everything in `folder`, in order of name. `split` is what the folders above say.
    fn folder(&mut self, folder: &Path, split: Option<bool>) -> Result<()> {
        // A link may lead back to a folder that is being searched.
        let same = std::fs::canonicalize(folder).map_err(|e| Error::io(folder, e))?;
        if !self.seen.insert(same) {
            return Ok(());
        }
        let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect())
            .map_err(|e| Error::io(folder, e))?;
        entries.sort();
        let saved = saved_files(folder);
        for path in entries {
            let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            // What systems and tools hide is not what a person means by text.
            if name.starts_with('.') || name == "__MACOSX" || DESCRIPTIONS.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                self.folder(&path, split::held_out(&name).or(split))?;
            } else if !path.exists() {
                self.pass_over(&path, "a link to nothing");
            } else if saved.as_ref().is_some_and(|saved| !saved.contains(&name)) {
                self.pass_over(&path, "not among the data files of state.json");
            } else if is_card(&path, &name) {
                self.pass_over(&path, "a dataset's card");
            } else if let Some((format, compression)) = format_of(&path) {
                let held_out = split::of_file(&path).or(split);
                self.add(TextFile { path, format, compression, held_out, named: false });
            } else {
                self.pass_over(&path, "not a format of text");
            }
        }
        Ok(())
    }
}

/// The data files of a folder that `datasets.save_to_disk` wrote; others in it are caches.
fn saved_files(folder: &Path) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct State {
        #[serde(rename = "_data_files")]
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        filename: String,
    }
    let bytes = std::fs::read(folder.join("state.json")).ok()?;
    let state: State = serde_json::from_slice(&bytes).ok()?;
    Some(state.files.into_iter().map(|f| f.filename).collect())
}

/// A README that begins as the hub's dataset cards do.
fn is_card(path: &Path, name: &str) -> bool {
    let mut begin = [0; 4];
    name == "README.md"
        && std::fs::File::open(path).and_then(|mut f| std::io::Read::read_exact(&mut f, &mut begin)).is_ok()
        && begin.starts_with(b"---")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &Found) -> Vec<String> {
        found.files.iter().map(|f| f.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        dir
    }

    #[test]
    fn hidden_files_are_left_alone_and_others_are_listed() {
        let dir =
            folder(&["b.txt", "._b.txt", ".cache/c.txt", "a/x.jsonl.gz", "p.pdf", "z.parquet.gz", "README"]);
        let found = find(&[dir.path().to_owned()]).unwrap();
        assert_eq!(names(&found), ["x.jsonl.gz", "b.txt"]);
        let note = found.passed_over_note().unwrap();
        assert!(note.starts_with("3 files") && note.contains("p.pdf"), "{note}");
        assert_eq!(found.read_note(), "2 files of text: 1 .jsonl.gz, 1 .txt");
        let other = folder(&["only.docx"]);
        let error = find(&[other.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("only.docx") && error.contains(".jsonl"), "{error}");
        assert!(find(&[other.path().join("only.docx")]).unwrap_err().to_string().contains("`.docx`"));
        assert!(find(&[other.path().join("nowhere")]).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_met_twice_is_read_once_and_links_lead_in_no_circle() {
        let dir = folder(&["a.txt", "sub/b.txt"]);
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
        link("a.txt", "z.txt");
        link("..", "sub/up");
        link("nothing", "gone.txt");
        let found = find(&[dir.path().to_owned(), dir.path().join("a.txt")]).unwrap();
        assert_eq!(names(&found), ["a.txt", "b.txt"]);
        assert_eq!(found.passed_over.len(), 3, "{:?}", found.passed_over);
    }

    #[test]
    fn names_of_folders_and_files_say_which_split() {
        let dir = folder(&[
            "data/train-00000-of-00001.parquet",
            "data/test-00000-of-00001.parquet",
            "dev/x.jsonl",
            "y.jsonl",
        ]);
        let found = find(&[dir.path().to_owned()]).unwrap();
        let splits: Vec<_> = found.files.iter().map(|f| f.held_out).collect();
        assert_eq!(splits, [Some(true), Some(false), Some(true), None]);
        let alone = folder(&["test.txt"]);
        assert_eq!(find(&[alone.path().join("test.txt")]).unwrap().files[0].held_out, None);
    }

    #[test]
    fn a_saved_dataset_is_its_data_files_alone() {
        let dir = folder(&[
            "train/data-00000-of-00001.arrow",
            "train/cache-1.arrow",
            "test/data-00000-of-00001.arrow",
        ]);
        for split in ["train", "test"] {
            let state = r#"{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}"#;
            std::fs::write(dir.path().join(split).join("state.json"), state).unwrap();
            std::fs::write(dir.path().join(split).join("dataset_info.json"), "{}").unwrap();
        }
        std::fs::write(dir.path().join("dataset_dict.json"), "{}").unwrap();
        std::fs::write(dir.path().join("README.md"), "---\nlicense: mit\n---\n").unwrap();
        let found = find(&[dir.path().to_owned()]).unwrap();
        let splits: Vec<_> = found.files.iter().map(|f| f.held_out).collect();
        assert_eq!(splits, [Some(true), Some(false)]);
        assert_eq!(found.passed_over.len(), 2);
    }
}
