//! Token → text: `vocabulary.parquet`.

use std::path::Path;

use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::field::TOKEN;
use crate::manifest::Part;
use crate::row::{self, row};
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

/// What each of consecutive tokens shows as. A character whose bytes lie in several tokens is shown whole at the first of them, and
/// the others, which have nothing left to show, as `‹›`. Bytes that are not UTF-8 are shown as `‹e2›`.
///
/// ```
/// let tokens: [&[u8]; 3] = [b"a\xe5", b"\xa5", b"\xbd!"];
/// assert_eq!(storage::vocabulary::in_context(&tokens), ["a好", "‹›", "!"]);
/// ```
pub fn in_context(tokens: &[&[u8]]) -> Vec<String> {
    let bytes = tokens.concat();
    // Where each token ends in the bytes of all.
    let ends = tokens.iter().scan(0, |end, token| {
        *end += token.len();
        Some(*end)
    });
    let mut shown: Vec<(String, usize)> = ends.map(|end| (String::new(), end)).collect();
    let (mut at, mut token) = (0, 0);
    let mut put = |text: &str, length: usize| {
        while shown.get(token).is_some_and(|(_, end)| *end <= at) {
            token += 1;
        }
        if let Some((before, _)) = shown.get_mut(token) {
            before.push_str(text);
        }
        at += length;
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            put(c.encode_utf8(&mut [0; 4]), c.len_utf8());
        }
        for byte in chunk.invalid() {
            put(&format!("‹{byte:02x}›"), 1);
        }
    }
    let rest = |((text, _), token): ((String, usize), &&[u8])| {
        if text.is_empty() && !token.is_empty() { "‹›".to_owned() } else { text }
    };
    shown.into_iter().zip(tokens).map(rest).collect()
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

#[cfg(test)]
mod tests {
    use super::in_context;

    #[test]
    fn characters_cut_across_tokens_are_shown_whole() {
        let all = "né 好👩!".as_bytes();
        for width in 1..=all.len() {
            let tokens: Vec<&[u8]> = all.chunks(width).collect();
            let shown = in_context(&tokens);
            assert_eq!(shown.len(), tokens.len());
            assert_eq!(shown.concat().replace("‹›", ""), "né 好👩!", "{width}");
        }
        let tokens: [&[u8]; 4] = [b"a\xe5", b"b", b"", b"\xff\xa5"];
        assert_eq!(in_context(&tokens), ["a‹e5›", "b", "", "‹ff›‹a5›"]);
        assert!(in_context(&[]).is_empty());
    }
}
