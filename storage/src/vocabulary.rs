//! Token → text: `vocabulary.parquet`.

use std::path::Path;

use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::manifest::Part;
use crate::row::{self, row};
use crate::schema::TOKEN;
use crate::table::TableReader;

/// The file's name inside `features/`.
pub const FILE: &str = "vocabulary.parquet";

row! {
    /// One token, in the order of ids.
    #[derive(Eq)]
    TokenRow columns TokenColumns {
        /// Id of the token, which is its row number.
        token: u32,
        /// What it shows as; bytes that are not UTF-8 as ‹xx›.
        text: String,
        /// The bytes that it stands for.
        bytes: Vec<u8>,
    }
}

fn rows(tokens: &[(String, Vec<u8>)]) -> Result<Vec<TokenRow>> {
    let ids = u32::try_from(tokens.len())
        .map_err(|_| Error::column(TOKEN, "at most 2^32 tokens", tokens.len().to_string()))?;
    let row = |(token, (text, bytes)): (u32, &(String, Vec<u8>))| TokenRow {
        token,
        text: text.clone(),
        bytes: bytes.clone(),
    };
    Ok((0..ids).zip(tokens).map(row).collect())
}

/// The tokens in the order of their ids as a batch: what each shows as, and its bytes.
///
/// # Errors
/// When there are more than 2³² of them.
pub fn to_batch(tokens: &[(String, Vec<u8>)]) -> Result<RecordBatch> {
    row::batch(&rows(tokens)?)
}

/// Writes the tokens in the order of their ids as one file.
///
/// # Errors
/// When there are more than 2³² of them or the file cannot be written.
pub fn write(path: &Path, tokens: &[(String, Vec<u8>)]) -> Result<Part> {
    row::write(path, &rows(tokens)?)
}

/// What each token shows as, by id.
///
/// # Errors
/// When the table cannot be read or its rows are not in the order of ids.
pub fn read(reader: &TableReader) -> Result<Vec<String>> {
    let columns = TokenColumns::read(reader, &["token", "text"])?;
    check_ids(reader, &columns.token)?;
    Ok(columns.text)
}

/// The bytes of each token, by id.
///
/// # Errors
/// When the table cannot be read or its rows are not in the order of ids.
pub fn read_bytes(reader: &TableReader) -> Result<Vec<Vec<u8>>> {
    let columns = TokenColumns::read(reader, &["token", "bytes"])?;
    check_ids(reader, &columns.token)?;
    Ok(columns.bytes)
}

/// Row = id; anything else would show wrong words.
fn check_ids(reader: &TableReader, ids: &[u32]) -> Result<()> {
    match ids.iter().zip(0u32..).find(|&(&id, row)| id != row) {
        Some((id, row)) => {
            let error = Error::column(TOKEN, format!("id {row} in row {row}"), format!("id {id}"));
            Err(error.in_file(reader.path()))
        }
        None => Ok(()),
    }
}
