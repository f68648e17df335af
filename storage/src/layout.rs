//! How the bytes of a table lie in its file: row groups, pages, encodings.

use arrow::datatypes::{DataType, Schema};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, Encoding, LogicalType, Type as PhysicalType, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnDescriptor, ColumnPath, SchemaDescriptor};

use crate::schema;

/// Physical layout of a table. Use a preset.
///
/// The preset of activations was chosen from `examples/encodings.rs` (low-rank vectors with noise and three large
/// dimensions, 40 000 rows, 2 busy cores, so speeds are ± 30 %; sizes are exact). Size in per cent of the raw values,
/// reading in millions of values per second, for d = 128 / 640:
///
/// | stored as | f16: size | f16: read | f32: size | f32: read |
/// |---|---|---|---|---|
/// | plain | 102 / 100 % | 51 / 67 | 101 / 100 % | 155 / 51 |
/// | plain, zstd 1 | 92 / 92 % | 68 / 70 | 93 / 92 % | 85 / 43 |
/// | plain, zstd 3 | 92 / 92 % | 83 / 51 | 93 / 93 % | 104 / 54 |
/// | byte-stream-split, zstd 1 | 86 / 85 % | 89 / 53 | 85 / 84 % | 96 / 68 |
/// | byte-stream-split, zstd 3 | 86 / 85 % | 91 / 71 | 86 / 86 % | 96 / 63 |
///
/// So: zstd 1 (higher levels gain nothing), byte-stream-split for f32. It would pay for f16 too, but DuckDB (2.0.0) does
/// not read it there, and a table that opens everywhere is worth 7 %: f16 leaves are stored plain whatever is asked, and without
/// zstd, whatever the table above says of reading whole files: in a training on SmolLM2's rows (d 576) undoing it was
/// nearly half of what reading cost. Without it and with pages of 256 rows instead of 1024 the reader took 1.4 s of processor for
/// 522,240 rows instead of 3.3, for 8 % more disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// A row group is closed when it has about so many bytes.
    pub row_group_bytes: usize,
    /// … or so many rows.
    pub row_group_rows: usize,
    /// Rows of a page at most: the least that a reader can decode.
    pub page_rows: usize,
    /// zstd level, 1 to 22; 0 for no compression.
    pub zstd_level: i32,
    /// Leaf columns (`activation.list.element`) whose bytes are stored by significance if they are f32 or f64.
    pub byte_stream_split: Vec<String>,
    /// Integer leaf columns that are stored as differences.
    pub delta: Vec<String>,
    /// Columns by which the rows are sorted, ascending.
    pub sorting: Vec<String>,
}

impl Layout {
    /// Activations: read by the trainer in runs of 256 rows from all over the table, so pages of as many; of a page that is touched at
    /// all, everything is decoded.
    pub fn activations() -> Self {
        Self {
            row_group_bytes: 128 << 20,
            row_group_rows: 1 << 20,
            page_rows: 256,
            zstd_level: 1,
            byte_stream_split: vec!["activation.list.element".to_owned(), "gradient.list.element".to_owned()],
            delta: vec![schema::POSITION.to_owned()],
            sorting: vec![schema::DOCUMENT.to_owned(), schema::POSITION.to_owned()],
        }
    }

    /// Routing: read whole, or by document.
    pub fn routing() -> Self {
        Self {
            row_group_bytes: 64 << 20,
            row_group_rows: 1 << 20,
            page_rows: 16 << 10,
            zstd_level: 3,
            byte_stream_split: vec!["weights.list.element".to_owned(), crate::routing::ENTROPY.to_owned()],
            delta: Vec::new(),
            sorting: vec![schema::DOCUMENT.to_owned(), schema::POSITION.to_owned()],
        }
    }

    /// Tables sorted by feature, of which one feature is read at a time: row groups of 8192 rows.
    pub fn feature_rows() -> Self {
        Self {
            row_group_bytes: 64 << 20,
            row_group_rows: 8192,
            page_rows: 1024,
            zstd_level: 3,
            byte_stream_split: Vec::new(),
            delta: Vec::new(),
            sorting: vec![schema::FEATURE.to_owned()],
        }
    }

    /// The activations of features: as [`Layout::feature_rows`], with integers that ascend as differences. Against dictionaries and
    /// zstd 3 that is 18 % less disk and three quarters of the time to write (20 million activations of the embedded default).
    pub fn activation_rows() -> Self {
        Self {
            zstd_level: 1,
            byte_stream_split: vec!["value".to_owned()],
            delta: [schema::FEATURE, schema::DOCUMENT, schema::POSITION].map(str::to_owned).into(),
            ..Self::feature_rows()
        }
    }

    /// Tables sorted by token of the vocabulary, of which one token is read at a time.
    pub fn by_token() -> Self {
        Self { sorting: vec![schema::TOKEN.to_owned()], ..Self::feature_rows() }
    }

    /// Lists of a token in the order of the text, of which one document is read at a time.
    pub fn token_rows() -> Self {
        Self {
            row_group_bytes: 64 << 20,
            row_group_rows: 64 << 10,
            page_rows: 1024,
            zstd_level: 3,
            byte_stream_split: vec!["values.list.element".to_owned()],
            delta: vec![schema::POSITION.to_owned()],
            sorting: vec![schema::DOCUMENT.to_owned(), schema::POSITION.to_owned()],
        }
    }

    /// Tables of a few thousand rows that are read whole.
    pub fn small_table() -> Self {
        Self {
            row_group_bytes: 64 << 20,
            row_group_rows: 1 << 20,
            page_rows: 16 << 10,
            zstd_level: 3,
            byte_stream_split: Vec::new(),
            delta: Vec::new(),
            sorting: Vec::new(),
        }
    }

    /// The writer's properties for a table of this schema. Leaf columns that the table does not have are ignored.
    pub(crate) fn properties(&self, schema: &Schema) -> parquet::errors::Result<WriterProperties> {
        let leaves = ArrowSchemaConverter::new().convert(schema)?;
        let compression = match self.zstd_level {
            0 => Compression::UNCOMPRESSED,
            level => Compression::ZSTD(ZstdLevel::try_new(level)?),
        };
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("sae-workbench ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(compression)
            .set_max_row_group_row_count(Some(self.row_group_rows))
            .set_max_row_group_bytes(Some(self.row_group_bytes))
            .set_data_page_row_count_limit(self.page_rows)
            // Pages are cut by rows; this only bounds a page of very wide rows.
            .set_data_page_size_limit(16 << 20)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_sorting_columns(self.sorting_columns(&leaves));
        for leaf in leaves.columns() {
            let path = leaf.path().clone();
            let name = path.string();
            if self.byte_stream_split.contains(&name) && splits_everywhere(leaf.physical_type()) {
                properties = encode(properties, &path, Encoding::BYTE_STREAM_SPLIT);
            } else if self.delta.contains(&name) {
                properties = encode(properties, &path, Encoding::DELTA_BINARY_PACKED);
            } else if is_float(schema, &path) {
                properties = properties.set_column_dictionary_enabled(path.clone(), false);
            } else if leaf.physical_type() == PhysicalType::FIXED_LEN_BYTE_ARRAY {
                // Packed numbers: no two rows are equal, and none is smaller.
                properties = properties
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
            }
            if is_half(leaf) {
                properties = properties.set_column_compression(path.clone(), Compression::UNCOMPRESSED);
            }
            // Nobody asks for the range of one component of a vector.
            if path.parts().len() > 1 {
                properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
            }
        }
        Ok(properties.build())
    }

    fn sorting_columns(&self, leaves: &SchemaDescriptor) -> Option<Vec<SortingColumn>> {
        let index = |name: &String| leaves.columns().iter().position(|leaf| leaf.path().string() == *name);
        let columns: Option<Vec<_>> = self
            .sorting
            .iter()
            .map(|name| {
                let column_idx = i32::try_from(index(name)?).ok()?;
                Some(SortingColumn { column_idx, descending: false, nulls_first: false })
            })
            .collect();
        columns.filter(|columns| !columns.is_empty())
    }
}

type Builder = parquet::file::properties::WriterPropertiesBuilder;

fn encode(properties: Builder, path: &ColumnPath, encoding: Encoding) -> Builder {
    properties.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path.clone(), encoding)
}

/// Parquet allows byte-stream-split for f16 too, but DuckDB (2.0.0) does not read it: such a leaf is stored plain.
fn splits_everywhere(physical: PhysicalType) -> bool {
    matches!(physical, PhysicalType::FLOAT | PhysicalType::DOUBLE)
}

/// f16 is stored without zstd; see [`Layout`].
fn is_half(leaf: &ColumnDescriptor) -> bool {
    leaf.logical_type_ref() == Some(&LogicalType::Float16)
}

/// Floating point values hardly ever repeat: a dictionary of them only costs.
fn is_float(schema: &Schema, path: &ColumnPath) -> bool {
    fn leaf<'a>(data_type: &'a DataType, path: &[String]) -> &'a DataType {
        match (data_type, path) {
            (DataType::List(inner) | DataType::FixedSizeList(inner, _), [_, _, rest @ ..]) => {
                leaf(inner.data_type(), rest)
            }
            (DataType::Struct(fields), [name, rest @ ..]) => match fields.find(name) {
                Some((_, field)) => leaf(field.data_type(), rest),
                None => data_type,
            },
            _ => data_type,
        }
    }
    let parts = path.parts();
    parts
        .first()
        .and_then(|name| schema.field_with_name(name).ok())
        .is_some_and(|field| leaf(field.data_type(), &parts[1..]).is_floating())
}
