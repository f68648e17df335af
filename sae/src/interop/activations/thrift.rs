//! Thrift's compact protocol, as far as Parquet's footers and page headers need it to be checked.
//!
//! ```text
//! struct: field … 00        field: delta << 4 | type, or type | zigzag id; then the value
//! list: n << 4 | type, or F << 4 | type | varint n; then the values        binary: varint n | bytes        integers: zigzag varints
//! ```

/// Structs in structs; Parquet has five.
const DEEPEST: usize = 32;

/// Types of values.
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// Why bytes cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// They end too early.
    Short,
    /// No value begins so.
    Wrong,
}

type Result<T, E = Fault> = std::result::Result<T, E>;

/// A place in bytes.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Bytes that were read.
    pub at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    fn byte(&mut self) -> Result<u8> {
        let byte = self.bytes.get(self.at).copied().ok_or(Fault::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Wrong)
    }

    /// An integer of any width.
    ///
    /// # Errors
    /// As every method here: [`Fault::Short`] and [`Fault::Wrong`].
    pub fn integer(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn pass(&mut self, n: u64) -> Result<()> {
        let left = (self.bytes.len() - self.at) as u64;
        if n > left {
            return Err(Fault::Short);
        }
        self.at += n as usize;
        Ok(())
    }

    /// The type and number of a list's values; each takes a byte at least.
    ///
    /// # Errors
    /// As [`Reader::integer`].
    pub fn list(&mut self) -> Result<(u8, usize)> {
        let head = self.byte()?;
        let n = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        if n > (self.bytes.len() - self.at) as u64 {
            return Err(Fault::Short);
        }
        Ok((head & 15, n as usize))
    }

    /// Reads a struct: `field` gets number and type of each field, and whether it read the value; what it
    /// left is skipped.
    ///
    /// # Errors
    /// As [`Reader::integer`], and structs inside each other more than 32 deep.
    pub fn fields(&mut self, field: &mut dyn FnMut(&mut Self, i64, u8) -> Result<bool>) -> Result<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Fault::Wrong);
        }
        let mut id = 0i64;
        loop {
            let head = self.byte()?;
            let (delta, kind) = (head >> 4, head & 15);
            if kind == 0 {
                self.depth -= 1;
                return Ok(());
            }
            // Numbers of fields have 16 bits, and the library cuts longer ones.
            id = if delta == 0 { i64::from(self.integer()? as i16) } else { id + i64::from(delta) };
            if !field(self, id, kind)? {
                self.skip(kind, false)?;
            }
        }
    }

    /// Passes over a value. Booleans of fields are in their types, those of lists are bytes.
    ///
    /// # Errors
    /// As [`Reader::fields`].
    pub fn skip(&mut self, kind: u8, in_list: bool) -> Result<()> {
        match kind {
            1 | 2 if !in_list => Ok(()),
            1..=3 => self.pass(1),
            4..=6 => self.varint().map(drop),
            7 => self.pass(8),
            BINARY => {
                let n = self.varint()?;
                self.pass(n)
            }
            LIST | SET => {
                let (kind, n) = self.list()?;
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err(Fault::Wrong);
                }
                (0..n).try_for_each(|_| self.skip(kind, true))?;
                self.depth -= 1;
                Ok(())
            }
            // Parquet has none.
            MAP => Err(Fault::Wrong),
            STRUCT => self.fields(&mut |_, _, _| Ok(false)),
            13 => self.pass(16),
            _ => Err(Fault::Wrong),
        }
    }
}

/// What a value has to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Bool,
    Byte,
    /// Of 16, 32 or 64 bits.
    Integer,
    Double,
    Binary,
    /// Of values of this shape.
    List(&'static Shape),
    /// With fields of these numbers; others may be anything.
    Struct(&'static [(i64, Shape)]),
}

impl Reader<'_> {
    /// Passes over a struct whose known fields must have their shapes. A reader that goes by the numbers of
    /// fields alone, as the library does, would take what follows a field of a different type for something
    /// else than [`Reader::skip`] does.
    ///
    /// # Errors
    /// As [`Reader::fields`], and a known field of a different type.
    pub fn conform(&mut self, known: &'static [(i64, Shape)]) -> Result<()> {
        self.fields(&mut |reader, id, kind| match known.iter().find(|(field, _)| *field == id) {
            None => Ok(false),
            Some((_, shape)) => reader.value(*shape, kind, false).map(|()| true),
        })
    }

    fn value(&mut self, shape: Shape, kind: u8, in_list: bool) -> Result<()> {
        match (shape, kind) {
            (Shape::Bool, 1 | 2)
            | (Shape::Byte, 3)
            | (Shape::Integer, 4..=6)
            | (Shape::Double, 7)
            | (Shape::Binary, BINARY) => self.skip(kind, in_list),
            (Shape::List(each), LIST) => {
                let (kind, n) = self.list()?;
                (0..n).try_for_each(|_| self.value(*each, kind, true))
            }
            (Shape::Struct(known), STRUCT) => self.conform(known),
            _ => Err(Fault::Wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_field_of_a_different_type_is_wrong() {
        const KNOWN: &[(i64, Shape)] = &[(1, Shape::Integer), (2, Shape::List(&Shape::Binary))];
        // 1: i32 −3, 2: ["a"], 3: a double
        let whole = [0x15, 5, 0x19, 0x18, 1, b'a', 0x17, 1, 2, 3, 4, 5, 6, 7, 8, 0];
        let read = |bytes: &[u8]| Reader::new(bytes).conform(KNOWN);
        assert_eq!(read(&whole), Ok(()));
        for (at, byte) in [(0, 0x17), (2, 0x18), (3, 0x15)] {
            let mut bytes = whole;
            bytes[at] = byte;
            assert!(read(&bytes).is_err(), "{at}");
        }
        // Field 65,537 is field 1 in 16 bits.
        assert_eq!(read(&[0x08, 0x82, 0x80, 0x08, 1, b'a', 0]), Err(Fault::Wrong));
    }

    #[test]
    fn structs_as_the_specification_writes_them() {
        // 1: i32 −3, 3: "ab", 4: [true, false], 20: { 1: true }, 21: i64 300
        let bytes = [0x15, 5, 0x28, 2, b'a', b'b', 0x19, 0x21, 1, 2, 0x0C, 40, 0x11, 0, 0x16, 0xD8, 4, 0];
        let mut read = Vec::new();
        let mut reader = Reader::new(&bytes);
        let done = reader.fields(&mut |reader, id, kind| {
            let integer = matches!(kind, 4..=6);
            read.push((id, if integer { reader.integer()? } else { 0 }));
            Ok(integer)
        });
        assert_eq!(done, Ok(()));
        assert_eq!(reader.at, bytes.len());
        assert_eq!(read, [(1, -3), (3, 0), (4, 0), (20, 0), (21, 300)]);
        for end in 0..bytes.len() {
            assert_eq!(Reader::new(&bytes[..end]).skip(STRUCT, false), Err(Fault::Short), "{end}");
        }
        let list = [0xF8, 0xFF, 0xFF, 3];
        assert_eq!(Reader::new(&list).list(), Err(Fault::Short), "more values than bytes");
        assert_eq!(
            Reader::new(&[0x1C; 100]).skip(STRUCT, false),
            Err(Fault::Wrong),
            "struct in struct in struct …"
        );
    }
}
