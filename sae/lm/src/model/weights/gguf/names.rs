//! Tensors by Hugging Face name.

use std::collections::BTreeMap;

use super::Gguf;
use super::families::{Family, Rule, TensorChange};
use super::header::TensorInfo;
use crate::Result;
use crate::model::weights::change::Change;
use crate::model::weights::{Entry, Piece, Stored};

/// Fewer numbers make no expert; a bound on how many names a small file can make.
const SMALLEST_EXPERT: usize = 16;

/// Every tensor of the file under Hugging Face's name.
///
/// # Errors
/// A tensor that no rule of the family names, two that become one name, or a shape that a rule cannot work
/// with.
pub(super) fn entries(gguf: &Gguf) -> Result<BTreeMap<String, Entry>> {
    let family = Family::of(gguf)?;
    let namer = Namer { gguf, rules: family.rules(), heads: heads(gguf)? };
    let mut entries = BTreeMap::new();
    for (name, tensor) in &gguf.header.tensors {
        for (new, entry) in namer.entries(name, tensor)? {
            if entries.contains_key(&new) {
                return Err(gguf.problem(format!("tensor `{name}`: a different tensor is `{new}` already")));
            }
            entries.insert(new, entry);
        }
    }
    Ok(entries)
}

/// Query heads and key heads.
fn heads(gguf: &Gguf) -> Result<(usize, usize)> {
    let prefix = gguf.architecture()?;
    let key = format!("{prefix}.attention.head_count");
    let heads = gguf.required(&key, gguf.size(&key)?)?;
    let keys = gguf.size(&format!("{key}_kv"))?.unwrap_or(heads);
    Ok((heads as usize, keys as usize))
}

struct Namer<'a> {
    gguf: &'a Gguf,
    rules: Vec<Rule>,
    heads: (usize, usize),
}

/// A tensor's name with its numbers taken out.
struct NamePattern {
    pattern: String,
    block: Option<String>,
    expert: Option<String>,
}

impl NamePattern {
    /// `blk.3.attn_q` → `blk.#.attn_q`, `blk.3.ffn_up.7` → `blk.#.ffn_up.@`.
    fn parse(name: &str) -> Self {
        let number = |text: &str| {
            let plain = !text.is_empty() && text.len() < 6 && text.bytes().all(|b| b.is_ascii_digit());
            // A name has one spelling.
            plain && (text == "0" || !text.starts_with('0'))
        };
        let mut numbered = Self { pattern: String::new(), block: None, expert: None };
        for (i, part) in name.split('.').enumerate() {
            if i > 0 {
                numbered.pattern.push('.');
            }
            let (slot, sign) = if i == 1 { (&mut numbered.block, '#') } else { (&mut numbered.expert, '@') };
            if number(part) && slot.is_none() {
                *slot = Some(part.to_owned());
                numbered.pattern.push(sign);
            } else {
                numbered.pattern.push_str(part);
            }
        }
        numbered
    }

    fn filled(&self, pattern: &str) -> String {
        pattern
            .replace('#', self.block.as_deref().unwrap_or_default())
            .replace('@', self.expert.as_deref().unwrap_or_default())
    }
}

impl Namer<'_> {
    /// The rule for a name and the ending that the rule leaves open, or an error.
    fn rule(&self, name: &str) -> Result<(&Rule, NamePattern, &'static str)> {
        let of = |pattern: &str| self.rules.iter().find(|(from, ..)| *from == pattern);
        let whole = NamePattern::parse(name);
        if let Some(rule) = of(&whole.pattern) {
            return Ok((rule, whole, ""));
        }
        for ending in [".weight", ".bias"] {
            if let Some(stem) = name.strip_suffix(ending) {
                let numbered = NamePattern::parse(stem);
                if let Some(rule) = of(&numbered.pattern) {
                    return Ok((rule, numbered, ending));
                }
            }
        }
        let architecture = self.gguf.architecture()?;
        let text = format!("tensor `{name}` is not known in architecture `{architecture}`");
        Err(self.gguf.problem(text))
    }

    fn entries(&self, name: &str, tensor: &TensorInfo) -> Result<Vec<(String, Entry)>> {
        let ((_, to, how), numbered, ending) = self.rule(name)?;
        let new = numbered.filled(to) + ending;
        let whole =
            |shape: &[usize], change| vec![(new.clone(), entry(shape.to_vec(), vec![piece(tensor)], change))];
        let problem =
            |text: &str| self.gguf.problem(format!("tensor `{name}` of shape {:?}: {text}", tensor.shape));
        let matrix = |change| {
            let mut shape = tensor.shape.clone();
            let n = shape.len();
            if n < 2 {
                // Biases of transposed matrices.
                return whole(&shape, Change::None);
            }
            shape.swap(n - 2, n - 1);
            whole(&shape, change)
        };
        Ok(match how {
            TensorChange::AsItIs => whole(&tensor.shape, Change::None),
            TensorChange::MinusOne => whole(&tensor.shape, Change::MinusOne),
            TensorChange::Queries => {
                whole(&tensor.shape, self.half_split(self.heads.0, tensor).map_err(|e| problem(&e))?)
            }
            TensorChange::Keys => {
                whole(&tensor.shape, self.half_split(self.heads.1, tensor).map_err(|e| problem(&e))?)
            }
            TensorChange::HeadByHead => {
                let heads = self.heads.0;
                if heads == 0 || !tensor.shape[0].is_multiple_of(3 * heads) {
                    return Err(problem(&format!("expected q, k and v rows of {heads} heads")));
                }
                whole(&tensor.shape, Change::HeadByHead { heads })
            }
            TensorChange::Transposed | TensorChange::EachTransposed => matrix(Change::Transposed),
            TensorChange::OneRow => {
                let shape: Vec<usize> =
                    if tensor.shape.len() == 1 { vec![1, tensor.shape[0]] } else { tensor.shape.clone() };
                whole(&shape, Change::None)
            }
            TensorChange::PerExpert => {
                self.per_expert(tensor, &numbered, to, ending).map_err(|e| problem(&e))?
            }
            TensorChange::WithUp(up) | TensorChange::WithUpInTurn(up) => {
                let up = numbered.filled(up);
                let in_turn = matches!(how, TensorChange::WithUpInTurn(_));
                let entry = self.with_up(tensor, &up, in_turn).map_err(|e| problem(&e))?;
                vec![(new, entry)]
            }
            TensorChange::KeysAndValues { values, together } => {
                // Files may have both forms.
                if self.gguf.header.tensors.contains_key(&numbered.filled(together)) {
                    return Ok(Vec::new());
                }
                let entry = self.with_values(tensor, &numbered.filled(values)).map_err(|e| problem(&e))?;
                vec![(new, entry)]
            }
            TensorChange::UsedElsewhere | TensorChange::Left => Vec::new(),
        })
    }

    fn half_split(&self, heads: usize, tensor: &TensorInfo) -> Result<Change, String> {
        if heads == 0 || !tensor.shape[0].is_multiple_of(2 * heads) {
            return Err(format!("expected an even number of rows for each of {heads} heads"));
        }
        Ok(Change::HalfSplit { heads })
    }

    /// `[E, …]` → E tensors.
    fn per_expert(
        &self,
        tensor: &TensorInfo,
        numbered: &NamePattern,
        to: &str,
        ending: &str,
    ) -> Result<Vec<(String, Entry)>, String> {
        let (experts, shape) = stacked(tensor)?;
        let one = |expert: usize| {
            let numbered = NamePattern {
                pattern: String::new(),
                block: numbered.block.clone(),
                expert: Some(expert.to_string()),
            };
            let piece = expert_piece(tensor, expert);
            (numbered.filled(to) + ending, entry(shape.to_vec(), vec![piece], Change::None))
        };
        Ok((0..experts).map(one).collect())
    }

    /// `[heads, rank, nope]` keys and `[heads, value, rank]` values → head by head
    /// `[heads · (nope + value), rank]`.
    fn with_values(&self, keys: &TensorInfo, values_name: &str) -> Result<Entry, String> {
        let values = self.gguf.header.tensors.get(values_name);
        let values = values.ok_or_else(|| format!("`{values_name}` is missing"))?;
        let ([heads, rank, nope], [value_heads, value, value_rank]) = (&keys.shape[..], &values.shape[..])
        else {
            return Err(format!("expected three dimensions here and in `{values_name}`"));
        };
        if (heads, rank) != (value_heads, value_rank) {
            return Err(format!("`{values_name}` has shape {:?}, which does not fit", values.shape));
        }
        let pieces =
            (0..*heads).flat_map(|head| [expert_piece(keys, head), expert_piece(values, head)]).collect();
        let change = Change::KeysTransposed { nope: *nope, value: *value };
        Ok(entry(vec![heads * (nope + value), *rank], pieces, change))
    }

    /// `[E, n, d]` gate and `[E, n, d]` up → `[E, 2n, d]`, or in turn and transposed `[E, d, 2n]`.
    fn with_up(&self, gate: &TensorInfo, up_name: &str, in_turn: bool) -> Result<Entry, String> {
        let up = self.gguf.header.tensors.get(up_name).ok_or_else(|| format!("`{up_name}` is missing"))?;
        if up.shape != gate.shape {
            return Err(format!("`{up_name}` has a different shape, {:?}", up.shape));
        }
        let (experts, one) = stacked(gate)?;
        let mut shape = vec![experts, 2 * one[0]];
        shape.extend_from_slice(&one[1..]);
        let pieces = (0..experts).flat_map(|e| [expert_piece(gate, e), expert_piece(up, e)]).collect();
        Ok(match (in_turn, shape.len()) {
            (false, _) => entry(shape, pieces, Change::None),
            (true, 2) => entry(shape, pieces, Change::Interleaved),
            (true, n) => {
                shape.swap(n - 2, n - 1);
                entry(shape, pieces, Change::InterleavedTransposed)
            }
        })
    }
}

fn entry(shape: Vec<usize>, pieces: Vec<Piece>, change: Change) -> Entry {
    Entry { shape, stored: Some(Stored::Pieces(pieces, change)) }
}

/// Number of experts and the shape of one.
fn stacked(tensor: &TensorInfo) -> Result<(usize, &[usize]), String> {
    match tensor.shape.split_first() {
        Some((experts, one)) if one.iter().product::<usize>() >= SMALLEST_EXPERT => Ok((*experts, one)),
        _ => Err(format!("expected [experts, …] with at least {SMALLEST_EXPERT} numbers each")),
    }
}

fn piece(tensor: &TensorInfo) -> Piece {
    let numbers = tensor.shape.iter().product();
    Piece { file: tensor.file, at: tensor.at, numbers, encoding: tensor.encoding }
}

/// Rows are whole blocks, so an expert is too.
fn expert_piece(tensor: &TensorInfo, expert: usize) -> Piece {
    let numbers: usize = tensor.shape[1..].iter().product();
    let bytes = tensor.encoding.bytes_of(numbers).unwrap_or(0);
    Piece { file: tensor.file, at: tensor.at + expert as u64 * bytes, numbers, encoding: tensor.encoding }
}
