//! What a Parquet file may make its library reserve, checked before the library sees it.
//!
//! The library makes room for as many columns as an entry of the footer says, for as many bytes as a page
//! says that it unpacks to, and for as many values as a dictionary or a list says, before it looks whether
//! they are there. The footer and the headers of the pages are read here for that, and nothing else of them.
//! Every field must have its type (`parquet_shapes`): the library goes by the numbers of fields alone, so that
//! it would read different values in a damaged file than are checked here.

use std::path::Path;

use lm::model::Bytes;
use parquet::basic::{Compression, Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::parquet_shapes::{FILE, PAGE};
use super::thrift::{Fault, Reader};
use crate::{Error, Result};

/// Groups in groups of a schema; a list of lists has four.
const DEEPEST: usize = 64;
/// Values in lists that a byte of a page stands for at most, and those that a page may have besides. A run of
/// equal levels and values takes about six bytes per row however wide it is.
const VALUES_PER_BYTE: u64 = 4096;
const VALUES: u64 = 1 << 16;
/// Bytes of a page's header at first; statistics of long texts may make it longer.
const HEADER: u64 = 512;

/// Checks the footer.
///
/// # Errors
/// A file that is not Parquet, is encrypted, or has a footer that breaks off or describes more columns than
/// it has.
pub(super) fn check_footer(path: &Path) -> Result<()> {
    let bytes = Bytes::open(path)?;
    let mut tail = [0; 8];
    if bytes.len() < 12 {
        return Err(Error::format(path, "is not a Parquet file"));
    }
    bytes.read_at(bytes.len() - 8, &mut tail)?;
    let mut head = [0; 4];
    bytes.read_at(0, &mut head)?;
    match (&head, &tail[4..]) {
        (b"PAR1", b"PAR1") => {}
        (_, b"PARE") => return Err(Error::format(path, "is an encrypted Parquet file, which is not read")),
        (b"PAR1", _) => {
            return Err(damaged(path, "it has no footer").with_remedy("copy or write it again"));
        }
        _ => return Err(Error::format(path, "is not a Parquet file")),
    }
    let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let start = (bytes.len() - 8).checked_sub(length).filter(|start| *start >= 4);
    let start = start.ok_or_else(|| damaged(path, "its footer is longer than the file"))?;
    let footer = bytes.read_vec(start, length)?;
    Reader::new(&footer).conform(FILE).map_err(|fault| {
        damaged(
            path,
            match fault {
                Fault::Short => "its footer breaks off",
                Fault::Wrong => "its footer is not one of Parquet",
            },
        )
    })?;
    let mut children = Vec::new();
    let read = Reader::new(&footer).fields(&mut |reader, id, _| {
        if id != 2 {
            return Ok(false);
        }
        let (_, n) = reader.list()?;
        for _ in 0..n {
            children.push(children_of(reader)?);
        }
        Ok(true)
    });
    read.map_err(|_| damaged(path, "its footer breaks off"))?;
    check_schema(&children).map_err(|text| damaged(path, &text))
}

fn damaged(path: &Path, text: &str) -> Error {
    Error::format(path, format!("is a damaged Parquet file: {text}"))
}

/// The number of children of an element of the schema.
fn children_of(reader: &mut Reader<'_>) -> Result<i64, Fault> {
    let mut children = 0;
    reader.fields(&mut |reader, id, _| {
        if id != 5 {
            return Ok(false);
        }
        children = reader.integer()?;
        Ok(true)
    })?;
    Ok(children)
}

/// The elements are a tree, each before its children.
fn check_schema(children: &[i64]) -> Result<(), String> {
    // How many children of each open group are still to come.
    let mut open = Vec::new();
    for (i, &n) in children.iter().enumerate() {
        if i > 0 {
            let last = open
                .last_mut()
                .ok_or_else(|| format!("{i} of its {} columns have a place", children.len()))?;
            *last -= 1;
        }
        if n < 0 || n > (children.len() - i) as i64 {
            return Err(format!("a group of its columns says that it has {n} of {}", children.len()));
        }
        open.push(n);
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > DEEPEST {
            return Err("its columns are nested more than 64 deep".into());
        }
    }
    if open.is_empty() { Ok(()) } else { Err("its columns break off".into()) }
}

/// Checks the headers of the pages of the columns whose roots are `wanted`.
///
/// # Errors
/// A codec that is not read; pages that reach beyond their column, or say more of themselves than their bytes
/// can hold.
pub(super) fn check_pages(path: &Path, metadata: &ParquetMetaData, wanted: &[&str]) -> Result<()> {
    let bytes = Bytes::open(path)?;
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let parts = column.column_path().parts();
        if !parts.first().is_some_and(|root| wanted.contains(&root.as_str())) {
            continue;
        }
        let name = parts.join(".");
        let most = fold(column.compression()).ok_or_else(|| {
            let problem =
                format!("column {name} is compressed with {}, which is not read", column.compression());
            Error::format(path, problem).with_remedy("write it with zstd, snappy, gzip, lz4 or brotli")
        })?;
        check_column(&bytes, column, most)
            .map_err(|text| damaged(path, &format!("column {name}: {text}")))?;
    }
    Ok(())
}

/// Bytes that a byte of a page unpacks to at most; None for codecs that are not read.
fn fold(compression: Compression) -> Option<u64> {
    Some(match compression {
        Compression::UNCOMPRESSED => 1,
        // Copies of 64 bytes, written in two.
        Compression::SNAPPY => 64,
        Compression::LZ4 | Compression::LZ4_RAW => 255,
        Compression::GZIP(_) => 1032,
        // A block of 128 KiB in four bytes.
        Compression::ZSTD(_) => 1 << 15,
        // A megabyte of zeros takes a dozen bytes.
        Compression::BROTLI(_) => 1 << 18,
        Compression::LZO => return None,
    })
}

/// What the header of a page says.
#[derive(Debug, Default, Clone, Copy)]
struct Header {
    unpacked: i64,
    packed: i64,
    /// Values of a page of data.
    values: i64,
    /// Values of a dictionary.
    entries: i64,
}

fn check_column(bytes: &Bytes, column: &ColumnChunkMetaData, most: u64) -> Result<(), String> {
    let offset =
        column.dictionary_page_offset().filter(|at| *at > 0).unwrap_or_else(|| column.data_page_offset());
    let place = u64::try_from(offset).ok().zip(u64::try_from(column.compressed_size()).ok());
    let place = place.and_then(|(start, n)| Some((start, start.checked_add(n)?)));
    let (mut at, end) = place
        .filter(|(_, end)| *end <= bytes.len())
        .ok_or_else(|| format!("begins at {offset} and has {} bytes", column.compressed_size()))?;
    let least = least(column);
    let lists = column.column_descr().max_rep_level() > 0;
    while at < end {
        let (header, length) = header(bytes, at, end).map_err(|_| format!("a page at {at} has no header"))?;
        at += length;
        let [packed, unpacked, values, entries] =
            [header.packed, header.unpacked, header.values, header.entries]
                .map(u64::try_from)
                .map(Result::ok);
        let whole = packed.filter(|n| *n <= end - at).zip(unpacked).zip(values.zip(entries));
        let ((packed, unpacked), (values, entries)) = whole
            .ok_or_else(|| format!("a page at {at} has {} bytes; {} are left", header.packed, end - at))?;
        if unpacked > packed.saturating_mul(most) {
            return Err(format!("a page of {packed} bytes says that it unpacks to {unpacked}"));
        }
        if entries > unpacked / least {
            return Err(format!("a dictionary of {entries} values in {unpacked} bytes"));
        }
        if lists && values > VALUES + unpacked.saturating_mul(VALUES_PER_BYTE) {
            return Err(format!("a page of {values} values in {unpacked} bytes"));
        }
        at += packed;
    }
    Ok(())
}

/// Bytes that a value in a dictionary takes at least.
fn least(column: &ColumnChunkMetaData) -> u64 {
    match column.column_type() {
        Type::INT64 | Type::DOUBLE => 8,
        Type::INT96 => 12,
        Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(column.column_descr().type_length()).unwrap_or(0).max(1),
        Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY | Type::BOOLEAN => 4,
    }
}

/// The header of the page at `at`, and its length.
fn header(bytes: &Bytes, at: u64, end: u64) -> Result<(Header, u64), Fault> {
    let mut length = HEADER;
    loop {
        let some = length.min(end - at);
        let raw = bytes.read_vec(at, some).map_err(|_| Fault::Wrong)?;
        let mut reader = Reader::new(&raw);
        match page(&mut reader, &raw) {
            Ok(header) => return Ok((header, reader.at as u64)),
            Err(Fault::Short) if some < end - at => length *= 4,
            Err(fault) => return Err(fault),
        }
    }
}

fn page(reader: &mut Reader<'_>, raw: &[u8]) -> Result<Header, Fault> {
    Reader::new(raw).conform(PAGE)?;
    let mut header = Header::default();
    reader.fields(&mut |reader, id, _| {
        match id {
            2 => header.unpacked = reader.integer()?,
            3 => header.packed = reader.integer()?,
            5 | 8 => header.values = values(reader)?,
            7 => header.entries = values(reader)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(header)
}

/// The first field of the header of a page's kind.
fn values(reader: &mut Reader<'_>) -> Result<i64, Fault> {
    let mut values = 0;
    reader.fields(&mut |reader, id, _| {
        if id != 1 {
            return Ok(false);
        }
        values = reader.integer()?;
        Ok(true)
    })?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_a_tree() {
        // root(a, list(element), list(list(element)))
        assert_eq!(check_schema(&[3, 0, 1, 0, 1, 1, 0]), Ok(()));
        assert_eq!(check_schema(&[0]), Ok(()));
        for bad in [&[2, 0][..], &[1, 0, 0], &[1, -1], &[1, 1 << 30], &[4, 3, 2, 0, 0]] {
            assert!(check_schema(bad).is_err(), "{bad:?}");
        }
        assert!(check_schema(&[&[1; 100][..], &[0]].concat()).is_err(), "too deep");
    }
}
