//! Tables as chunks: a column of lists, of lists of lists, or one column a dimension; tokens, documents and positions beside.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Schema};
use storage::Dtype;

use super::integers::token;
use super::lists::{floats, inside, is_float, values};
use super::source::{Chunk, Names, Role, listed};
use crate::{Error, Result};

/// Where the activations of a table are.
#[derive(Debug, Clone, PartialEq)]
enum Activations {
    /// A list a row.
    Lists(String),
    /// A list of lists a row: a sequence.
    Sequences(String),
    /// A column a dimension, in order.
    Dimensions(Vec<String>),
}

/// The columns of a table that are taken.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    activations: Activations,
    /// The type of the numbers.
    pub number: DataType,
    pub tokens: Option<String>,
    pub documents: Option<String>,
    pub positions: Option<String>,
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
        let sequences = matches!(activations, Activations::Sequences(_));
        Ok(Self {
            number,
            tokens: optional(Role::Token)?,
            documents: if sequences { None } else { documents? },
            positions: if sequences { None } else { positions? },
            activations,
        })
    }

    /// The names of all columns that are read.
    pub fn columns(&self) -> Vec<&str> {
        let activations = match &self.activations {
            Activations::Lists(name) | Activations::Sequences(name) => std::slice::from_ref(name),
            Activations::Dimensions(names) => names.as_slice(),
        };
        let beside = [&self.tokens, &self.documents, &self.positions].into_iter().flatten();
        activations.iter().chain(beside).map(String::as_str).collect()
    }

    /// Whether a row of the table is a sequence of rows.
    pub fn sequences(&self) -> bool {
        matches!(self.activations, Activations::Sequences(_))
    }

    /// The name of the column of activations, if it is one.
    pub fn name(&self) -> Option<&str> {
        match &self.activations {
            Activations::Lists(name) | Activations::Sequences(name) => Some(name),
            Activations::Dimensions(_) => None,
        }
    }

    /// What is read, for people.
    pub fn about(&self, d: usize) -> String {
        let number = self.number.to_string().to_lowercase();
        match &self.activations {
            Activations::Lists(name) => format!("column `{name}`, {d} numbers a row, {number}"),
            Activations::Sequences(name) => {
                format!("column `{name}`, sequences of {d} numbers a token, {number}")
            }
            Activations::Dimensions(names) => {
                let last = names.last().map_or("", String::as_str);
                format!("{d} columns `{}` to `{last}`, {number}", names[0])
            }
        }
    }

    /// The type that holds the numbers.
    pub fn dtype(&self) -> Dtype {
        if self.number == DataType::Float16 { Dtype::F16 } else { Dtype::F32 }
    }

    /// Width of the rows and, of sequences, the length of the first.
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

    /// The rows of a batch; `d` is their width, of the first if not given. `sequence` counts sequences over all files.
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
            Activations::Sequences(name) => {
                let (rows, spans) = at.lists(name, at.column(batch, name)?)?;
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
                Some(lengths) => at.token_lists(name, column, lengths)?,
                None => at.integers(name, column)?,
            });
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

/// Chooses the column or columns of activations.
fn activations(schema: &Schema, names: &Names, file: &Path) -> Result<(Activations, DataType)> {
    let mut lists = Vec::new();
    for field in schema.fields() {
        let Some(inner) = inside(field.data_type()) else { continue };
        match inside(inner) {
            None if is_float(inner) => lists.push((field.name().as_str(), false, inner.clone())),
            Some(number) if is_float(number) => lists.push((field.name().as_str(), true, number.clone())),
            _ => {}
        }
    }
    let listed_names: Vec<&str> = lists.iter().map(|(name, ..)| *name).collect();
    let chosen = match &names.column {
        Some(name) if schema.field_with_name(name).is_ok() => {
            let found = lists.iter().find(|(there, ..)| there == name);
            Some(found.ok_or_else(|| {
                let found =
                    schema.field_with_name(name).map(|f| f.data_type().to_string()).unwrap_or_default();
                Error::format(
                    file,
                    format!("column `{name}` is {found}; expected a list of floating-point numbers"),
                )
            })?)
        }
        Some(_) => None,
        None => match &lists[..] {
            [one] => Some(one),
            several => Role::Activation
                .usual()
                .iter()
                .find_map(|usual| several.iter().find(|(name, ..)| name == usual)),
        },
    };
    if let Some((name, nested, number)) = chosen {
        let name = (*name).to_owned();
        let activations = if *nested { Activations::Sequences(name) } else { Activations::Lists(name) };
        return Ok((activations, number.clone()));
    }
    if let Some(found) = dimensions(schema, names.column.as_deref(), file)? {
        return Ok(found);
    }
    let all: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let problem = match (&names.column, listed_names.is_empty()) {
        (Some(name), _) => {
            format!("has no column `{name}` and no columns `{name}0`, `{name}1`, …; it has {}", listed(&all))
        }
        (None, false) => {
            format!("has several columns of vectors: {}; choose one with --column", listed(&listed_names))
        }
        (None, true) => format!(
            "has no column of vectors and no columns NAME0, NAME1, … of numbers; it has {}; choose with --column",
            listed(&all)
        ),
    };
    Err(Error::format(file, problem))
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
        // One column with a number at its end is no vector.
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
        if !column.data_type().is_integer() {
            return Err(self.error(0, name, &format!("is {}, no integer", column.data_type())));
        }
        // Wide enough for every integer type.
        let wide =
            cast(column, &DataType::Decimal128(38, 0)).map_err(|e| self.error(0, name, &e.to_string()))?;
        let wide = wide.as_primitive::<Decimal128Type>();
        let number = |row: usize| match column.is_null(row) {
            true => Err(self.error(row, name, "is null")),
            false => token(wide.value(row), self.file, self.first_row + row as u64),
        };
        (0..column.len()).map(number).collect()
    }

    /// Lists of tokens as long as the sequences beside them.
    fn token_lists(&self, name: &str, column: &ArrayRef, lengths: &[usize]) -> Result<Vec<u32>> {
        let (tokens, spans) = self.lists(name, column)?;
        if let Some(row) = (0..lengths.len()).find(|&row| spans[row].len() != lengths[row]) {
            let problem = format!("has {} tokens beside {} activations", spans[row].len(), lengths[row]);
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
