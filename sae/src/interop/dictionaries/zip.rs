//! Members of a zip file, as NumPy and PyTorch write them: stored or deflated, also beyond 4 GB.
//!
//! Nothing is unpacked to disk. What a member may take in memory is bounded by what it takes in the file.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use crate::{Error, Result};
use lm::model::Bytes;

/// A deflated member may be so many times as long as in the file, and [`SMALL`] more: weights hardly shrink, a bias of zeros does.
const RATIO: u64 = 20;
const SMALL: u64 = 16 << 20;
/// The end record and the longest comment after it.
const TAIL: u64 = 22 + 65_535;
/// Stands for a number that is in the extra field of 64 bits.
const WIDE: u64 = 0xffff_ffff;

/// An open zip file.
pub(super) struct Zip {
    bytes: Bytes,
    members: BTreeMap<String, Member>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    header: u64,
    packed: u64,
    unpacked: u64,
    deflated: bool,
}

impl Zip {
    /// Reads the list of members.
    ///
    /// # Errors
    /// A file that cannot be read or is not a whole zip file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = Bytes::open(path)?;
        let damaged = || {
            Error::format(path, "is not a whole zip file, which .npz, .pt and .pth files are")
                .with_remedy("download or copy it again; a .pt file of PyTorch before 1.6 has to be saved again by torch.save")
        };
        let (entries, at, size) = directory(&bytes).ok_or_else(damaged)?;
        if at.checked_add(size).is_none_or(|end| end > bytes.len()) {
            return Err(damaged());
        }
        let listed = bytes.read_vec(at, size)?;
        let members = members(&listed, entries).ok_or_else(damaged)?;
        Ok(Self { bytes, members })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.bytes.path()
    }

    /// The names of all members, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// The bytes of a member; `None` if there is none of that name.
    pub fn member(&self, name: &str) -> Option<Result<Vec<u8>>> {
        self.members.get(name).map(|member| self.read(name, *member))
    }

    fn read(&self, name: &str, member: Member) -> Result<Vec<u8>> {
        let problem = |what: &str| {
            Error::format(self.path(), format!("member `{name}` {what}"))
                .with_remedy("download or copy the file again")
        };
        let mut local = [0; 30];
        self.bytes.read_at(member.header, &mut local)?;
        if local[..4] != *b"PK\x03\x04" {
            return Err(problem("has no header where the directory says"));
        }
        let at = member.header + 30 + number(&local, 26, 2).unwrap_or(0) + number(&local, 28, 2).unwrap_or(0);
        if at.checked_add(member.packed).is_none_or(|end| end > self.bytes.len()) {
            return Err(problem("is cut off"));
        }
        if !member.deflated {
            return match member.packed == member.unpacked {
                true => self.bytes.read_vec(at, member.packed),
                false => Err(problem("is stored, but with two different lengths")),
            };
        }
        if member.unpacked > member.packed.saturating_mul(RATIO) + SMALL {
            return Err(problem(&format!(
                "unpacks from {} to {} bytes; weights do not shrink so far",
                member.packed, member.unpacked
            )));
        }
        let packed = self.bytes.read_vec(at, member.packed)?;
        // Grows with what is really there: the length that is promised may be a lie.
        let mut out = Vec::new();
        let mut reader = flate2::read::DeflateDecoder::new(packed.as_slice()).take(member.unpacked + 1);
        reader.read_to_end(&mut out).map_err(|e| problem(&format!("cannot be unpacked: {e}")))?;
        if out.len() as u64 != member.unpacked {
            return Err(problem("does not unpack to the length that the directory says"));
        }
        Ok(out)
    }
}

/// Number of members, first byte and length of the central directory.
fn directory(bytes: &Bytes) -> Option<(u64, u64, u64)> {
    let start = bytes.len().saturating_sub(TAIL);
    let tail = bytes.read_vec(start, bytes.len() - start).ok()?;
    let end = tail.windows(4).rposition(|w| w == b"PK\x05\x06")?;
    let record = &tail[end..];
    let (entries, size, at) = (number(record, 10, 2)?, number(record, 12, 4)?, number(record, 16, 4)?);
    if entries < 0xffff && size < WIDE && at < WIDE {
        return Some((entries, at, size));
    }
    let locator = tail.get(end.checked_sub(20)?..end)?;
    if locator[..4] != *b"PK\x06\x07" {
        return None;
    }
    let mut wide = [0; 56];
    bytes.read_at(number(locator, 8, 8)?, &mut wide).ok()?;
    (wide[..4] == *b"PK\x06\x06").then_some(())?;
    Some((number(&wide, 32, 8)?, number(&wide, 48, 8)?, number(&wide, 40, 8)?))
}

fn members(listed: &[u8], entries: u64) -> Option<BTreeMap<String, Member>> {
    let mut members = BTreeMap::new();
    let mut rest = listed;
    for _ in 0..entries {
        if rest.get(..4)? != b"PK\x01\x02" {
            return None;
        }
        let method = number(rest, 10, 2)?;
        let (mut packed, mut unpacked) = (number(rest, 20, 4)?, number(rest, 24, 4)?);
        let (name, extra, comment) = (number(rest, 28, 2)?, number(rest, 30, 2)?, number(rest, 32, 2)?);
        let mut header = number(rest, 42, 4)?;
        let text = rest.get(46..46 + name as usize)?;
        let fields = rest.get(46 + name as usize..46 + (name + extra) as usize)?;
        let mut wide = of_64_bits(fields).chunks_exact(8).map(|b| number(b, 0, 8));
        for value in [&mut unpacked, &mut packed, &mut header] {
            if *value == WIDE {
                *value = wide.next()??;
            }
        }
        if method == 0 || method == 8 {
            let member = Member { header, packed, unpacked, deflated: method == 8 };
            members.insert(String::from_utf8_lossy(text).into_owned(), member);
        }
        rest = rest.get(46 + (name + extra + comment) as usize..)?;
    }
    Some(members)
}

/// The content of the extra field with numbers of 64 bits.
fn of_64_bits(mut fields: &[u8]) -> &[u8] {
    while let (Some(kind), Some(length)) = (number(fields, 0, 2), number(fields, 2, 2)) {
        let Some(content) = fields.get(4..4 + length as usize) else { break };
        if kind == 1 {
            return content;
        }
        fields = &fields[4 + length as usize..];
    }
    &[]
}

/// A little-endian number of `width` bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}
