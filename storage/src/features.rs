//! The feature table: `features/features.parquet`, one row a feature.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, Float32Array, PrimitiveArray, StringArray, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::{Float32Type, SchemaRef, UInt32Type, UInt64Type};
use arrow::record_batch::RecordBatch;

use crate::column::{self, booleans, primitive, spans, strings_or_null, texts, vectors};
use crate::error::Result;
use crate::manifest::Part;
use crate::schema::features as names;
use crate::schema::{FEATURE, TOKEN};
use crate::table::{Scan, TableReader};
use crate::{Layout, PartWriter, schema};

/// Everything about one feature.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeatureRow {
    /// Its number.
    pub feature: u32,
    /// Tokens it fired on.
    pub count: u64,
    /// count / tokens.
    pub density: f32,
    /// Mean activation over the tokens it fired on.
    pub mean: f32,
    /// Strongest activation.
    pub max: f32,
    /// Never fired.
    pub dead: bool,
    /// b_enc.
    pub bias: f32,
    /// Norm of its encoder column.
    pub encoder_norm: f32,
    /// Norm of its decoder row.
    pub decoder_norm: f32,
    /// Cosine of the two.
    pub encoder_decoder_cosine: f32,
    /// Counts in equal bins over (0, max].
    pub histogram: Vec<u32>,
    /// Its first row in `features/activations`.
    pub first_row: u64,
    /// Its most frequent tokens: (token, count).
    pub fires_on: Vec<(u32, u32)>,
    /// Tokens that it makes likelier: (token, logit).
    pub top_logits: Vec<(u32, f32)>,
    /// Tokens that it makes less likely: (token, logit).
    pub bottom_logits: Vec<(u32, f32)>,
    /// Tokens in equal bins from the smallest logit to the largest; empty where there are no logits, and in an index of an older version.
    pub logit_histogram: Vec<u32>,
    /// Nearest decoder rows: (feature, cosine).
    pub neighbours: Vec<(u32, f32)>,
    /// Features that fire on the same tokens: (feature, count, lift).
    pub coactive: Vec<(u32, u32, f32)>,
    /// What somebody called it.
    pub label: Option<String>,
}

/// Rows that are gathered before they are written.
const BATCH: usize = 1024;

/// Writes `features.parquet`.
#[derive(Debug)]
pub struct FeatureWriter {
    part: PartWriter,
    schema: SchemaRef,
    waiting: Vec<FeatureRow>,
}

impl FeatureWriter {
    /// Begins the file.
    pub fn create(path: &Path) -> Result<Self> {
        let schema = schema::features();
        let part = PartWriter::create(path, schema.clone(), &Layout::feature_rows())?;
        Ok(Self { part, schema, waiting: Vec::new() })
    }

    /// Appends the next feature.
    pub fn append(&mut self, row: FeatureRow) -> Result<()> {
        self.waiting.push(row);
        if self.waiting.len() == BATCH { self.flush() } else { Ok(()) }
    }

    /// Writes what waits and closes the file.
    pub fn finish(mut self) -> Result<Part> {
        self.flush()?;
        self.part.finish()
    }

    fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        self.part.write(&to_batch(&self.schema, &rows)?)
    }
}

/// Reads whole rows by row number, which is the feature's number.
pub fn read(reader: &TableReader, rows: Range<u64>) -> Result<Vec<FeatureRow>> {
    let mut found = Vec::new();
    reader.each(Scan { rows: Some(rows), ..Scan::default() }, |batch| from_batch(batch, &mut found))?;
    Ok(found)
}

/// The columns of single numbers, and the labels: enough to sort, filter and search. One value a feature.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScalarColumns {
    /// Numbers of the features.
    pub feature: Vec<u32>,
    /// Tokens it fired on.
    pub count: Vec<u64>,
    /// count / tokens.
    pub density: Vec<f32>,
    /// Mean over the tokens it fired on.
    pub mean: Vec<f32>,
    /// Strongest activation.
    pub max: Vec<f32>,
    /// Never fired.
    pub dead: Vec<bool>,
    /// b_enc.
    pub bias: Vec<f32>,
    /// Norm of the encoder column.
    pub encoder_norm: Vec<f32>,
    /// Norm of the decoder row.
    pub decoder_norm: Vec<f32>,
    /// Cosine of the two.
    pub encoder_decoder_cosine: Vec<f32>,
    /// First row in `features/activations`.
    pub first_row: Vec<u64>,
    /// What somebody called it.
    pub label: Vec<Option<String>>,
}

/// The columns that [`scalar_columns`] reads.
const SCALARS: [&str; 12] = [
    FEATURE,
    names::COUNT,
    names::DENSITY,
    names::MEAN,
    names::MAX,
    names::DEAD,
    names::BIAS,
    names::ENCODER_NORM,
    names::DECODER_NORM,
    names::ENCODER_DECODER_COSINE,
    names::FIRST_ROW,
    names::LABEL,
];

/// Reads the columns of single numbers in one streamed pass; lists are not touched.
pub fn scalar_columns(reader: &TableReader) -> Result<ScalarColumns> {
    let mut all = ScalarColumns::default();
    reader.each(Scan::of(&SCALARS), |batch| {
        all.feature.extend_from_slice(primitive::<UInt32Type>(batch, FEATURE)?.values());
        all.count.extend_from_slice(primitive::<UInt64Type>(batch, names::COUNT)?.values());
        all.first_row.extend_from_slice(primitive::<UInt64Type>(batch, names::FIRST_ROW)?.values());
        all.dead.extend(booleans(batch, names::DEAD)?.values().iter());
        let floats: [(&mut Vec<f32>, &str); 7] = [
            (&mut all.density, names::DENSITY),
            (&mut all.mean, names::MEAN),
            (&mut all.max, names::MAX),
            (&mut all.bias, names::BIAS),
            (&mut all.encoder_norm, names::ENCODER_NORM),
            (&mut all.decoder_norm, names::DECODER_NORM),
            (&mut all.encoder_decoder_cosine, names::ENCODER_DECODER_COSINE),
        ];
        for (values, name) in floats {
            values.extend_from_slice(primitive::<Float32Type>(batch, name)?.values());
        }
        all.label.extend(strings_or_null(&texts(batch, names::LABEL)?));
        Ok(())
    })?;
    Ok(all)
}

fn to_batch(schema: &SchemaRef, rows: &[FeatureRow]) -> Result<RecordBatch> {
    let floats = |get: fn(&FeatureRow) -> f32| -> ArrayRef {
        Arc::new(Float32Array::from_iter_values(rows.iter().map(get)))
    };
    let longs = |get: fn(&FeatureRow) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(get)))
    };
    let columns = vec![
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.feature))) as ArrayRef,
        longs(|row| row.count),
        floats(|row| row.density),
        floats(|row| row.mean),
        floats(|row| row.max),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.dead)))),
        floats(|row| row.bias),
        floats(|row| row.encoder_norm),
        floats(|row| row.decoder_norm),
        floats(|row| row.encoder_decoder_cosine),
        histogram(schema, names::HISTOGRAM, rows, |row| &row.histogram)?,
        longs(|row| row.first_row),
        pairs::<UInt32Type>(schema, names::FIRES_ON, rows, |row| &row.fires_on)?,
        pairs::<Float32Type>(schema, names::TOP_LOGITS, rows, |row| &row.top_logits)?,
        pairs::<Float32Type>(schema, names::BOTTOM_LOGITS, rows, |row| &row.bottom_logits)?,
        histogram(schema, names::LOGIT_HISTOGRAM, rows, |row| &row.logit_histogram)?,
        pairs::<Float32Type>(schema, names::NEIGHBOURS, rows, |row| &row.neighbours)?,
        coactive(schema, rows)?,
        Arc::new(rows.iter().map(|row| row.label.as_deref()).collect::<StringArray>()),
    ];
    column::batch(schema.clone(), columns)
}

fn histogram(
    schema: &SchemaRef,
    name: &str,
    rows: &[FeatureRow],
    get: fn(&FeatureRow) -> &[u32],
) -> Result<ArrayRef> {
    let values = rows.iter().flat_map(|row| get(row).iter().copied());
    let data_type = column::type_of(schema, name)?.data_type();
    let values = Arc::new(UInt32Array::from_iter_values(values));
    column::list_column(name, data_type, values, rows.iter().map(|row| get(row).len()))
}

/// (token or feature, number).
type Pairs<T> = Vec<(u32, <T as ArrowPrimitiveType>::Native)>;

/// A column of lists of (u32, number).
fn pairs<T: ArrowPrimitiveType>(
    schema: &SchemaRef,
    name: &str,
    rows: &[FeatureRow],
    get: fn(&FeatureRow) -> &Pairs<T>,
) -> Result<ArrayRef> {
    let data_type = column::type_of(schema, name)?.data_type();
    let first = UInt32Array::from_iter_values(rows.iter().flat_map(get).map(|pair| pair.0));
    let second = PrimitiveArray::<T>::from_iter_values(rows.iter().flat_map(get).map(|pair| pair.1));
    let values = column::struct_values(name, data_type, vec![Arc::new(first), Arc::new(second)])?;
    column::list_column(name, data_type, values, rows.iter().map(|row| get(row).len()))
}

fn coactive(schema: &SchemaRef, rows: &[FeatureRow]) -> Result<ArrayRef> {
    let name = names::COACTIVE;
    let data_type = column::type_of(schema, name)?.data_type();
    let all = || rows.iter().flat_map(|row| &row.coactive);
    let values = column::struct_values(
        name,
        data_type,
        vec![
            Arc::new(UInt32Array::from_iter_values(all().map(|entry| entry.0))),
            Arc::new(UInt32Array::from_iter_values(all().map(|entry| entry.1))),
            Arc::new(Float32Array::from_iter_values(all().map(|entry| entry.2))),
        ],
    )?;
    column::list_column(name, data_type, values, rows.iter().map(|row| row.coactive.len()))
}

/// Each row's list of (u32, number).
fn read_pairs<T: ArrowPrimitiveType>(
    batch: &RecordBatch,
    name: &str,
    first: &str,
    second: &str,
) -> Result<Vec<Pairs<T>>> {
    let (list, structs) = column::structs(batch, name)?;
    let first = column::field::<UInt32Type>(structs, name, first)?;
    let second = column::field::<T>(structs, name, second)?;
    let row = |span: Range<usize>| span.map(|i| (first[i], second[i])).collect();
    Ok(spans(list).map(row).collect())
}

fn read_coactive(batch: &RecordBatch) -> Result<Vec<Vec<(u32, u32, f32)>>> {
    let name = names::COACTIVE;
    let (list, structs) = column::structs(batch, name)?;
    let feature = column::field::<UInt32Type>(structs, name, FEATURE)?;
    let count = column::field::<UInt32Type>(structs, name, names::COUNT)?;
    let lift = column::field::<Float32Type>(structs, name, names::LIFT)?;
    let row = |span: Range<usize>| span.map(|i| (feature[i], count[i], lift[i])).collect();
    Ok(spans(list).map(row).collect())
}

fn from_batch(batch: &RecordBatch, rows: &mut Vec<FeatureRow>) -> Result<()> {
    let float = |name: &str| primitive::<Float32Type>(batch, name);
    let (density, mean, max) = (float(names::DENSITY)?, float(names::MEAN)?, float(names::MAX)?);
    let (bias, cosine) = (float(names::BIAS)?, float(names::ENCODER_DECODER_COSINE)?);
    let (encoder_norm, decoder_norm) = (float(names::ENCODER_NORM)?, float(names::DECODER_NORM)?);
    let feature = primitive::<UInt32Type>(batch, FEATURE)?;
    let count = primitive::<UInt64Type>(batch, names::COUNT)?;
    let first_row = primitive::<UInt64Type>(batch, names::FIRST_ROW)?;
    let dead = booleans(batch, names::DEAD)?;
    let labels = texts(batch, names::LABEL)?;
    let mut histogram = vectors::<UInt32Type>(batch, names::HISTOGRAM)?;
    let mut fires_on = read_pairs::<UInt32Type>(batch, names::FIRES_ON, TOKEN, names::COUNT)?;
    let mut top = read_pairs::<Float32Type>(batch, names::TOP_LOGITS, TOKEN, names::LOGIT)?;
    let mut bottom = read_pairs::<Float32Type>(batch, names::BOTTOM_LOGITS, TOKEN, names::LOGIT)?;
    let mut logit_histogram = match batch.column_by_name(names::LOGIT_HISTOGRAM) {
        Some(_) => vectors::<UInt32Type>(batch, names::LOGIT_HISTOGRAM)?,
        None => vec![Vec::new(); batch.num_rows()],
    };
    let mut neighbours = read_pairs::<Float32Type>(batch, names::NEIGHBOURS, FEATURE, names::COSINE)?;
    let mut coactive = read_coactive(batch)?;
    let mut label: Vec<Option<String>> = strings_or_null(&labels).collect();
    for i in 0..batch.num_rows() {
        rows.push(FeatureRow {
            feature: feature.value(i),
            count: count.value(i),
            density: density.value(i),
            mean: mean.value(i),
            max: max.value(i),
            dead: dead.value(i),
            bias: bias.value(i),
            encoder_norm: encoder_norm.value(i),
            decoder_norm: decoder_norm.value(i),
            encoder_decoder_cosine: cosine.value(i),
            histogram: std::mem::take(&mut histogram[i]),
            first_row: first_row.value(i),
            fires_on: std::mem::take(&mut fires_on[i]),
            top_logits: std::mem::take(&mut top[i]),
            bottom_logits: std::mem::take(&mut bottom[i]),
            logit_histogram: std::mem::take(&mut logit_histogram[i]),
            neighbours: std::mem::take(&mut neighbours[i]),
            coactive: std::mem::take(&mut coactive[i]),
            label: label[i].take(),
        });
    }
    Ok(())
}

/// Reads every feature's nearest decoder rows with their cosines, and nothing else.
pub fn neighbours(reader: &TableReader) -> Result<Vec<Vec<(u32, f32)>>> {
    let mut all = Vec::new();
    reader.each(Scan::of(&[names::NEIGHBOURS]), |batch| {
        all.extend(read_pairs::<Float32Type>(batch, names::NEIGHBOURS, FEATURE, names::COSINE)?);
        Ok(())
    })?;
    Ok(all)
}
