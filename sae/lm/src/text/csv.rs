//! Records of a table of text: CSV or TSV with a line of names.

use std::io::BufRead;
use std::path::Path;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::TextOptions;
use super::reader::{Records, damaged};
use super::record::{Record, Value};
use crate::Result;

/// Reads row after row; quotes and line ends inside them are `csv-core`'s to know.
struct Rows {
    bytes: Box<dyn BufRead + Send>,
    reader: Reader,
    /// The fields of a row one after another, and where each ends.
    fields: Vec<u8>,
    ends: Vec<usize>,
}

impl Rows {
    /// The fields of the next row; None after the last.
    fn next(&mut self) -> std::io::Result<Option<Vec<Vec<u8>>>> {
        let (mut filled, mut count) = (0, 0);
        loop {
            let input = self.bytes.fill_buf()?;
            let (state, read, written, ended) =
                self.reader.read_record(input, &mut self.fields[filled..], &mut self.ends[count..]);
            self.bytes.consume(read);
            filled += written;
            count += ended;
            match state {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.fields.resize(2 * self.fields.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::Record => {
                    let starts = std::iter::once(0).chain(self.ends.iter().copied());
                    let places = starts.zip(&self.ends[..count]);
                    return Ok(Some(places.map(|(from, &to)| self.fields[from..to].to_vec()).collect()));
                }
            }
        }
    }
}

/// The rows of a table whose fields `separator` divides.
pub(super) fn rows(
    bytes: Box<dyn BufRead + Send>,
    path: &Path,
    separator: u8,
    options: &TextOptions,
) -> Result<Records> {
    let reader = ReaderBuilder::new().delimiter(separator).build();
    let mut rows = Rows { bytes, reader, fields: vec![0; 1 << 12], ends: vec![0; 16] };
    let header = rows.next().map_err(|e| damaged(path, &e))?.unwrap_or_default();
    let names: Vec<String> = header.iter().map(|n| String::from_utf8_lossy(n).trim().to_owned()).collect();
    let (path, options) = (path.to_path_buf(), options.clone());
    let mut number = 0;
    Ok(Box::new(std::iter::from_fn(move || {
        let row = match rows.next() {
            Ok(row) => row?,
            Err(error) => return Some(Err(damaged(&path, &error))),
        };
        number += 1;
        // A row that is shorter than the line of names lacks the last fields.
        let fields = names.iter().zip(&row).map(|(name, value)| {
            (name.clone(), if options.reads(name) { Value::text(value) } else { Value::Unread })
        });
        Some(Ok(Record { fields: fields.collect(), number, instead: None }))
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_long_fields_and_short_rows() {
        let long = "x".repeat(10_000);
        let names: Vec<String> = (0..40).map(|i| format!("c{i}")).collect();
        let text = format!("a,text,{}\r\n1,\"say \"\"hi\"\"\",\n\nlast\n2,{long}", names.join(","));
        let bytes: Box<dyn BufRead + Send> =
            Box::new(std::io::BufReader::with_capacity(7, std::io::Cursor::new(text)));
        let records = rows(bytes, Path::new("t.csv"), b',', &TextOptions::default()).unwrap();
        let texts: Vec<Option<String>> = records
            .map(|record| {
                record.unwrap().fields.into_iter().find_map(|(name, value)| match value {
                    Value::Text { text, .. } if name == "text" => Some(text),
                    _ => None,
                })
            })
            .collect();
        assert_eq!(texts, [Some("say \"hi\"".to_owned()), None, Some(long)]);
    }
}
