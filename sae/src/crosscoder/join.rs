//! Several datasets of the same tokens as one, whose rows are theirs end to end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;
use serde::{Deserialize, Serialize};
use storage::documents::DocumentRow;
use storage::manifest::Site;
use storage::schema::activations::ACTIVATION;
use storage::schema::{self, DOCUMENT, DOMAIN, POSITION, TOKEN};
use storage::{Dataset, DatasetWriter, Dtype, Layout, Manifest, ModelRef, TableReader, documents, vector};

use crate::rows::{COMPUTE, compute_of};
use crate::{Error, Progress, Result};
use kernels::reduce;

/// Rows that are in memory at once.
const BLOCK: u64 = 16 << 10;
/// Share of the mean square that varies below which rows are the same.
const SAME: f64 = 1e-12;
/// Rows of a part.
const PART: u64 = 1 << 20;

/// A dataset that was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Joined {
    /// Its folder.
    pub dataset: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// What each row holds.
    pub sites: Vec<Site>,
}

/// How many rows are in the dataset already.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Cursor {
    rows: u64,
}

/// Makes one dataset in `out` of `data`, which must hold the same tokens. Every site is multiplied by one number, so that its numbers'
/// mean square about their mean is the mean of that of all sites. A join that was interrupted continues when it is asked for again.
///
/// # Errors
/// Fewer than two datasets, one without activations, tokens or documents that differ, a site that does not vary; files that cannot be read
/// or written; [`Error::Stopped`].
pub fn join(data: &[PathBuf], out: &Path, progress: &mut dyn Progress) -> Result<Joined> {
    if data.len() < 2 {
        return Err(Error::request("a joined dataset is made of at least two")
            .with_remedy("name a dataset for each layer or model"));
    }
    let datasets: Vec<Dataset> = data.iter().map(|path| Ok(Dataset::open(path)?)).collect::<Result<_>>()?;
    let sources = datasets.iter().map(Source::open).collect::<Result<Vec<_>>>()?;
    must_agree(&datasets, &sources)?;
    let rows = sources[0].table.rows();
    let scales = scales(&sources, rows, progress)?;
    let header = header(&datasets, &scales);
    let (dtype, sites) = (header.dtype, header.sites.clone());
    let mut writer = DatasetWriter::begin(out, header)?;
    writer.note().iter().for_each(|note| progress.remark(note));
    let cursor: Cursor = match writer.cursor() {
        None => Cursor::default(),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|e| Error::format(out, format!("was not begun by a join: {e}")))?,
    };
    progress.begin("join", Some(rows), "tokens");
    let mut done = cursor.rows;
    while done < rows {
        let end = rows.min(done + PART);
        let part = write_part(&mut writer, &sources, &scales, (done, end), dtype, progress)?;
        writer
            .commit(vec![(schema::ACTIVATIONS.to_owned(), part)], serde_json::json!(Cursor { rows: end }))?;
        done = end;
    }
    // A join that ended between these tables and the manifest has them already.
    if !writer.tables().contains_key(schema::DOCUMENTS) {
        add_documents(&mut writer, &datasets[0], &sources[0].documents, rows)?;
    }
    writer.finish()?;
    progress.end(&format!("{rows} tokens of {} sites", sites.len()));
    Ok(Joined { dataset: out.to_owned(), rows, sites })
}

/// The tables that are the same in all datasets, of the first.
fn add_documents(
    writer: &mut DatasetWriter,
    first: &Dataset,
    documents: &[DocumentRow],
    rows: u64,
) -> Result<()> {
    let mut part = writer.next_part(schema::DOCUMENTS, schema::documents(), &Layout::small_table())?;
    part.write(&documents::to_batch(documents)?)?;
    let mut parts = vec![(schema::DOCUMENTS.to_owned(), part.finish()?)];
    let words = first.manifest().tables.get(schema::VOCABULARY).map_or(&[][..], |t| t.parts.as_slice());
    for part in words {
        let adopted = writer.adopt_part(schema::VOCABULARY, first.dir(), part)?;
        parts.push((schema::VOCABULARY.to_owned(), adopted));
    }
    Ok(writer.commit(parts, serde_json::json!(Cursor { rows }))?)
}

/// One of the datasets.
struct Source {
    table: TableReader,
    documents: Vec<DocumentRow>,
    width: usize,
    has_tokens: bool,
}

impl Source {
    fn open(dataset: &Dataset) -> Result<Self> {
        let table = dataset.table(schema::ACTIVATIONS)?;
        let documents = documents::read(&dataset.table(schema::DOCUMENTS)?)?;
        let has_tokens = table.has_column(TOKEN);
        Ok(Self { table, documents, width: dataset.manifest().d_model, has_tokens })
    }

    /// Rows `from..to`: the batch of what says which they are, and their numbers.
    fn read(&self, (from, to): (u64, u64)) -> Result<(RecordBatch, Vec<f32>)> {
        let columns: &[&str] = match self.has_tokens {
            true => &[DOCUMENT, POSITION, TOKEN, DOMAIN, ACTIVATION],
            false => &[DOCUMENT, POSITION, DOMAIN, ACTIVATION],
        };
        let batches = self.table.take(&[from..to], columns)?;
        let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches)
            .map_err(|e| Error::format(self.table.path(), e.to_string()))?;
        let mut values = Vec::new();
        vector::fixed_size_rows(&batch, ACTIVATION, &mut values)?;
        Ok((batch, values))
    }
}

/// An error unless row i is of the same token in all datasets, as far as documents say.
fn must_agree(datasets: &[Dataset], sources: &[Source]) -> Result<()> {
    let shape = |source: &Source| -> Vec<(String, u64, u32, bool)> {
        let row = |d: &DocumentRow| (d.name.clone(), d.first_row, d.tokens, d.held_out);
        source.documents.iter().map(row).collect()
    };
    let first = &datasets[0];
    for (dataset, source) in datasets.iter().zip(sources).skip(1) {
        if shape(source) != shape(&sources[0]) || source.has_tokens != sources[0].has_tokens {
            return Err(different(first, dataset));
        }
    }
    let compute = compute_of(first.manifest())?;
    for dataset in &datasets[1..] {
        let other = compute_of(dataset.manifest())?;
        if other != compute {
            let [a, b] = [first, dataset].map(|dataset| dataset.dir().display());
            return Err(Error::request(format!(
                "the model of {a} multiplied in {compute}, that of {b} in {other}: rows would differ by that alone"
            ))
            .with_remedy("harvest both with the same --compute"));
        }
    }
    match datasets.iter().find(|dataset| !dataset.manifest().sites.is_empty()) {
        Some(joined) => Err(Error::request(format!("{} is joined already", joined.dir().display()))
            .with_remedy("name the datasets that it was made of")),
        None => Ok(()),
    }
}

fn different(a: &Dataset, b: &Dataset) -> Error {
    Error::request(format!(
        "{} and {} do not hold the same tokens in the same order",
        a.dir().display(),
        b.dir().display()
    ))
    .with_remedy(
        "harvest both from the same text with the same options: several hooks in one pass, or two models that share a tokenizer",
    )
}

/// What every site is multiplied by.
fn scales(sources: &[Source], rows: u64, progress: &mut dyn Progress) -> Result<Vec<f32>> {
    progress.begin("measure", Some(rows * sources.len() as u64), "rows");
    let (mut spreads, mut done) = (Vec::new(), 0);
    for source in sources {
        let (mut columns, mut squares) = (vec![0.0; source.width], 0.0);
        for from in (0..rows).step_by(BLOCK as usize) {
            let (_, values) = source.read((from, rows.min(from + BLOCK)))?;
            reduce::add_column_sums(&mut columns, &values);
            squares += reduce::sum_of_squares(&values);
            done += (values.len() / source.width) as u64;
            progress.advance(done, "");
            stop(progress)?;
        }
        let numbers = (rows.max(1) * source.width as u64) as f64;
        let spread = reduce::centred_sum_of_squares(rows, &columns, squares) / numbers;
        // What rounding leaves of a constant does not vary.
        if !spread.is_finite() || spread <= SAME * squares / numbers {
            return Err(Error::data(format!(
                "{}: the activations do not vary",
                source.table.path().display()
            ))
            .with_remedy("leave this site out"));
        }
        spreads.push(spread);
    }
    progress.end("");
    let mean = spreads.iter().sum::<f64>() / spreads.len() as f64;
    Ok(spreads.iter().map(|spread| (mean / spread).sqrt() as f32).collect())
}

fn stop(progress: &dyn Progress) -> Result<()> {
    match progress.stop_requested() {
        true => Err(Error::stopped("the join was not finished; give the same command again to continue")),
        false => Ok(()),
    }
}

fn header(datasets: &[Dataset], scales: &[f32]) -> Manifest {
    let first = datasets[0].manifest();
    let site = |(dataset, &scale): (&Dataset, &f32)| {
        let manifest = dataset.manifest();
        let hook = manifest.hook.clone().unwrap_or_default();
        Site { hook, model: manifest.model.clone(), width: manifest.d_model, scale }
    };
    let sites: Vec<Site> = datasets.iter().zip(scales).map(site).collect();
    let wide = datasets.iter().any(|dataset| dataset.manifest().dtype == Dtype::F32);
    let mut names: Vec<&str> = sites.iter().map(|site| site.model.id.as_str()).collect();
    names.dedup();
    // No one model has these rows, so nothing can be spliced into one.
    let model = ModelRef { id: names.join(" + "), path: None, sha256: String::new() };
    let mut settings = serde_json::json!({
        "joined": datasets.iter().map(|dataset| dataset.path().display().to_string()).collect::<Vec<_>>()
    });
    // The same for all of them.
    if let Some(compute) = first.settings.get(COMPUTE) {
        settings[COMPUTE] = compute.clone();
    }
    Manifest {
        model,
        hook: None,
        d_model: sites.iter().map(|site| site.width).sum(),
        dtype: if wide { Dtype::F32 } else { Dtype::F16 },
        sites,
        settings,
        rows: 0,
        tables: Default::default(),
        ..first.clone()
    }
}

fn write_part(
    writer: &mut DatasetWriter,
    sources: &[Source],
    scales: &[f32],
    (from, to): (u64, u64),
    dtype: Dtype,
    progress: &mut dyn Progress,
) -> Result<storage::Part> {
    let width: usize = sources.iter().map(|source| source.width).sum();
    let rows_are = if sources[0].has_tokens { storage::RowsAre::Tokens } else { storage::RowsAre::Rows };
    let columns_of = schema::activations_of(rows_are, width, dtype);
    let mut part = writer.next_part(schema::ACTIVATIONS, columns_of.clone(), &Layout::activations())?;
    for begin in (from..to).step_by(BLOCK as usize) {
        let range = (begin, to.min(begin + BLOCK));
        let read = sources.iter().map(|source| source.read(range)).collect::<Result<Vec<_>>>()?;
        check_tokens(sources, &read, begin)?;
        let rows = read[0].0.num_rows();
        let mut joined = Vec::with_capacity(rows * width);
        for row in 0..rows {
            for ((source, (_, values)), &scale) in sources.iter().zip(&read).zip(scales) {
                joined.extend(values[row * source.width..(row + 1) * source.width].iter().map(|x| x * scale));
            }
        }
        let (column, bad) = vector::column_from_rows(&joined, width, dtype)?;
        if let Some(row) = bad.first_row {
            return Err(Error::data(format!(
                "row {} of the joined dataset is not finite in f16",
                begin + row as u64
            ))
            .with_remedy("harvest one of the datasets with --dtype f32: the joined one is then f32"));
        }
        let mut columns: Vec<ArrayRef> = read[0].0.columns()[..read[0].0.num_columns() - 1].to_vec();
        columns.push(Arc::new(column));
        let batch = RecordBatch::try_new(columns_of.clone(), columns)
            .map_err(|e| Error::format(sources[0].table.path(), e.to_string()))?;
        part.write(&batch)?;
        progress.advance(range.1, "");
        stop(progress)?;
    }
    Ok(part.finish()?)
}

/// An error unless the tokens are the same.
fn check_tokens(sources: &[Source], read: &[(RecordBatch, Vec<f32>)], begin: u64) -> Result<()> {
    if !sources[0].has_tokens {
        return Ok(());
    }
    let tokens = |batch: &RecordBatch| -> Vec<u32> {
        let column = batch.column_by_name(TOKEN).and_then(|c| c.as_primitive_opt::<UInt32Type>());
        column.map(|column| column.values().to_vec()).unwrap_or_default()
    };
    let first = tokens(&read[0].0);
    for (source, (batch, _)) in sources.iter().zip(read).skip(1) {
        let other = tokens(batch);
        if let Some(row) = first.iter().zip(&other).position(|(a, b)| a != b) {
            return Err(Error::request(format!(
                "row {} is token {} in {} and token {} in {}",
                begin + row as u64,
                first[row],
                sources[0].table.path().display(),
                other[row],
                source.table.path().display()
            ))
            .with_remedy("join datasets of the same text and tokenizer"));
        }
    }
    Ok(())
}
