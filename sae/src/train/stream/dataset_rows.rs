//! Training rows of a dataset on disk.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use storage::documents::DocumentRow;
use storage::schema::ACTIVATIONS;
use storage::schema::activations::{ACTIVATION, GRADIENT};
use storage::{Dataset, TableReader};

use super::rows::RowSource;
use crate::synth::generated::GeneratedRows;
use crate::synth::loss::PlantedLoss;
use crate::{Error, Result, rows};

/// Ranges asked of the table at once: what is decoded for them is in memory besides the pool.
pub const RANGES_AT_ONCE: usize = 16;

/// Where activations are.
#[derive(Debug, Clone)]
enum Stored {
    OnDisk(TableReader),
    /// Nowhere: a made world gives them.
    Generated(GeneratedRows),
    /// The same with the gradients of its loss.
    Planted(GeneratedRows, Arc<PlantedLoss>),
}

/// The activations of a dataset, and their gradients next to them if they are wanted.
#[derive(Debug, Clone)]
pub struct DatasetRows {
    path: PathBuf,
    stored: Stored,
    documents: Vec<DocumentRow>,
    d: usize,
    with_gradients: bool,
}

impl DatasetRows {
    /// The activations of `dataset`.
    ///
    /// # Errors
    /// A dataset without activations, or whose documents cannot be read.
    pub fn open(dataset: &Dataset) -> Result<Self> {
        let stored = match GeneratedRows::of(dataset)? {
            Some(generated) => Stored::Generated(generated),
            None => Stored::OnDisk(dataset.table(ACTIVATIONS)?),
        };
        let documents = rows::documents(dataset)?.into_iter().map(|(row, _)| row).collect();
        let (path, d) = (dataset.path().to_path_buf(), dataset.manifest().d_model);
        Ok(Self { path, stored, documents, d, with_gradients: false })
    }

    /// Reads gradients too, which `method` needs; an error if the dataset has none.
    ///
    /// # Errors
    /// A dataset without gradients.
    pub fn with_gradients(mut self, method: &str) -> Result<Self> {
        let missing = |how: &str| {
            let path = self.path.display();
            Error::request(format!("{path} has no gradients, which method {method} selects by"))
                .with_remedy(format!("{how}, or train with a different method"))
        };
        match &self.stored {
            Stored::OnDisk(table) if !table.has_column(GRADIENT) => {
                return Err(missing("harvest it again with --gradients"));
            }
            Stored::OnDisk(_) | Stored::Planted(..) => {}
            Stored::Generated(rows) => {
                let loss = rows.loss();
                let loss =
                    loss.ok_or_else(|| missing("write it again with `sae synth rows --generate --loss`"))?;
                self.stored = Stored::Planted(rows.clone(), Arc::new(loss));
            }
        }
        self.with_gradients = true;
        Ok(self)
    }

    /// Rows of documents that are not held out, ascending; neighbours are joined.
    pub fn training_ranges(&self) -> Vec<Range<u64>> {
        self.ranges(false)
    }

    /// Rows of documents that are held out.
    pub fn held_out_ranges(&self) -> Vec<Range<u64>> {
        self.ranges(true)
    }

    fn ranges(&self, held_out: bool) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = self
            .documents
            .iter()
            .filter(|document| document.held_out == held_out && document.tokens > 0)
            .map(|document| document.first_row..document.first_row + u64::from(document.tokens))
            .collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        joined
    }
}

impl DatasetRows {
    /// An error unless row i of `other` is of the same token as row i of this, for all rows.
    ///
    /// # Errors
    /// Datasets whose documents, or what of them is held out, differ.
    pub fn must_be_aligned(&self, other: &Self) -> Result<()> {
        let shape = |rows: &Self| -> Vec<(u64, u32, bool)> {
            rows.documents.iter().map(|d| (d.first_row, d.tokens, d.held_out)).collect()
        };
        let names = self.documents.iter().zip(&other.documents).all(|(a, b)| a.name == b.name);
        if names && shape(self) == shape(other) {
            return Ok(());
        }
        Err(Error::request(format!(
            "{} and {} do not hold the same tokens, so one cannot be the target of the other",
            self.path.display(),
            other.path.display()
        ))
        .with_remedy("harvest both hooks in one pass: sae harvest --hook HOOK --hook TARGET-HOOK"))
    }
}

/// Rows of a dataset, each followed by the row of the same token of a second one, and by its gradient if that one has gradients.
#[derive(Debug, Clone)]
pub struct PairedRows {
    /// Inputs.
    pub inputs: DatasetRows,
    /// Their targets, of the same width.
    pub targets: DatasetRows,
}

impl RowSource for PairedRows {
    fn width(&self) -> usize {
        self.inputs.d + self.targets.width()
    }

    fn read(&mut self, ranges: &[Range<u64>], out: &mut Vec<f32>) -> Result<()> {
        out.clear();
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        // A few ranges at a time: both halves are in memory besides the pool.
        for some in ranges.chunks(RANGES_AT_ONCE) {
            self.inputs.read(some, &mut inputs)?;
            self.targets.read(some, &mut targets)?;
            let width = self.targets.width();
            push_pairs((&inputs, self.inputs.d), (&targets, width), out);
        }
        Ok(())
    }

    fn name(&self, column: usize) -> String {
        let d = self.inputs.d;
        match column.checked_sub(d) {
            None => format!("activation {column}"),
            Some(column) if column < d => format!("target {column}"),
            Some(column) => format!("gradient {} of the target", column - d),
        }
    }

    fn describe(&mut self, row: u64) -> String {
        self.inputs.describe(row)
    }
}

/// Puts each row of `a` and the row of `b` of the same number one after the other into `out`; both come with their widths.
fn push_pairs((a, a_width): (&[f32], usize), (b, b_width): (&[f32], usize), out: &mut Vec<f32>) {
    for (a, b) in a.chunks_exact(a_width).zip(b.chunks_exact(b_width)) {
        out.extend_from_slice(a);
        out.extend_from_slice(b);
    }
}

impl RowSource for DatasetRows {
    fn width(&self) -> usize {
        if self.with_gradients { 2 * self.d } else { self.d }
    }

    fn read(&mut self, ranges: &[Range<u64>], out: &mut Vec<f32>) -> Result<()> {
        let rows: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        out.clear();
        out.reserve(rows as usize * self.width());
        let table = match &self.stored {
            Stored::OnDisk(table) => table,
            Stored::Planted(generated, loss) => {
                for range in ranges {
                    let (activations, gradients) = generated.with_gradients(range.clone(), loss);
                    push_pairs((&activations, self.d), (&gradients, self.d), out);
                }
                return Ok(());
            }
            Stored::Generated(generated) => {
                ranges.iter().for_each(|range| out.extend(generated.activations(range.clone())));
                return Ok(());
            }
        };
        let columns: &[&str] = if self.with_gradients { &[ACTIVATION, GRADIENT] } else { &[ACTIVATION] };
        let (mut activations, mut gradients) = (Vec::new(), Vec::new());
        for some in ranges.chunks(RANGES_AT_ONCE) {
            for batch in table.take(some, columns)? {
                if !self.with_gradients {
                    storage::vector::fixed_size_rows(&batch, ACTIVATION, out)?;
                    continue;
                }
                activations.clear();
                gradients.clear();
                storage::vector::fixed_size_rows(&batch, ACTIVATION, &mut activations)?;
                storage::vector::fixed_size_rows(&batch, GRADIENT, &mut gradients)?;
                push_pairs((&activations, self.d), (&gradients, self.d), out);
            }
        }
        if out.len() != rows as usize * self.width() {
            return Err(Error::format(
                &self.path,
                format!("{rows} rows of width {} were asked for, {} numbers came", self.width(), out.len()),
            ));
        }
        Ok(())
    }

    fn name(&self, column: usize) -> String {
        if column < self.d { format!("activation {column}") } else { format!("gradient {}", column - self.d) }
    }

    fn describe(&mut self, row: u64) -> String {
        let holds = |d: &&DocumentRow| (d.first_row..d.first_row + u64::from(d.tokens)).contains(&row);
        let dataset = self.path.display();
        match self.documents.iter().find(holds) {
            Some(document) => format!(
                "document {} ({}), position {}, of {dataset} (row {row})",
                document.document,
                document.name,
                row - document.first_row
            ),
            None => format!("row {row} of {dataset}"),
        }
    }
}
