//! A dataset's routing table as a stream of choices, decoded on a thread of its own.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::mpsc::sync_channel;

use arrow::array::{Array, ArrowPrimitiveType, AsArray, ListArray};
use arrow::datatypes::{Float32Type, UInt16Type, UInt32Type};
use arrow::record_batch::RecordBatch;
use storage::routing::{ENTROPY, EXPERTS, LAYER, SCORES, WEIGHTS};
use storage::schema::{DOCUMENT, DOCUMENTS, POSITION, ROUTING, TOKEN};
use storage::{Dataset, Scan, TableReader, column};

use super::choice::Choice;
use super::declared::Declared;
use super::score_kind::ScoreKind;
use crate::{Error, Progress, Result};

/// Rows decoded at a time.
const BATCH: usize = 32 << 10;
/// Most batches that wait to be counted.
const WAITING: usize = 2;

/// A routing table, its documents' domains and what is declared about its router.
#[derive(Debug)]
pub struct Source {
    dataset: Dataset,
    table: TableReader,
    domain_of: HashMap<u32, usize>,
    domains: Vec<String>,
    declared: Declared,
}

/// What the small columns tell in one pass.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Layers, ascending.
    pub layers: BTreeSet<u16>,
    /// Occurrences of each token, in the first row's layer.
    pub seen: HashMap<u32, u32>,
    /// One more than the highest chosen expert; 0 if none was chosen.
    pub highest: usize,
}

impl Source {
    /// Opens the routing table of this folder, or of its subfolder `routing` if several hooks share one.
    ///
    /// # Errors
    /// A folder that is not a dataset, or has no routing table or an empty one.
    pub fn open(dir: &Path) -> Result<Self> {
        let routing = dir.join(ROUTING);
        let here = !routing.join(storage::dataset::MANIFEST).exists();
        let dataset = Dataset::open(if here { dir } else { &routing })?;
        if !dataset.has_table(ROUTING) {
            return Err(Error::request(format!("{} has no routing table", dir.display()))
                .with_remedy("harvest a mixture-of-experts model with --routing"));
        }
        let table = dataset.table(ROUTING)?;
        if table.rows() == 0 {
            return Err(Error::data(format!("{}: the routing table has no rows", dataset.dir().display())));
        }
        let documents = storage::documents::read(&dataset.table(DOCUMENTS)?)?;
        let mut domains: Vec<String> = documents.iter().map(|row| row.domain.clone()).collect();
        domains.sort();
        domains.dedup();
        let index = |domain: &String| domains.partition_point(|d| d < domain);
        let domain_of = documents.iter().map(|row| (row.document, index(&row.domain))).collect();
        let declared = Declared::of(&dataset)?;
        Ok(Self { dataset, table, domain_of, domains, declared })
    }

    /// The dataset.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Domains, sorted.
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// What is known of the router.
    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// Rows of the table.
    pub fn rows(&self) -> u64 {
        self.table.rows()
    }

    /// Whether the table keeps the router's scores.
    pub fn has_scores(&self) -> bool {
        self.table.has_column(SCORES)
    }

    /// Number of the domain of `document`, an index into [`Source::domains`].
    ///
    /// # Errors
    /// A document that the table of documents does not have.
    pub fn domain_of(&self, document: u32) -> Result<usize> {
        self.domain_of.get(&document).copied().ok_or_else(|| {
            Error::data(format!("routing of document {document}: documents.parquet has no such document"))
        })
    }

    /// Reads layers and tokens, and the chosen experts if their number is not declared.
    ///
    /// # Errors
    /// A table that cannot be read, or [`Error::Stopped`].
    pub fn overview(&self, progress: &mut dyn Progress) -> Result<Overview> {
        let count_experts = self.declared.experts.is_none();
        let mut columns = vec![LAYER, TOKEN];
        columns.extend(count_experts.then_some(EXPERTS));
        let mut found = Overview::default();
        let (mut first, mut rows) = (None, 0);
        progress.begin("experts, tokens", Some(self.rows()), "rows");
        for batch in self.table.scan(Scan { batch_rows: BATCH, ..Scan::of(&columns) })? {
            let batch = batch?;
            let layers = column::primitive::<UInt16Type>(&batch, LAYER)?.values();
            let tokens = column::primitive::<UInt32Type>(&batch, TOKEN)?.values();
            let first = *first.get_or_insert(layers[0]);
            for (&layer, &token) in layers.iter().zip(tokens) {
                found.layers.insert(layer);
                if layer == first {
                    *found.seen.entry(token).or_default() += 1;
                }
            }
            if count_experts {
                let ids = Lists::<UInt32Type>::of(&batch, EXPERTS)?;
                let highest = ids.values.iter().max().map_or(0, |&e| e as usize + 1);
                found.highest = found.highest.max(highest);
            }
            rows += batch.num_rows() as u64;
            advance(rows, progress)?;
        }
        progress.end(&format!("{} layers, {} different tokens", found.layers.len(), found.seen.len()));
        Ok(found)
    }

    /// The kind of scores, by the first rows of their column, and a remark if it differs from what is
    /// declared.
    ///
    /// # Errors
    /// Scores of no known kind.
    pub fn score_kind(&self) -> Result<(ScoreKind, Option<String>)> {
        let rows = Some(0..self.rows().min(BATCH as u64));
        let batches: Vec<RecordBatch> = self
            .table
            .scan(Scan { rows, batch_rows: BATCH, ..Scan::of(&[SCORES]) })?
            .collect::<storage::Result<_>>()?;
        let lists: Vec<(usize, Lists<'_, Float32Type>)> = batches
            .iter()
            .map(|batch| Ok((batch.num_rows(), Lists::of(batch, SCORES)?)))
            .collect::<Result<_>>()?;
        let rows: Vec<&[f32]> =
            lists.iter().flat_map(|(rows, list)| (0..*rows).map(|i| list.row(i))).collect();
        ScoreKind::of(&rows, self.declared.scores)
    }

    /// Calls `take` with the domain and the choice of every row, in row order.
    ///
    /// # Errors
    /// A table that cannot be read, an error of `take`, or [`Error::Stopped`].
    pub fn each(
        &self,
        progress: &mut dyn Progress,
        mut take: impl FnMut(usize, &Choice<'_>) -> Result<()>,
    ) -> Result<()> {
        self.batches(progress, |batch| {
            let rows = Rows::of(batch)?;
            let mut last = None;
            for i in 0..rows.len() {
                let choice = rows.choice(i);
                let domain = match last {
                    Some((document, domain)) if document == choice.document => domain,
                    _ => self.domain_of(choice.document)?,
                };
                last = Some((choice.document, domain));
                take(domain, &choice)?;
            }
            Ok(())
        })
    }

    /// Calls `take` with every batch of the columns of a [`Choice`].
    fn batches(
        &self,
        progress: &mut dyn Progress,
        mut take: impl FnMut(&RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let batches = self.scan()?;
        progress.begin("experts", Some(self.rows()), "rows");
        std::thread::scope(|threads| {
            let (give, get) = sync_channel(WAITING);
            // Ends with the batches, or when the receiver is gone.
            threads.spawn(move || batches.into_iter().try_for_each(|batch| give.send(batch).map_err(drop)));
            let mut rows = 0;
            for batch in get {
                let batch = batch?;
                take(&batch)?;
                rows += batch.num_rows() as u64;
                advance(rows, progress)?;
            }
            Ok(())
        })
    }

    /// The columns of a [`Choice`], for a caller that walks through two tables at once.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub fn scan(&self) -> Result<storage::Batches> {
        let mut columns = vec![DOCUMENT, POSITION, TOKEN, LAYER, EXPERTS, WEIGHTS, ENTROPY];
        columns.extend(self.has_scores().then_some(SCORES));
        Ok(self.table.scan(Scan { batch_rows: BATCH, ..Scan::of(&columns) })?)
    }
}

fn advance(rows: u64, progress: &mut dyn Progress) -> Result<()> {
    progress.advance(rows, "");
    if progress.stop_requested() {
        return Err(Error::stopped(format!("{rows} rows of routing were read, nothing was written")));
    }
    Ok(())
}

/// A column of lists, checked.
struct Lists<'a, T: ArrowPrimitiveType> {
    offsets: &'a [i32],
    values: &'a [T::Native],
}

impl<'a, T: ArrowPrimitiveType> Lists<'a, T> {
    fn of(batch: &'a RecordBatch, name: &str) -> Result<Self> {
        let list: &ListArray = column::lists(batch, name)?;
        let values = list.values().as_primitive_opt::<T>().filter(|values| values.null_count() == 0);
        let values = values.ok_or_else(|| {
            Error::data(format!("routing: column `{name}` is not a list of numbers without nulls"))
        })?;
        Ok(Self { offsets: list.value_offsets(), values: values.values() })
    }

    fn row(&self, i: usize) -> &'a [T::Native] {
        &self.values[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }
}

/// A batch of the table's rows.
pub struct Rows<'a> {
    documents: &'a [u32],
    positions: &'a [u32],
    tokens: &'a [u32],
    layers: &'a [u16],
    entropies: &'a [f32],
    experts: Lists<'a, UInt32Type>,
    weights: Lists<'a, Float32Type>,
    scores: Option<Lists<'a, Float32Type>>,
}

impl<'a> Rows<'a> {
    /// The columns, checked.
    ///
    /// # Errors
    /// A column that is missing or of a different type, with its name.
    pub fn of(batch: &'a RecordBatch) -> Result<Self> {
        let numbers = |name| column::primitive::<UInt32Type>(batch, name).map(|c| &c.values()[..]);
        let scores = batch.column_by_name(SCORES).is_some();
        Ok(Self {
            documents: numbers(DOCUMENT)?,
            positions: numbers(POSITION)?,
            tokens: numbers(TOKEN)?,
            layers: column::primitive::<UInt16Type>(batch, LAYER)?.values(),
            entropies: column::primitive::<Float32Type>(batch, ENTROPY)?.values(),
            experts: Lists::of(batch, EXPERTS)?,
            weights: Lists::of(batch, WEIGHTS)?,
            scores: scores.then(|| Lists::of(batch, SCORES)).transpose()?,
        })
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Row `i`.
    pub fn choice(&self, i: usize) -> Choice<'a> {
        Choice {
            document: self.documents[i],
            position: self.positions[i],
            token: self.tokens[i],
            layer: self.layers[i],
            experts: self.experts.row(i),
            weights: self.weights.row(i),
            entropy: self.entropies[i],
            scores: self.scores.as_ref().map_or(&[], |scores| scores.row(i)),
        }
    }
}
