//! Explanations of features: `RUN/explanations/NAME.parquet`, a file a source. They lie beside `features/`, which `sae index`
//! replaces, so what was read in once outlives a new index; whoever reads a source in again replaces its file and no other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, StringArray, UInt32Array};
use arrow::datatypes::{Float32Type, SchemaRef, UInt32Type};
use arrow::record_batch::RecordBatch;

use crate::column::{self, primitive, spans, strings};
use crate::error::{Error, Result};
use crate::manifest::Part;
use crate::schema::FEATURE;
use crate::schema::explanations as names;
use crate::table::{Scan, TableReader};
use crate::{Layout, PartWriter, schema};

/// The folder of a run that holds them.
pub const FOLDER: &str = "explanations";

/// One explanation of one feature.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Explanation {
    /// Which feature.
    pub feature: u32,
    /// What it is about.
    pub text: String,
    /// How the explanation was made.
    pub method: String,
    /// The program, model or person that made it; may be empty.
    pub by: String,
    /// How well it describes the feature, in the order of the source.
    pub scores: Vec<Score>,
}

/// A figure about an explanation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Score {
    /// What it measures.
    pub kind: String,
    /// The figure, finite.
    pub value: f32,
}

/// Rows that are turned into a batch at a time.
const BATCH: usize = 8192;

/// Where the explanations of `source` lie in the run in `dir`.
pub fn path(dir: &Path, source: &str) -> PathBuf {
    dir.join(FOLDER).join(format!("{source}.parquet"))
}

/// The sources of the run in `dir` that there are, by name.
pub fn sources(dir: &Path) -> Result<Vec<String>> {
    let folder = dir.join(FOLDER);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
        let path = entry.map_err(Error::io(&folder))?.path();
        if path.extension().is_some_and(|end| end == "parquet") {
            found.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    found.sort();
    Ok(found)
}

/// Writes the explanations of `source`, sorted by feature, in place of those that it had. The order within a feature is kept.
pub fn write(dir: &Path, source: &str, rows: &mut [Explanation]) -> Result<Part> {
    let folder = dir.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    rows.sort_by_key(|row| row.feature);
    let schema = schema::explanations();
    let mut part = PartWriter::create(&path(dir, source), schema.clone(), &Layout::feature_rows())?;
    for rows in rows.chunks(BATCH) {
        part.write(&to_batch(&schema, rows)?)?;
    }
    part.finish()
}

/// Reads all explanations of `source` of the run in `dir`, by feature.
pub fn read(dir: &Path, source: &str) -> Result<Vec<Explanation>> {
    let reader = TableReader::open_file(&path(dir, source), &schema::explanations())?;
    let mut rows = Vec::new();
    reader.each(Scan::default(), |batch| from_batch(batch, &mut rows))?;
    Ok(rows)
}

fn to_batch(schema: &SchemaRef, rows: &[Explanation]) -> Result<RecordBatch> {
    let texts = |get: fn(&Explanation) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(get)))
    };
    let scores = || rows.iter().flat_map(|row| &row.scores);
    let data_type = column::type_of(schema, names::SCORES)?.data_type();
    let kinds = StringArray::from_iter_values(scores().map(|score| &score.kind));
    let values = Float32Array::from_iter_values(scores().map(|score| score.value));
    let structs = column::struct_values(names::SCORES, data_type, vec![Arc::new(kinds), Arc::new(values)])?;
    let lengths = rows.iter().map(|row| row.scores.len());
    let columns = vec![
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.feature))) as ArrayRef,
        texts(|row| &row.text),
        texts(|row| &row.method),
        texts(|row| &row.by),
        column::list_column(names::SCORES, data_type, structs, lengths)?,
    ];
    column::batch(schema.clone(), columns)
}

fn from_batch(batch: &RecordBatch, rows: &mut Vec<Explanation>) -> Result<()> {
    let feature = primitive::<UInt32Type>(batch, FEATURE)?.values();
    let texts = strings(batch, names::TEXT)?
        .into_iter()
        .zip(strings(batch, names::METHOD)?)
        .zip(strings(batch, names::BY)?);
    let (list, structs) = column::structs(batch, names::SCORES)?;
    let kinds = column::field_texts(structs, names::SCORES, names::KIND)?;
    let values = column::field::<Float32Type>(structs, names::SCORES, names::VALUE)?;
    for ((((text, method), by), span), feature) in texts.zip(spans(list)).zip(feature) {
        let score = |i: usize| Score { kind: kinds.value(i).to_owned(), value: values[i] };
        rows.push(Explanation { feature: *feature, text, method, by, scores: span.map(score).collect() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(feature: u32, text: &str, scores: &[(&str, f32)]) -> Explanation {
        let scores =
            scores.iter().map(|(kind, value)| Score { kind: (*kind).into(), value: *value }).collect();
        Explanation { feature, text: text.into(), method: "rules".into(), by: String::new(), scores }
    }

    #[test]
    fn sources_come_back_sorted_and_replace_only_themselves() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(sources(dir.path()).unwrap(), [""; 0]);
        let mut rows = vec![
            said(9, "trees", &[("f1", 0.5), ("recall", 1.0)]),
            said(2, "the first of two", &[]),
            said(2, "the second, with ‹signs›\n", &[("f1", -0.25)]),
        ];
        write(dir.path(), "b", &mut rows).unwrap();
        write(dir.path(), "a", &mut [said(1, "x", &[])]).unwrap();
        assert_eq!(sources(dir.path()).unwrap(), ["a", "b"]);
        let found = read(dir.path(), "b").unwrap();
        assert_eq!(found.iter().map(|row| row.feature).collect::<Vec<_>>(), [2, 2, 9]);
        assert_eq!(found, rows, "sorted in place, in the order that they were given within a feature");
        write(dir.path(), "a", &mut []).unwrap();
        assert_eq!((read(dir.path(), "a").unwrap().len(), read(dir.path(), "b").unwrap().len()), (0, 3));
    }

    #[test]
    fn a_file_of_another_kind_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(FOLDER)).unwrap();
        std::fs::write(path(dir.path(), "bad"), "text").unwrap();
        let error = read(dir.path(), "bad").unwrap_err().to_string();
        assert!(error.contains("bad.parquet"), "{error}");
    }
}
