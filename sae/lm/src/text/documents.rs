//! Documents from `.txt`, `.jsonl` and `.parquet` files and folders of them, one at a time.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use arrow::array::{Array as _, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use crate::{Error, Result};

/// A piece of text and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Title, or the file's name.
    pub name: String,
    /// Where it is from: the field `source`, or the file's name.
    pub source: String,
    /// Domain, or the file's stem where the text does not say.
    pub domain: String,
    /// Whether it is marked as held out (`"split": "heldout"`); None where the text does not say.
    pub held_out: Option<bool>,
    /// The text itself, never empty.
    pub text: String,
}

/// Splits that mean "not for training".
const HELD_OUT: [&str; 5] = ["heldout", "held-out", "held_out", "test", "validation"];

#[derive(Deserialize)]
struct Line {
    text: String,
    #[serde(alias = "name")]
    title: Option<String>,
    source: Option<String>,
    domain: Option<String>,
    split: Option<String>,
}

impl Line {
    fn document(self, path: &Path) -> Document {
        let or_name = |value: Option<String>| value.unwrap_or_else(|| file_name(path));
        Document {
            name: or_name(self.title),
            source: or_name(self.source),
            domain: self.domain.unwrap_or_else(|| stem(path)),
            held_out: self.split.map(|s| HELD_OUT.contains(&s.to_lowercase().as_str())),
            text: self.text,
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

/// The files of `paths` that hold text, folders searched through, in order of name.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            collect(path, &mut found)?;
        } else if !path.exists() {
            return Err(Error::request(format!(
                "{} does not exist; expected a text file or a folder",
                path.display()
            )));
        } else {
            found.push(path.clone());
        }
    }
    if found.is_empty() {
        let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
        return Err(Error::request(format!("no .txt, .jsonl or .parquet file in {}", names.join(", "))));
    }
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut entries: Vec<PathBuf> =
        entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>().map_err(|e| Error::io(folder, e))?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, found)?;
        } else if matches!(extension(&path).as_str(), "txt" | "jsonl" | "parquet") {
            found.push(path);
        }
    }
    Ok(())
}

fn extension(path: &Path) -> String {
    path.extension().map_or_else(String::new, |e| e.to_string_lossy().to_lowercase())
}

/// All documents of some files and folders, read as they are asked for. Empty documents are left out.
pub struct Documents {
    files: std::vec::IntoIter<PathBuf>,
    current: Option<Box<dyn Iterator<Item = Result<Document>> + Send>>,
}

/// Opens files and folders; see [`Documents`].
pub fn open(paths: &[PathBuf]) -> Result<Documents> {
    Ok(Documents { files: files(paths)?.into_iter(), current: None })
}

impl Iterator for Documents {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(current) = &mut self.current {
                match current.next() {
                    Some(Ok(document)) if document.text.is_empty() => continue,
                    Some(item) => return Some(item),
                    None => self.current = None,
                }
            }
            match read(&self.files.next()?) {
                Ok(documents) => self.current = Some(documents),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn read(path: &Path) -> Result<Box<dyn Iterator<Item = Result<Document>> + Send>> {
    match extension(path).as_str() {
        "jsonl" => lines(path),
        "parquet" => table(path),
        "txt" => {
            let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
            let text = String::from_utf8(bytes).map_err(|e| {
                let at = e.utf8_error().valid_up_to();
                Error::format(path, format!("is no UTF-8 text: the byte at offset {at} begins no character"))
            })?;
            let line = Line { text, title: None, source: None, domain: None, split: None };
            Ok(Box::new(std::iter::once(Ok(line.document(path)))))
        }
        other => {
            Err(Error::format(path, format!("has the ending `{other}`; expected .txt, .jsonl or .parquet")))
        }
    }
}

fn lines(path: &Path) -> Result<Box<dyn Iterator<Item = Result<Document>> + Send>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let path = path.to_path_buf();
    let documents = BufReader::new(file).lines().enumerate().filter_map(move |(i, line)| {
        let line = match line {
            Ok(line) if line.trim().is_empty() => return None,
            Ok(line) => line,
            Err(error) => return Some(Err(Error::io(&path, error))),
        };
        let parsed = serde_json::from_str::<Line>(&line);
        Some(parsed.map(|l| l.document(&path)).map_err(|e| {
            Error::format(&path, format!("line {}: {e}; expected an object with a field `text`", i + 1))
        }))
    });
    Ok(Box::new(documents))
}

fn table(path: &Path) -> Result<Box<dyn Iterator<Item = Result<Document>> + Send>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let damaged =
        |e: &dyn std::fmt::Display| Error::format(path, format!("is no readable Parquet file: {e}"));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(&e))?;
    let reader = builder.with_batch_size(64).build().map_err(|e| damaged(&e))?;
    let path = path.to_path_buf();
    let documents = reader.flat_map(move |batch| match batch {
        Ok(batch) => rows(&batch, &path),
        Err(e) => vec![Err(Error::format(&path, format!("is damaged: {e}")))],
    });
    Ok(Box::new(documents))
}

fn rows(batch: &RecordBatch, path: &Path) -> Vec<Result<Document>> {
    let column = |name: &str| -> Option<ArrayRef> {
        let column = batch.column_by_name(name)?;
        arrow::compute::cast(column, &DataType::Utf8).ok()
    };
    let [text, title, source, domain, split] = ["text", "title", "source", "domain", "split"].map(column);
    let Some(text) = text else {
        let names: Vec<_> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
        let problem = format!("has no text column `text`; its columns are {}", names.join(", "));
        return vec![Err(Error::format(path, problem))];
    };
    let value = |column: &Option<ArrayRef>, row: usize| {
        let strings = column.as_ref()?.as_any().downcast_ref::<StringArray>()?;
        strings.is_valid(row).then(|| strings.value(row).to_owned())
    };
    let text = Some(text);
    (0..batch.num_rows())
        .map(|row| {
            let line = Line {
                text: value(&text, row).unwrap_or_default(),
                title: value(&title, row),
                source: value(&source, row),
                domain: value(&domain, row),
                split: value(&split, row),
            };
            Ok(line.document(path))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn all(paths: &[PathBuf]) -> Vec<Result<Document>> {
        open(paths).unwrap().collect()
    }

    #[test]
    fn a_folder_of_every_kind_is_read_in_order_of_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b.txt"), "plain").unwrap();
        std::fs::write(dir.path().join("ignored.md"), "no").unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let lines = "{\"text\":\"one\",\"domain\":\"law\",\"split\":\"heldout\"}\n\n{\"text\":\"\"}\n{\"text\":\"two\",\"split\":\"train\",\"title\":\"T\"}\n";
        std::fs::write(dir.path().join("a/x.jsonl"), lines).unwrap();
        let column = Arc::new(StringArray::from(vec![Some("three"), None])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
        let file = File::create(dir.path().join("c.parquet")).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();

        let documents: Vec<_> = all(&[dir.path().to_path_buf()]).into_iter().map(Result::unwrap).collect();
        let facts: Vec<_> =
            documents.iter().map(|d| (d.text.as_str(), d.domain.as_str(), d.held_out)).collect();
        assert_eq!(
            facts,
            [
                ("one", "law", Some(true)),
                ("two", "x", Some(false)),
                ("plain", "b", None),
                ("three", "c", None)
            ]
        );
        assert_eq!((documents[1].name.as_str(), documents[0].name.as_str()), ("T", "x.jsonl"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let cases = [
            (file("l.jsonl", b"{\"text\":\"a\"}\n{\"txt\":1}\n"), "line 2"),
            (file("u.txt", b"ab\xff"), "offset 2"),
            (file("p.parquet", b"PAR1 not really"), "Parquet"),
            (file("w.docx", b""), "docx"),
        ];
        for (path, part) in cases {
            let errors: Vec<_> = all(&[path]).into_iter().filter_map(Result::err).collect();
            assert!(errors.len() == 1 && errors[0].to_string().contains(part), "{errors:?}");
        }
        assert!(open(&[dir.path().join("nowhere")]).is_err());
    }
}
