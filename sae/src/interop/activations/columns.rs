//! Tables as chunks: a column of lists, of lists of lists, or one column per dimension, with tokens,
//! documents, positions and a mask.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Schema};
use storage::Dtype;

use super::chunk::{Chunk, Facts, Names, Role, listed, mask_note};
use super::fixed_shape::{self, Shape};
use super::integers::token;
use super::lists::{floats, inside, is_float, values};
use crate::{Error, Result};
use lm::model::Hook;

/// Where the activations of a table are.
#[derive(Debug, Clone, PartialEq)]
enum Activations {
    /// A list per row.
    Lists(String),
    /// A list of lists per row, or a flat list of this shape `[tokens, d]`: a sequence.
    Sequences(String, Option<[usize; 2]>),
    /// A column per dimension, in order.
    Dimensions(Vec<String>),
}

/// The columns of a table that are taken.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    activations: Activations,
    /// The type of the numbers.
    number: DataType,
    tokens: Option<String>,
    documents: Option<String>,
    positions: Option<String>,
    mask: Option<String>,
}

impl Table {
    /// Chooses columns by `names` and types.
    ///
    /// # Errors
    /// A column that is not there, no column or several that could be the activations, with the remedy.
    pub fn choose(schema: &Schema, names: &Names, file: &Path) -> Result<Self> {
        let there: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let (activations, number) = activations(schema, names, file)?;
        let optional = |role| Ok(names.find(role, &there, file)?.map(str::to_owned));
        let documents: Result<_> = optional(Role::Document);
        let positions: Result<_> = optional(Role::Position);
        let sequences = matches!(activations, Activations::Sequences(..));
        Ok(Self {
            number,
            tokens: optional(Role::Token)?,
            documents: if sequences { None } else { documents? },
            positions: if sequences { None } else { positions? },
            mask: optional(Role::Mask)?,
            activations,
        })
    }

    /// The names of all columns that are read.
    pub fn columns(&self) -> Vec<&str> {
        let activations = match &self.activations {
            Activations::Lists(name) | Activations::Sequences(name, _) => std::slice::from_ref(name),
            Activations::Dimensions(names) => names.as_slice(),
        };
        let others = [&self.tokens, &self.documents, &self.positions, &self.mask].into_iter().flatten();
        activations.iter().chain(others).map(String::as_str).collect()
    }

    /// Whether a row of the table is a sequence of rows.
    pub fn sequences(&self) -> bool {
        matches!(self.activations, Activations::Sequences(..))
    }

    /// The name of the column of activations, if it is one.
    fn name(&self) -> Option<&str> {
        match &self.activations {
            Activations::Lists(name) | Activations::Sequences(name, _) => Some(name),
            Activations::Dimensions(_) => None,
        }
    }

    /// What is read, for people.
    fn about(&self, d: usize) -> String {
        let number = self.number.to_string().to_lowercase();
        match &self.activations {
            Activations::Lists(name) => format!("column `{name}`, {d} numbers per row, {number}"),
            Activations::Sequences(name, _) => {
                format!("column `{name}`, sequences of {d} numbers per token, {number}")
            }
            Activations::Dimensions(names) => {
                let last = names.last().map_or("", String::as_str);
                format!("{d} columns `{}` to `{last}`, {number}", names[0])
            }
        }
    }

    /// What is known of rows of width `d` in sequences of `length`; `rows` are those of the tables.
    pub fn facts(&self, d: usize, length: Option<usize>, rows: Option<u64>) -> Facts {
        Facts {
            d,
            dtype: if self.number == DataType::Float16 { Dtype::F16 } else { Dtype::F32 },
            rows: rows.filter(|_| !self.sequences() && self.mask.is_none()),
            tokens: self.tokens.is_some(),
            documents: self.sequences() || self.documents.is_some(),
            length,
            hook: self.name().filter(|name| name.parse::<Hook>().is_ok()).map(str::to_owned),
            about: self.about(d),
            padded: self.mask.is_some(),
            notes: self.mask.iter().map(|mask| mask_note(mask)).collect(),
        }
    }

    /// Width of the rows and, of sequences, the length of the first.
    ///
    /// # Errors
    /// As [`Table::chunk`], and rows without numbers.
    pub fn shape(&self, batch: &RecordBatch, file: &Path) -> Result<(usize, Option<usize>)> {
        let chunk = self.chunk(batch, None, (file, 0), &mut 0)?;
        let rows = if let Some(runs) = &chunk.documents
            && self.sequences()
        {
            runs.first().map_or(0, |(_, n)| *n)
        } else {
            batch.num_rows()
        };
        let all: usize = match &chunk.documents {
            Some(runs) if self.sequences() => runs.iter().map(|(_, n)| n).sum(),
            _ => batch.num_rows(),
        };
        let d = chunk.values.len().checked_div(all).unwrap_or(0);
        if d == 0 {
            return Err(Error::format(file, "row 0 has no numbers"));
        }
        Ok((d, self.sequences().then_some(rows)))
    }

    /// The rows of a batch; `d` is their width, of the first if not given. `sequence` counts sequences over
    /// all files.
    ///
    /// # Errors
    /// Columns that are missing, null or of other types and widths than expected, with file, row and column.
    pub fn chunk(
        &self,
        batch: &RecordBatch,
        d: Option<usize>,
        (file, first_row): (&Path, u64),
        sequence: &mut u64,
    ) -> Result<Chunk> {
        let at = At { file, first_row };
        let mut chunk = Chunk { file: file.to_path_buf(), first_row, ..Chunk::default() };
        let mut lengths = None;
        match &self.activations {
            Activations::Lists(name) => chunk.values = at.vectors(name, at.column(batch, name)?, d)?,
            Activations::Dimensions(names) => chunk.values = at.dimensions(batch, names)?,
            Activations::Sequences(name, shape) => {
                let column = at.column(batch, name)?;
                let nested = shape.map(|[tokens, d]| at.nested(name, column, tokens, d)).transpose()?;
                let (rows, spans) = at.lists(name, nested.as_ref().unwrap_or(column))?;
                let d = match d {
                    Some(d) => Some(d),
                    None => width_of_first(&rows),
                };
                // Rows of sequences are counted as rows of the table: errors name those.
                chunk.values = At { file, first_row }.vectors_in(name, &rows, &spans, d)?;
                lengths = Some(spans.iter().map(ExactSizeIterator::len).collect::<Vec<_>>());
            }
        }
        if let Some(lengths) = &lengths {
            let named = lengths.iter().map(|n| {
                *sequence += 1;
                (format!("sequence {}", *sequence - 1), *n)
            });
            chunk.documents = Some(named.collect());
        }
        if let Some(name) = &self.tokens {
            let column = at.column(batch, name)?;
            chunk.tokens = Some(match &lengths {
                Some(lengths) => at.integer_lists(name, column, lengths)?,
                None => at.integers(name, column)?,
            });
        }
        if let Some(name) = &self.mask {
            let column = at.column(batch, name)?;
            let mask = match &lengths {
                Some(lengths) => at.integer_lists(name, column, lengths)?,
                None => at.integers(name, column)?,
            };
            chunk.mask = Some(mask.iter().map(|real| *real != 0).collect());
        }
        if let Some(name) = &self.documents {
            chunk.documents = Some(at.keys(name, at.column(batch, name)?)?);
        }
        if let Some(name) = &self.positions {
            chunk.positions = Some(at.integers(name, at.column(batch, name)?)?);
        }
        Ok(chunk)
    }
}

/// A column that could be the activations.
struct Candidate<'a> {
    name: &'a str,
    number: &'a DataType,
    nested: bool,
    shape: Result<Option<Shape>, String>,
}

fn candidates(schema: &Schema) -> Vec<Candidate<'_>> {
    let mut found = Vec::new();
    for field in schema.fields() {
        let Some(inner) = inside(field.data_type()) else { continue };
        let (nested, number) = inside(inner).map_or((false, inner), |number| (true, number));
        if is_float(number) {
            found.push(Candidate { name: field.name(), number, nested, shape: fixed_shape::shape(field) });
        }
    }
    found
}

/// Chooses the column or columns of activations.
fn activations(schema: &Schema, names: &Names, file: &Path) -> Result<(Activations, DataType)> {
    let lists = candidates(schema);
    let chosen = match &names.column {
        Some(name) => match schema.field_with_name(name) {
            Ok(field) => Some(lists.iter().find(|list| list.name == name).ok_or_else(|| {
                let found = field.data_type();
                let problem =
                    format!("column `{name}` is {found}; expected a list of floating-point numbers");
                Error::format(file, problem)
            })?),
            Err(_) => None,
        },
        None => match &lists[..] {
            [one] => Some(one),
            several => {
                let usual = Role::Activation.usual().iter();
                usual.filter_map(|usual| several.iter().find(|list| list.name == *usual)).next()
            }
        },
    };
    if let Some(Candidate { name, number, nested, shape }) = chosen {
        let shape = shape.clone().map_err(|e| Error::format(file, format!("column `{name}` {e}")))?;
        let shape = shape.and_then(|shape| Some([shape.tokens?, shape.d]));
        let name = (*name).to_owned();
        let activations = if *nested || shape.is_some() {
            Activations::Sequences(name, shape)
        } else {
            Activations::Lists(name)
        };
        return Ok((activations, (*number).clone()));
    }
    if let Some(found) = dimensions(schema, names.column.as_deref(), file)? {
        return Ok(found);
    }
    let all: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let lists: Vec<&str> = lists.iter().map(|list| list.name).collect();
    Err(match &names.column {
        Some(name) => Error::format(
            file,
            format!("has no column `{name}` and no columns `{name}0`, `{name}1`, …; it has {}", listed(&all)),
        ),
        None if lists.is_empty() => Error::format(
            file,
            format!(
                "has no column of vectors and no columns NAME0, NAME1, … of numbers; it has {}",
                listed(&all)
            ),
        ),
        None => Error::format(file, format!("has several columns of vectors: {}", listed(&lists)))
            .with_remedy("choose one with --column"),
    })
}

/// Columns `PREFIX0`, `PREFIX1`, … of numbers; without `prefix` the largest such set.
fn dimensions(schema: &Schema, prefix: Option<&str>, file: &Path) -> Result<Option<(Activations, DataType)>> {
    let mut sets: BTreeMap<&str, BTreeMap<usize, (&str, &DataType)>> = BTreeMap::new();
    for field in schema.fields().iter().filter(|f| is_float(f.data_type())) {
        let name = field.name().as_str();
        let start = name.trim_end_matches(|c: char| c.is_ascii_digit());
        if let Ok(number) = name[start.len()..].parse() {
            sets.entry(start).or_default().insert(number, (name, field.data_type()));
        }
    }
    let found = match prefix {
        Some(prefix) => sets.get_key_value(prefix),
        // One column with a number at its end is not a vector.
        None => sets.iter().filter(|(_, set)| set.len() > 1).max_by_key(|(_, set)| set.len()),
    };
    let Some((prefix, set)) = found else { return Ok(None) };
    let first = usize::from(!set.contains_key(&0));
    if let Some((expected, _)) = (first..).zip(set.keys()).find(|(expected, number)| expected != *number) {
        return Err(Error::format(
            file,
            format!(
                "has no column `{prefix}{expected}` of numbers between its {} columns `{prefix}…`",
                set.len()
            ),
        ));
    }
    let number = set.values().next().map_or(DataType::Float32, |(_, number)| (*number).clone());
    let names = set.values().map(|(name, _)| (*name).to_owned()).collect();
    Ok(Some((Activations::Dimensions(names), number)))
}

fn width_of_first(rows: &ArrayRef) -> Option<usize> {
    let (_, spans) = values(rows).ok()?;
    spans.first().map(ExactSizeIterator::len)
}

/// A place in a file, for errors.
struct At<'a> {
    file: &'a Path,
    first_row: u64,
}

impl At<'_> {
    fn error(&self, row: usize, name: &str, problem: &str) -> Error {
        Error::format(self.file, format!("row {}, column `{name}`: {problem}", self.first_row + row as u64))
    }

    fn column<'b>(&self, batch: &'b RecordBatch, name: &str) -> Result<&'b ArrayRef> {
        batch.column_by_name(name).ok_or_else(|| {
            let schema = batch.schema();
            let there: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            let problem =
                format!("has no column `{name}`, which the first file has; it has {}", listed(&there));
            Error::format(self.file, problem)
        })
    }

    fn lists(&self, name: &str, column: &ArrayRef) -> Result<(ArrayRef, Vec<std::ops::Range<usize>>)> {
        values(column).map_err(|(row, problem)| self.error(row, name, &problem))
    }

    /// Flat lists of `[tokens, d]` as lists of lists.
    fn nested(&self, name: &str, column: &ArrayRef, tokens: usize, d: usize) -> Result<ArrayRef> {
        fixed_shape::nested(column, tokens, d).map_err(|(row, problem)| self.error(row, name, &problem))
    }

    /// Lists of one width, end to end.
    fn vectors(&self, name: &str, column: &ArrayRef, d: Option<usize>) -> Result<Vec<f32>> {
        let rows: Vec<std::ops::Range<usize>> = (0..column.len()).map(|row| row..row + 1).collect();
        self.vectors_in(name, column, &rows, d)
    }

    /// The same of lists that are rows of sequences: `rows` says which lists are in which row of the table.
    fn vectors_in(
        &self,
        name: &str,
        lists: &ArrayRef,
        rows: &[std::ops::Range<usize>],
        d: Option<usize>,
    ) -> Result<Vec<f32>> {
        let row_of = |list: usize| rows.partition_point(|span| span.end <= list);
        let (numbers, spans) =
            values(lists).map_err(|(list, problem)| self.error(row_of(list), name, &problem))?;
        let d = d.or_else(|| spans.first().map(ExactSizeIterator::len)).unwrap_or(0);
        if let Some(list) = spans.iter().position(|span| span.len() != d) {
            let problem = format!("has {} numbers; the rows before have {d}", spans[list].len());
            return Err(self.error(row_of(list), name, &problem));
        }
        floats(&numbers).map_err(|(at, problem)| {
            let list = at.checked_div(d).unwrap_or(0);
            self.error(row_of(list), name, &format!("number {} {problem}", at - list * d))
        })
    }

    /// `[rows, d]` from d columns.
    fn dimensions(&self, batch: &RecordBatch, names: &[String]) -> Result<Vec<f32>> {
        let (rows, d) = (batch.num_rows(), names.len());
        let mut out = vec![0f32; rows * d];
        for (c, name) in names.iter().enumerate() {
            let column = floats(self.column(batch, name)?);
            let column = column.map_err(|(row, problem)| self.error(row, name, &problem))?;
            out.iter_mut().skip(c).step_by(d).zip(&column).for_each(|(out, x)| *out = *x);
        }
        Ok(out)
    }

    fn integers(&self, name: &str, column: &ArrayRef) -> Result<Vec<u32>> {
        let kind = column.data_type();
        // A mask of booleans is one of 0 and 1.
        let bits = (*kind == DataType::Boolean).then(|| cast(column, &DataType::UInt8)).transpose();
        let bits = bits.map_err(|e| self.error(0, name, &e.to_string()))?;
        let column = bits.as_ref().unwrap_or(column);
        if !column.data_type().is_integer() {
            return Err(self.error(0, name, &format!("is {kind}; expected integers")));
        }
        // Wide enough for every integer type.
        let wide =
            cast(column, &DataType::Decimal128(38, 0)).map_err(|e| self.error(0, name, &e.to_string()))?;
        let wide = wide.as_primitive::<Decimal128Type>();
        let number = |row: usize| {
            if column.is_null(row) {
                return Err(self.error(row, name, "is null"));
            }
            token(wide.value(row), self.file, self.first_row + row as u64)
        };
        (0..column.len()).map(number).collect()
    }

    /// Lists of integers, as long as the sequences of the same rows.
    fn integer_lists(&self, name: &str, column: &ArrayRef, lengths: &[usize]) -> Result<Vec<u32>> {
        let (tokens, spans) = self.lists(name, column)?;
        if let Some(row) = (0..lengths.len()).find(|&row| spans[row].len() != lengths[row]) {
            let problem = format!("has {} numbers for {} activations", spans[row].len(), lengths[row]);
            return Err(self.error(row, name, &problem));
        }
        // Numbers of rows are those of the tokens here; sequences name themselves.
        self.integers(name, &tokens)
    }

    /// Equal neighbours as one.
    fn keys(&self, name: &str, column: &ArrayRef) -> Result<Vec<(String, usize)>> {
        let text = cast(column, &DataType::Utf8).map_err(|e| self.error(0, name, &e.to_string()))?;
        let text = text.as_string::<i32>();
        let mut runs: Vec<(String, usize)> = Vec::new();
        for row in 0..text.len() {
            if text.is_null(row) {
                return Err(self.error(row, name, "is null"));
            }
            match runs.last_mut() {
                Some((last, n)) if last == text.value(row) => *n += 1,
                _ => runs.push((text.value(row).to_owned(), 1)),
            }
        }
        Ok(runs)
    }
}
