//! A tap that puts something else in the place of a model's activations.

use candle_core::{DType, Tensor};

use crate::dictionary::Coder;
use crate::dictionary::{Codes, Dictionary};
use crate::{Error, Result};
use kernels::feature::norm_squared;
use lm::model::{Hook, Tap};
use lm::text::Contexts;

/// What happens to the activation of every document token. BOS and padding always keep their value: they have no rows in a
/// dataset, so no dictionary was trained on them. Tokens whose norm is above the limit of training keep theirs, too.
#[derive(Debug)]
pub enum Splice<'a> {
    /// It stays and its energy is added up.
    Watch(&'a mut Energy),
    /// Its reconstruction takes its place.
    Reconstruct(Coder<'a>),
    /// Its reconstruction from the stronger of its codes takes its place.
    Sparser {
        /// The dictionary.
        dictionary: &'a Dictionary,
        /// Norm of every decoder row, `[F]`.
        norms: &'a [f32],
        /// Codes whose value times that norm is below this are left out.
        least: f32,
        /// Codes that were left out, and all.
        counts: &'a mut (u64, u64),
    },
    /// What codes that are known make takes its place.
    Coded {
        /// The dictionary.
        dictionary: &'a Dictionary,
        /// Codes of all tokens, of this batch and others.
        codes: &'a Codes,
        /// The row of `codes` of each place in the batch; the activation stays where there is none.
        rows: &'a [Option<usize>],
    },
    /// This vector takes its place, `[d]`.
    Constant(&'a [f32]),
}

/// The codes whose value times the norm of their decoder row is `least` or more; how many were left out and how many there were is added to
/// `counts`.
fn stronger(codes: &Codes, norms: &[f32], least: f32, counts: &mut (u64, u64)) -> Codes {
    let mut kept = Codes::default();
    for i in 0..codes.rows() {
        let (features, values) = codes.row(i);
        let strong = |(f, v): &(&u32, &f32)| v.abs() * norms[**f as usize] >= least;
        let (features, values): (Vec<u32>, Vec<f32>) = features.iter().zip(values).filter(strong).unzip();
        kept.push_row(&features, &values);
    }
    counts.0 += (codes.features.len() - kept.features.len()) as u64;
    counts.1 += codes.features.len() as u64;
    kept
}

/// Σ‖x‖² over tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Energy {
    /// Tokens.
    pub tokens: u64,
    /// The sum.
    pub sum: f64,
}

/// [`Splice`] at one hook, for one batch of contexts.
#[derive(Debug)]
pub struct SpliceAt<'a> {
    /// Where.
    pub hook: Hook,
    /// Width of the activations, d.
    pub width: usize,
    /// The batch that the model runs on.
    pub contexts: &'a Contexts,
    /// Norm above which an activation keeps its value.
    pub limit: Option<f32>,
    /// What to put there.
    pub splice: Splice<'a>,
    /// The value there before anything was put in its place.
    pub seen: Option<Tensor>,
}

impl Tap for SpliceAt<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        *hook == self.hook
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let (_, _, width) = value.dims3()?;
        if width != self.width {
            return Err(Error::request(format!(
                "{hook} of this model has width {width}, the dictionary takes {}",
                self.width
            ))
            .with_remedy("give the model that the dataset was made with"));
        }
        self.seen = Some(value.clone());
        let mut values: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let within = |i: usize| is_within(&values[i * width..(i + 1) * width], self.limit);
        let places: Vec<usize> = (0..self.contexts.origin.len())
            .filter(|&i| self.contexts.origin[i].is_some() && within(i))
            .collect();
        if !self.splice.apply(&mut values, &places, width) {
            return Ok(None);
        }
        Ok(Some(Tensor::from_vec(values, value.shape(), value.device())?.to_dtype(value.dtype())?))
    }
}

/// Whether the norm of `row` is not above `limit`: the rule by which training leaves rows out.
pub(crate) fn is_within(row: &[f32], limit: Option<f32>) -> bool {
    // A norm that overflows is above every limit.
    limit.is_none_or(|limit| norm_squared(row).sqrt() <= limit)
}

/// Puts what `dictionary` makes of the codes that `code` gives in the place of rows `places` of `values[n, d]`.
fn reconstruct(
    values: &mut [f32],
    places: &[usize],
    dictionary: &Dictionary,
    code: impl FnOnce(&[f32]) -> Codes,
) {
    let d = dictionary.d_in;
    let rows: Vec<f32> = places.iter().flat_map(|&i| &values[i * d..(i + 1) * d]).copied().collect();
    let reconstructed = dictionary.decode_with(&code(&rows), &rows);
    for (&i, row) in places.iter().zip(reconstructed.chunks_exact(d)) {
        values[i * d..(i + 1) * d].copy_from_slice(row);
    }
}

impl Splice<'_> {
    /// Changes rows `places` of `values[n, d]`; false when they stay.
    fn apply(&mut self, values: &mut [f32], places: &[usize], d: usize) -> bool {
        match self {
            Self::Watch(energy) => {
                for &i in places {
                    energy.sum +=
                        values[i * d..(i + 1) * d].iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
                }
                energy.tokens += places.len() as u64;
                return false;
            }
            Self::Reconstruct(coder) => {
                let dictionary = coder.dictionary;
                reconstruct(values, places, dictionary, |x| coder.finish(dictionary.encode(x), x));
            }
            Self::Sparser { dictionary, norms, least, counts } => {
                let code = |x: &[f32]| stronger(&dictionary.encode(x), norms, *least, counts);
                reconstruct(values, places, dictionary, code);
            }
            Self::Coded { dictionary, codes, rows } => {
                let coded: Vec<usize> = places.iter().copied().filter(|&i| rows[i].is_some()).collect();
                let mut chosen = Codes::default();
                coded.iter().filter_map(|&i| rows[i]).for_each(|row| {
                    let (features, values) = codes.row(row);
                    chosen.push_row(features, values);
                });
                reconstruct(values, &coded, dictionary, |_| chosen);
            }
            Self::Constant(vector) => {
                for &i in places {
                    values[i * d..(i + 1) * d].copy_from_slice(vector);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::rows::fixture;
    use lm::model::Site;

    /// Two rows of four tokens: BOS, tokens, and padding at the end of the second.
    fn contexts() -> Contexts {
        let token = |p| Some((0, p));
        Contexts {
            rows: 2,
            len: 4,
            tokens: vec![1; 8],
            segments: vec![1, 1, 1, 1, 1, 1, 0, 0],
            positions: vec![0, 1, 2, 3, 0, 1, 0, 0],
            origin: vec![None, token(0), token(1), token(2), None, token(3), None, None],
        }
    }

    fn spliced(splice: Splice<'_>, values: &[f32]) -> Option<Vec<f32>> {
        let contexts = contexts();
        let hook = Hook::new(0, Site::ResidPost);
        let mut tap = SpliceAt { hook, width: 3, contexts: &contexts, limit: None, splice, seen: None };
        assert!(tap.wants(&hook) && !tap.wants(&Hook::new(1, Site::ResidPost)));
        let tensor = Tensor::from_slice(values, (2, 4, 3), &Device::Cpu).unwrap();
        tap.at(&hook, &tensor).unwrap().map(|t| t.flatten_all().unwrap().to_vec1().unwrap())
    }

    #[test]
    fn only_document_tokens_are_replaced() {
        let values = fixture::activations(8, 3, 1);
        let found = spliced(Splice::Constant(&[7.0, 8.0, 9.0]), &values).unwrap();
        let dictionary = fixture::dictionary(3, 11, 2, 5);
        let reconstructed = spliced(Splice::Reconstruct((&dictionary).into()), &values).unwrap();
        for i in 0..8 {
            let row = i * 3..(i + 1) * 3;
            if [0, 4, 6, 7].contains(&i) {
                assert_eq!(
                    (&found[row.clone()], &reconstructed[row.clone()]),
                    (&values[row.clone()], &values[row])
                );
            } else {
                assert_eq!(found[row.clone()], [7.0, 8.0, 9.0]);
                let alone = dictionary.decode(&dictionary.encode(&values[row.clone()]));
                assert_eq!(reconstructed[row], alone);
            }
        }
    }

    /// Of tokens 1, 2, 3 and 5 of the batch, the one with the largest norm is above the limit.
    #[test]
    fn outliers_keep_their_value() {
        let mut values = fixture::activations(8, 3, 3);
        values[6..9].copy_from_slice(&[30.0, 40.0, 0.0]);
        let contexts = contexts();
        let hook = Hook::new(0, Site::ResidPost);
        let spliced = |limit| {
            let splice = Splice::Constant(&[7.0; 3]);
            let mut tap =
                SpliceAt { hook, width: 3, contexts: &contexts, limit: Some(limit), splice, seen: None };
            let tensor = Tensor::from_slice(&values, (2, 4, 3), &Device::Cpu).unwrap();
            tap.at(&hook, &tensor).unwrap().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let found = spliced(49.0);
        assert_eq!(
            (&found[3..6], &found[6..9], &found[9..12]),
            (&[7.0; 3][..], &values[6..9], &[7.0; 3][..])
        );
        assert_eq!(spliced(50.0)[6..9], [7.0; 3], "at the limit is not above it");
    }

    #[test]
    fn watching_changes_nothing() {
        let values = fixture::activations(8, 3, 2);
        let mut energy = Energy::default();
        assert_eq!(spliced(Splice::Watch(&mut energy), &values), None);
        let sum: f64 =
            [1, 2, 3, 5].iter().flat_map(|i| &values[i * 3..i * 3 + 3]).map(|v| f64::from(*v).powi(2)).sum();
        assert!((energy.sum - sum).abs() < 1e-12 && energy.tokens == 4);
    }

    #[test]
    fn another_width_is_refused() {
        let (hook, contexts) = (Hook::new(0, Site::ResidPost), contexts());
        let splice = Splice::Constant(&[0.0; 5]);
        let mut tap = SpliceAt { hook, width: 5, contexts: &contexts, limit: None, splice, seen: None };
        let tensor = Tensor::zeros((2, 4, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(tap.at(&hook, &tensor).unwrap_err().to_string().contains("width 3"));
    }
}
