//! Sparse codes of many tokens.

use kernels::group::by_feature;

/// Codes in compressed sparse rows: token `i` has `features[offsets[i]..offsets[i + 1]]`, ascending, and their `values`.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    /// `[n + 1]`, begins with 0.
    pub offsets: Vec<usize>,
    /// Features that are active, ascending within a row.
    pub features: Vec<u32>,
    /// Their values, > 0; of either sign if the selection [is signed](super::Selection::is_signed).
    pub values: Vec<f32>,
}

impl Default for Codes {
    fn default() -> Self {
        Self { offsets: vec![0], features: Vec::new(), values: Vec::new() }
    }
}

impl Codes {
    /// Number of rows, `n`.
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Row `i`: its active features, ascending, and their values.
    pub fn row(&self, i: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[i]..self.offsets[i + 1];
        (&self.features[range.clone()], &self.values[range])
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.offsets.truncate(1);
        self.features.clear();
        self.values.clear();
    }

    /// Appends a row; `features` must be ascending.
    pub fn push_row(&mut self, features: &[u32], values: &[f32]) {
        debug_assert!(features.is_sorted() && features.len() == values.len());
        self.features.extend_from_slice(features);
        self.values.extend_from_slice(values);
        self.offsets.push(self.features.len());
    }

    /// The rows of all `parts`, in order.
    pub fn concatenate(parts: &[Self]) -> Self {
        let entries = parts.iter().map(|p| p.features.len()).sum();
        let mut all = Self {
            offsets: Vec::with_capacity(parts.iter().map(Self::rows).sum::<usize>() + 1),
            features: Vec::with_capacity(entries),
            values: Vec::with_capacity(entries),
        };
        all.offsets.push(0);
        for part in parts {
            let base = all.features.len();
            all.offsets.extend(part.offsets[1..].iter().map(|o| base + o));
            all.features.extend_from_slice(&part.features);
            all.values.extend_from_slice(&part.values);
        }
        all
    }

    /// The same entries by feature, for `features` features; rows ascend within a feature.
    ///
    /// # Panics
    /// If an entry's feature is not below `features`.
    pub fn transposed(&self, features: usize) -> ByFeature {
        let mut rows = vec![0; self.features.len()];
        let mut values = vec![0.0; self.features.len()];
        let lists = (0..self.rows()).map(|i| self.row(i).0);
        let offsets = by_feature(features, lists, |slot, row, i| {
            rows[slot] = row as u32;
            values[slot] = self.values[self.offsets[row] + i];
        });
        ByFeature { offsets, rows, values }
    }
}

/// Codes in compressed sparse columns: feature `f` fires on `rows[offsets[f]..offsets[f + 1]]`, ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct ByFeature {
    /// `[F + 1]`, begins with 0.
    pub offsets: Vec<usize>,
    /// Rows, ascending within a feature.
    pub rows: Vec<u32>,
    /// Their values, > 0.
    pub values: Vec<f32>,
}

impl ByFeature {
    /// Feature `f`: the rows it fires on, ascending, and its values there.
    pub fn feature(&self, f: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[f]..self.offsets[f + 1];
        (&self.rows[range.clone()], &self.values[range])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes() -> Codes {
        let mut codes = Codes::default();
        codes.push_row(&[1, 4], &[0.5, 0.25]);
        codes.push_row(&[], &[]);
        codes.push_row(&[0, 1, 2], &[1.0, 2.0, 3.0]);
        codes
    }

    #[test]
    fn rows_come_back() {
        let codes = codes();
        assert_eq!(codes.rows(), 3);
        assert_eq!(codes.row(0), (&[1, 4][..], &[0.5, 0.25][..]));
        assert_eq!(codes.row(1), (&[][..], &[][..]));
        assert_eq!(
            Codes::concatenate(&[codes.clone(), Codes::default(), codes.clone()]).row(5),
            codes.row(2)
        );
        assert_eq!(Codes::concatenate(&[]), Codes::default());
    }

    #[test]
    fn transposing_lists_rows_of_features() {
        let columns = codes().transposed(6);
        assert_eq!(columns.feature(1), (&[0, 2][..], &[0.5, 2.0][..]));
        assert_eq!(columns.feature(3), (&[][..], &[][..]));
        assert_eq!(columns.feature(4), (&[0][..], &[0.25][..]));
        assert_eq!(columns.offsets.last(), Some(&5));
    }
}
