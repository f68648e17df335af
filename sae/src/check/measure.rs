//! How much of some rows a dictionary explains.

use crate::Result;
use crate::dictionary::Dictionary;
use crate::evaluate::{Figures, Reconstruction};

/// Rows that are encoded at a time.
const BATCH: usize = 1024;

/// The figures of `dictionary` on `rows[n, d_in]`; of a transcoder for `target[n, d_out]`.
pub(super) fn figures(dictionary: &Dictionary, rows: &[f32], target: Option<&[f32]>) -> Result<Figures> {
    let (d, d_out) = (dictionary.d_in, dictionary.d_out());
    let mut sums = Reconstruction::new(d_out, dictionary.d_sae);
    let mut encoder = dictionary.encoder();
    let target = target.unwrap_or(rows);
    for (x, y) in rows.chunks(BATCH * d).zip(target.chunks(BATCH * d_out)) {
        let codes = encoder.encode(x);
        sums.add(y, &codes, &dictionary.decode_with(&codes, x))?;
    }
    sums.figures().ok_or_else(|| crate::Error::data("there are no rows to measure on"))
}
