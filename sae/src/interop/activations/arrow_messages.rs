//! Messages of Arrow's stream format, one by one, checked against the length of the file before anything is
//! reserved for them.
//!
//! ```text
//! stream: message … end        message: FF FF FF FF | u32 size | flatbuffer [size] | body [bodyLength]        end: size 0
//! file:   ARROW1 00 00 … | stream | footer | i32 bytes of the footer | ARROW1
//! ```
//! A file (Feather version 2 is one) is read as the stream inside it; its footer, which lists the same
//! messages, is not needed.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use arrow::ipc::{CompressionType, MessageHeader, RecordBatch, root_as_message};

use crate::{Error, Result};

/// Begins and ends a file.
const MAGIC: &[u8; 6] = b"ARROW1";
/// Begins Feather's first version, which was not Arrow.
const FEATHER_1: &[u8; 4] = b"FEA1";
/// Begins a message; before Arrow 0.15 there was nothing.
const CONTINUATION: [u8; 4] = [0xFF; 4];
/// What the decoder reads as the end of a stream.
pub(super) const END: [u8; 8] = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
/// Bytes that one byte can stand for at most: an LZ4 block's longest match, a zstd block of 128 KiB in four
/// bytes.
const LZ4: u64 = 255;
const ZSTD: u64 = 1 << 15;

/// The messages of one file.
pub(super) struct Messages {
    path: PathBuf,
    file: File,
    /// Bytes that are left.
    left: u64,
}

impl Messages {
    /// Opens a stream or a file.
    ///
    /// # Errors
    /// [`Error::Io`]; a file that is Feather version 1, or that breaks off before its footer.
    pub fn open(path: &Path) -> Result<Self> {
        lm::pointer::refuse_file(path)?;
        let io = |e| Error::io(path, e);
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut messages = Self { path: path.to_path_buf(), file, left: length };
        let start = messages.take(length.min(8))?;
        if start.starts_with(FEATHER_1) {
            let remedy = "write it again with pyarrow.feather.write_feather(table, \"x.feather\")";
            return Err(Error::format(
                path,
                "is a Feather file of version 1, which is not Arrow; expected version 2",
            )
            .with_remedy(remedy));
        }
        file = messages.file;
        let (start, end) = if start.starts_with(MAGIC) {
            (first_message(&mut file).map_err(io)?, before_footer(&mut file, path, length)?)
        } else {
            (0, length)
        };
        file.seek(SeekFrom::Start(start)).map_err(io)?;
        Ok(Self { path: path.to_path_buf(), file, left: end.saturating_sub(start) })
    }

    /// The next message with its prefix and its body; None at the end.
    ///
    /// # Errors
    /// A message that reaches beyond the file or says that it unpacks to more than its bytes can.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        // What is shorter than a prefix is padding.
        if self.left < 4 {
            return Ok(None);
        }
        let mut size = self.take(4)?;
        if size == CONTINUATION {
            size = self.take(4)?;
        }
        let mut bytes = CONTINUATION.to_vec();
        bytes.extend(&size);
        let size = u64::from(u32::from_le_bytes([size[0], size[1], size[2], size[3]]));
        if size == 0 {
            return Ok(None);
        }
        let header = self.take(size)?;
        let message = root_as_message(&header).map_err(|e| self.damaged(&e.to_string()))?;
        let length = u64::try_from(message.bodyLength())
            .map_err(|_| self.damaged("a message has a body of fewer than 0 bytes"))?;
        let body = self.take(length)?;
        let batch = match message.header_type() {
            MessageHeader::RecordBatch => message.header_as_record_batch(),
            MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|d| d.data()),
            _ => None,
        };
        batch.map_or(Ok(()), |batch| check_compression(batch, &body)).map_err(|text| self.damaged(&text))?;
        bytes.extend(&header);
        bytes.extend(body);
        Ok(Some(bytes))
    }

    fn take(&mut self, n: u64) -> Result<Vec<u8>> {
        if n > self.left {
            let text = format!("{n} bytes were expected where {} are left", self.left);
            return Err(self.damaged(&text));
        }
        let mut bytes = vec![0; n as usize];
        self.file.read_exact(&mut bytes).map_err(|e| Error::io(&self.path, e))?;
        self.left -= n;
        Ok(bytes)
    }

    fn damaged(&self, text: &str) -> Error {
        Error::format(&self.path, format!("is not an Arrow stream or file, or a damaged one: {text}"))
    }
}

/// Where the first message of a file begins: the magic is padded with zeros, to 8 bytes by pyarrow and to 64
/// by arrow-rs.
fn first_message(file: &mut File) -> std::io::Result<u64> {
    let mut padding = Vec::new();
    file.seek(SeekFrom::Start(8))?;
    file.take(64).read_to_end(&mut padding)?;
    let zeros = padding.iter().take_while(|byte| **byte == 0).count() as u64;
    Ok(8 + zeros / 8 * 8)
}

/// Where the footer of a file begins.
fn before_footer(file: &mut File, path: &Path, length: u64) -> Result<u64> {
    let io = |e| Error::io(path, e);
    let cut =
        || Error::format(path, "is a damaged Arrow file: it has no footer").with_remedy("copy it again");
    let mut tail = [0; 10];
    if length < 8 + tail.len() as u64 {
        return Err(cut());
    }
    file.seek(SeekFrom::End(-(tail.len() as i64))).and_then(|_| file.read_exact(&mut tail)).map_err(io)?;
    let footer = i32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    let end = u64::try_from(footer).ok().and_then(|footer| (length - tail.len() as u64).checked_sub(footer));
    end.filter(|end| *end >= 8 && tail[4..] == *MAGIC).ok_or_else(cut)
}

/// A compressed buffer says how long it is when it is unpacked, and the library makes room for that before it
/// looks.
fn check_compression(batch: RecordBatch<'_>, body: &[u8]) -> Result<(), String> {
    let Some(compression) = batch.compression() else { return Ok(()) };
    let most = if compression.codec() == CompressionType::LZ4_FRAME { LZ4 } else { ZSTD };
    for buffer in batch.buffers().iter().flatten() {
        let start = usize::try_from(buffer.offset()).unwrap_or(usize::MAX);
        let Some(prefix) = body.get(start..).and_then(|rest| rest.first_chunk::<8>()) else { continue };
        let (packed, unpacked) = (u64::try_from(buffer.length()).unwrap_or(0), i64::from_le_bytes(*prefix));
        // −1: stored as it is.
        if packed > 0 && unpacked > 0 && unpacked as u64 > packed.min(body.len() as u64).saturating_mul(most)
        {
            return Err(format!("a buffer of {packed} bytes says that it unpacks to {unpacked}"));
        }
    }
    Ok(())
}
