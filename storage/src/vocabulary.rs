//! Token → text: `vocabulary.parquet`.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray, UInt32Array};
use arrow::datatypes::UInt32Type;
use arrow::record_batch::RecordBatch;

use crate::column::{self, find, primitive, strings};
use crate::error::{Error, Result};
use crate::manifest::Part;
use crate::schema::TOKEN;
use crate::schema::vocabulary::{BYTES, TEXT};
use crate::table::{Scan, TableReader};
use crate::{Layout, PartWriter, schema};

/// The tokens in the order of their ids, as a batch of [`schema::vocabulary()`]: what each shows as, and its bytes.
pub fn to_batch(tokens: &[(String, Vec<u8>)]) -> Result<RecordBatch> {
    let ids = u32::try_from(tokens.len())
        .map_err(|_| Error::column(TOKEN, "at most 2^32 tokens", tokens.len().to_string()))?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(0..ids)),
        Arc::new(StringArray::from_iter_values(tokens.iter().map(|(text, _)| text))),
        Arc::new(BinaryArray::from_iter_values(tokens.iter().map(|(_, bytes)| bytes))),
    ];
    column::batch(schema::vocabulary(), columns)
}

/// Writes the tokens in the order of their ids as one file.
pub fn write(path: &Path, tokens: &[(String, Vec<u8>)]) -> Result<Part> {
    let mut part = PartWriter::create(path, schema::vocabulary(), &Layout::small_table())?;
    part.write(&to_batch(tokens)?)?;
    part.finish()
}

/// What each token shows as, by id.
pub fn read(reader: &TableReader) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    reader.each(Scan::of(&[TOKEN, TEXT]), |batch| {
        check_ids(batch, texts.len())?;
        texts.extend(strings(batch, TEXT)?);
        Ok(())
    })?;
    Ok(texts)
}

/// The bytes of each token, by id.
pub fn read_bytes(reader: &TableReader) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    reader.each(Scan::of(&[TOKEN, BYTES]), |batch| {
        check_ids(batch, all.len())?;
        let array = find(batch, BYTES)?;
        let bytes = array
            .as_binary_opt::<i32>()
            .ok_or_else(|| Error::column(BYTES, "Binary", array.data_type().to_string()))?;
        all.extend((0..bytes.len()).map(|row| bytes.value(row).to_vec()));
        Ok(())
    })?;
    Ok(all)
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
fn check_ids(batch: &RecordBatch, first: usize) -> Result<()> {
    let ids = primitive::<UInt32Type>(batch, TOKEN)?.values();
    match ids.iter().zip(first..).find(|&(&id, row)| id as usize != row) {
        Some((id, row)) => Err(Error::column(TOKEN, format!("id {row} in row {row}"), format!("id {id}"))),
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
