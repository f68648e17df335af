//! Tensors of a file that `torch.save` made: a zip file with a pickle that says which, and one member of raw numbers for each.
//!
//! A pickle is a program for a small machine that can call any Python function by its name. Here it is only *read*: the few
//! operations that a dictionary of tensors needs make values of [`Value`], names other than those of tensors are an error, and
//! nothing is ever called.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};

use super::tensors::{Tensor, Tensors};
use super::zip::Zip;
use crate::{Error, Result};

/// Dictionaries in dictionaries that are followed.
const DEPTH: usize = 6;
/// Values that a pickle of weights may have; hundreds are usual.
const VALUES: usize = 1 << 20;

/// A place in [`Machine::values`]: what two places name is held once, so that memory stays proportional to the pickle.
type Id = usize;

#[derive(Debug, Clone, PartialEq)]
enum Value {
    None,
    Integer(i64),
    Float(f64),
    Text(String),
    Tuple(Vec<Id>),
    Dictionary(Vec<(Id, Id)>),
    /// A name of Python, which is never looked up.
    Name(&'static str),
    Storage {
        member: String,
        kind: Kind,
        length: usize,
    },
    Tensor {
        storage: Id,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    F32,
    F64,
    F16,
    Bf16,
    I64,
    I32,
    U8,
}

/// Names that may stand in the pickle of a state dict.
const NAMES: [(&str, &str); 13] = [
    ("collections OrderedDict", "OrderedDict"),
    ("torch._utils _rebuild_tensor_v2", "tensor"),
    ("torch._utils _rebuild_parameter", "parameter"),
    ("torch FloatStorage", "f32"),
    ("torch DoubleStorage", "f64"),
    ("torch HalfStorage", "f16"),
    ("torch BFloat16Storage", "bf16"),
    ("torch LongStorage", "i64"),
    ("torch IntStorage", "i32"),
    ("torch ByteStorage", "u8"),
    ("torch BoolStorage", "u8"),
    ("torch.storage UntypedStorage", "u8"),
    ("torch Size", "size"),
];

/// A file's tensors and the plain values next to them; names of nested dictionaries are joined with dots.
pub(super) struct Saved {
    pub tensors: Tensors,
    /// Numbers and texts.
    pub plain: BTreeMap<String, serde_json::Value>,
}

/// Reads a `.pt` or `.pth` file.
pub(super) fn read(path: &Path) -> Result<Saved> {
    let zip = Zip::open(path)?;
    let pickle =
        zip.names().find(|name| name.ends_with("/data.pkl") || *name == "data.pkl").map(str::to_owned);
    let Some(pickle) = pickle else {
        return Err(Error::format(path, "is a zip file without data.pkl; expected a file of torch.save")
            .with_remedy("give the file that holds the dictionary's weights"));
    };
    let folder = pickle.trim_end_matches("data.pkl").to_owned();
    if let Some(order) = zip.member(&format!("{folder}byteorder")) {
        let order = order?;
        if order.trim_ascii() != b"little" {
            return Err(Error::format(path, "holds big-endian numbers")
                .with_remedy("save it again on a little-endian machine"));
        }
    }
    let program = zip.member(&pickle).unwrap_or_else(|| Ok(Vec::new()))?;
    let mut machine = Machine::default();
    let top = machine.run(&program).map_err(|problem| {
        Error::format(path, format!("data.pkl {problem}; nothing of it was executed"))
            .with_remedy("save the state dict alone: torch.save(sae.state_dict(), \"sae.pt\")")
    })?;
    let mut found = Vec::new();
    machine.collect(top, "", DEPTH, &mut (2 * machine.values.len()), &mut found);
    let (mut tensors, mut plain) = (BTreeMap::new(), BTreeMap::new());
    for (name, id) in found {
        match &machine.values[id] {
            Value::Tensor { .. } => {
                let tensor = machine.tensor(id, &zip, &folder).map_err(|problem| {
                    Error::format(path, format!("tensor `{name}` {problem}"))
                        .with_remedy("download or copy the file again")
                })?;
                tensors.insert(name, tensor);
            }
            Value::Integer(n) => drop(plain.insert(name, (*n).into())),
            Value::Float(x) => drop(plain.insert(name, (*x).into())),
            Value::Text(text) => drop(plain.insert(name, text.clone().into())),
            _ => {}
        }
    }
    Ok(Saved { tensors: Tensors::loaded(path, tensors), plain })
}

#[derive(Default)]
struct Machine {
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

/// The bytes of a pickle that are left.
struct Program<'p>(&'p [u8]);

impl<'p> Program<'p> {
    fn bytes(&mut self, n: usize) -> Result<&'p [u8], String> {
        let (head, rest) = self.0.split_at_checked(n).ok_or("ends in the middle of an operation")?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self, width: usize) -> Result<u64, String> {
        Ok(self.bytes(width)?.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    fn text(&mut self, length: u64) -> Result<String, String> {
        let length = usize::try_from(length).map_err(|_| "has a text of impossible length")?;
        Ok(String::from_utf8_lossy(self.bytes(length)?).into_owned())
    }

    fn line(&mut self) -> Result<&'p str, String> {
        let end = self.0.iter().position(|byte| *byte == b'\n').ok_or("ends in the middle of a name")?;
        let line = self.bytes(end + 1)?;
        std::str::from_utf8(&line[..end]).map_err(|_| "has a name that is not text".to_owned())
    }
}

impl Machine {
    fn run(&mut self, program: &[u8]) -> Result<Id, String> {
        let mut program = Program(program);
        loop {
            if self.values.len() > VALUES {
                return Err(format!("makes more than {VALUES} values"));
            }
            let operation = program.bytes(1)?[0];
            if operation == b'.' {
                return self.pop();
            }
            self.step(operation, &mut program)?;
        }
    }

    fn step(&mut self, operation: u8, program: &mut Program<'_>) -> Result<(), String> {
        match operation {
            // Version, frame: nothing to do.
            0x80 => drop(program.bytes(1)?),
            0x95 => drop(program.bytes(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Integer(1)),
            0x89 => self.push(Value::Integer(0)),
            b'K' => {
                let n = program.number(1)?;
                self.push(Value::Integer(n as i64));
            }
            b'M' => {
                let n = program.number(2)?;
                self.push(Value::Integer(n as i64));
            }
            b'J' => {
                let n = program.number(4)?;
                self.push(Value::Integer(i64::from(n as u32 as i32)));
            }
            0x8a => self.long(program)?,
            b'G' => {
                let n = program.number(8)?;
                self.push(Value::Float(f64::from_bits(n.swap_bytes())));
            }
            b'X' => {
                let n = program.number(4)?;
                let text = program.text(n)?;
                self.push(Value::Text(text));
            }
            0x8c => {
                let n = program.number(1)?;
                let text = program.text(n)?;
                self.push(Value::Text(text));
            }
            b'c' => {
                let (module, name) = (program.line()?, program.line()?);
                self.name(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.name(&module, &name)?;
            }
            b')' => self.push(Value::Tuple(Vec::new())),
            b']' => self.push(Value::Tuple(Vec::new())),
            b'}' => self.push(Value::Dictionary(Vec::new())),
            0x85..=0x87 => {
                let n = usize::from(operation - 0x84);
                let at = self.stack.len().checked_sub(n).ok_or("takes more than there is")?;
                let items = self.stack.split_off(at);
                self.push(Value::Tuple(items));
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(&items)?;
            }
            b'q' => {
                let key = program.number(1)?;
                self.remember(key as u32)?;
            }
            b'r' => {
                let key = program.number(4)?;
                self.remember(key as u32)?;
            }
            0x94 => {
                let key = self.memo.len() as u32;
                self.remember(key)?;
            }
            b'h' => {
                let key = program.number(1)?;
                self.recall(key as u32)?;
            }
            b'j' => {
                let key = program.number(4)?;
                self.recall(key as u32)?;
            }
            b'Q' => self.storage()?,
            b'R' => self.rebuild()?,
            // Attributes of an OrderedDict (`_metadata`): not needed.
            b'b' => drop(self.pop()?),
            other => return Err(format!("has the operation 0x{other:02x}, which weights do not need")),
        }
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(|| "takes more than there is".to_owned())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "takes more than there is".to_owned())
    }

    fn pop_text(&mut self) -> Result<String, String> {
        let id = self.pop()?;
        match &self.values[id] {
            Value::Text(text) => Ok(text.clone()),
            other => Err(format!("has {other:?} where a text is expected")),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let at = self.marks.pop().filter(|at| *at <= self.stack.len()).ok_or("has no mark")?;
        Ok(self.stack.split_off(at))
    }

    fn long(&mut self, program: &mut Program<'_>) -> Result<(), String> {
        let width = program.number(1)? as usize;
        if width > 8 {
            return Err("has an integer of more than 64 bits".to_owned());
        }
        let bits = program.number(width)?;
        let unused = 64 - 8 * width as u32;
        let value = if width == 0 { 0 } else { ((bits << unused) as i64) >> unused };
        self.push(Value::Integer(value));
        Ok(())
    }

    fn name(&mut self, module: &str, name: &str) -> Result<(), String> {
        let whole = format!("{module} {name}");
        let known = NAMES.iter().find(|(python, _)| *python == whole);
        let (_, short) = known.ok_or_else(|| {
            format!("names `{module}.{name}`, which is not a part of tensors; such a file can run code where Python opens it")
        })?;
        self.push(Value::Name(short));
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Result<(), String> {
        let id = self.top()?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let id = self.memo.get(&key).copied().ok_or("recalls what it did not remember")?;
        self.stack.push(id);
        Ok(())
    }

    fn extend(&mut self, items: Vec<Id>) -> Result<(), String> {
        let id = self.top()?;
        match &mut self.values[id] {
            Value::Tuple(list) => list.extend(items),
            _ => return Err("appends to what is not a list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), String> {
        let id = self.top()?;
        let pairs = items.as_chunks::<2>();
        match (&mut self.values[id], pairs) {
            (Value::Dictionary(entries), (pairs, [])) => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            _ => return Err("sets entries of what is not a dictionary".to_owned()),
        }
        Ok(())
    }

    fn items(&self, id: Id) -> Result<&[Id], String> {
        match &self.values[id] {
            Value::Tuple(items) => Ok(items),
            other => Err(format!("has {other:?} where a tuple is expected")),
        }
    }

    fn count(&self, id: Id) -> Result<usize, String> {
        match &self.values[id] {
            Value::Integer(n) => usize::try_from(*n).map_err(|_| format!("has the size {n}")),
            other => Err(format!("has {other:?} where a size is expected")),
        }
    }

    fn counts(&self, id: Id) -> Result<Vec<usize>, String> {
        self.items(id)?.iter().map(|id| self.count(*id)).collect()
    }

    /// `("storage", type, member, device, length)`.
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let items = self.items(id)?;
        let [_, kind, member, _, length] = items[..] else {
            return Err("has a storage that is not described by five values".to_owned());
        };
        let (Value::Name(kind), Value::Text(member)) = (&self.values[kind], &self.values[member]) else {
            return Err("has a storage without type or name".to_owned());
        };
        let kind = match *kind {
            "f32" => Kind::F32,
            "f64" => Kind::F64,
            "f16" => Kind::F16,
            "bf16" => Kind::Bf16,
            "i64" => Kind::I64,
            "i32" => Kind::I32,
            "u8" => Kind::U8,
            other => return Err(format!("has a storage of {other}")),
        };
        let value = Value::Storage { member: member.clone(), kind, length: self.count(length)? };
        self.push(value);
        Ok(())
    }

    /// A tensor from its storage; everything else that a state dict builds is a dictionary or stands for itself.
    fn rebuild(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Name(function) = self.values[function] else {
            return Err("calls what is not a name".to_owned());
        };
        let items = self.items(arguments)?.to_vec();
        let value = match (function, &items[..]) {
            ("OrderedDict", _) => Value::Dictionary(Vec::new()),
            // These stand for what they are made of.
            ("parameter", [inner, ..]) | ("size", [inner]) => {
                self.stack.push(*inner);
                return Ok(());
            }
            ("tensor", [storage, offset, shape, strides, ..]) => Value::Tensor {
                storage: *storage,
                offset: self.count(*offset)?,
                shape: self.counts(*shape)?,
                strides: self.counts(*strides)?,
            },
            _ => return Err(format!("calls {function} with {} values", items.len())),
        };
        self.push(value);
        Ok(())
    }

    /// Names and places of all that is not a dictionary. `visits` are left: dictionaries that hold each other have no end.
    fn collect(&self, id: Id, name: &str, depth: usize, visits: &mut usize, found: &mut Vec<(String, Id)>) {
        let Value::Dictionary(entries) = &self.values[id] else {
            found.push((name.to_owned(), id));
            return;
        };
        for (key, value) in entries {
            if depth == 0 || *visits == 0 {
                return;
            }
            *visits -= 1;
            let Value::Text(key) = &self.values[*key] else { continue };
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            self.collect(*value, &name, depth - 1, visits, found);
        }
    }

    /// The numbers of a tensor in the order of its shape.
    fn tensor(&self, id: Id, zip: &Zip, folder: &str) -> Result<Tensor, String> {
        let Value::Tensor { storage, offset, shape, strides } = &self.values[id] else {
            return Err("is not a tensor".to_owned());
        };
        let Value::Storage { member, kind, length } = &self.values[*storage] else {
            return Err("has no storage".to_owned());
        };
        let bytes = zip.member(&format!("{folder}data/{member}"));
        let bytes = bytes.ok_or_else(|| format!("is in member data/{member}, which is missing"))?;
        let bytes = bytes.map_err(|e| e.to_string())?;
        let all = kind.numbers(&bytes);
        if all.len() < *length || shape.len() != strides.len() {
            return Err(format!("needs {length} numbers; its member has {}", all.len()));
        }
        let count = shape.iter().try_fold(1_usize, |n, size| n.checked_mul(*size));
        // No number is repeated in weights, so a shape is never larger than its storage.
        let count = count
            .filter(|count| *count <= all.len())
            .ok_or_else(|| format!("has shape {shape:?}, more than its storage"))?;
        let mut numbers = Vec::with_capacity(count);
        let mut at = vec![0_usize; shape.len()];
        for _ in 0..count {
            let place = at
                .iter()
                .zip(strides)
                .try_fold(*offset, |sum, (i, stride)| sum.checked_add(i.checked_mul(*stride)?));
            numbers.push(*place.and_then(|place| all.get(place)).ok_or("reaches beyond its storage")?);
            for axis in (0..shape.len()).rev() {
                at[axis] += 1;
                if at[axis] < shape[axis] {
                    break;
                }
                at[axis] = 0;
            }
        }
        Ok(Tensor { shape: shape.clone(), numbers })
    }
}

impl Kind {
    fn numbers(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Self::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
            Self::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Self::Bf16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            Self::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f32).collect(),
            Self::I32 => bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b) as f32).collect(),
            Self::U8 => bytes.iter().map(|b| f32::from(*b)).collect(),
        }
    }
}
