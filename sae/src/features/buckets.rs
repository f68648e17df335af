//! From token order to feature order in bounded memory: codes are spilled to one file a range of features
//! while they stream by, and each file is sorted when its turn comes.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::summary::Activations;
use crate::{Error, Result};

/// One spilled activation: feature u32, row u32, value f32, little endian.
const RECORD: usize = 12;
/// Memory that one bucket should take when it is sorted.
const TARGET_BYTES: u64 = 96 << 20;
/// Open files at most.
const MOST_BUCKETS: u64 = 200;

/// How many buckets `expected` activations of `features` features are spread over.
pub fn how_many(expected: u64, features: usize) -> usize {
    // A record and its sorted copy: feature, row, value and then row, value.
    let bytes = expected.saturating_mul(RECORD as u64 + 8);
    let buckets = bytes.div_ceil(TARGET_BYTES).clamp(1, MOST_BUCKETS);
    usize::try_from(buckets).unwrap_or(1).min(features.max(1))
}

/// Receives activations in row order.
pub struct Spill {
    features: usize,
    width: usize,
    files: Vec<(PathBuf, BufWriter<File>)>,
    counts: Vec<u64>,
}

impl Spill {
    /// Opens `buckets` files in `folder`, which exists, for the activations of `features` features.
    ///
    /// # Errors
    /// A file that cannot be made.
    pub fn create(folder: &Path, features: usize, buckets: usize) -> Result<Self> {
        let width = features.div_ceil(buckets.max(1)).max(1);
        let files = (0..features.div_ceil(width))
            .map(|bucket| {
                let path = folder.join(format!("bucket-{bucket:05}.bin"));
                let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
                Ok((path, BufWriter::with_capacity(1 << 16, file)))
            })
            .collect::<Result<_>>()?;
        Ok(Self { features, width, files, counts: vec![0; features] })
    }

    /// Adds an activation; rows never decrease, and `feature` is below the number of features.
    ///
    /// # Errors
    /// A disk that is full or fails.
    pub fn add(&mut self, feature: u32, row: u32, value: f32) -> Result<()> {
        let (path, file) = &mut self.files[feature as usize / self.width];
        let mut record = [0; RECORD];
        record[..4].copy_from_slice(&feature.to_le_bytes());
        record[4..8].copy_from_slice(&row.to_le_bytes());
        record[8..].copy_from_slice(&value.to_le_bytes());
        file.write_all(&record).map_err(|e| Error::io(path, e))?;
        self.counts[feature as usize] += 1;
        Ok(())
    }

    /// Ends the spilling; the buckets can now be read, in the order of the features.
    ///
    /// # Errors
    /// A disk that is full or fails.
    pub fn finish(self) -> Result<Buckets> {
        let mut paths = Vec::new();
        for (path, mut file) in self.files {
            file.flush().map_err(|e| Error::io(&path, e))?;
            paths.push(path);
        }
        Ok(Buckets { features: self.features, width: self.width, paths, counts: self.counts })
    }
}

/// Spilled activations, by ranges of features.
pub struct Buckets {
    features: usize,
    width: usize,
    paths: Vec<PathBuf>,
    counts: Vec<u64>,
}

impl Buckets {
    /// Number of buckets.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Activations of every feature.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Reads, sorts and removes bucket `index`.
    ///
    /// # Errors
    /// A bucket that cannot be read, or is shorter than its counts.
    pub fn take(&self, index: usize) -> Result<Bucket> {
        let features = index * self.width..((index + 1) * self.width).min(self.features);
        let path = &self.paths[index];
        let bucket = Bucket::sort(path, features, &self.counts)?;
        std::fs::remove_file(path).map_err(|e| Error::io(path, e))?;
        Ok(bucket)
    }
}

/// The activations of a range of features, in (feature, row) order.
pub struct Bucket {
    features: Range<usize>,
    /// Where each feature's activations begin; one more at the end.
    offsets: Vec<usize>,
    rows: Vec<u32>,
    values: Vec<f32>,
}

impl Bucket {
    /// A counting sort. Records of a feature stay in the order in which they were added, which is row order.
    fn sort(path: &Path, features: Range<usize>, counts: &[u64]) -> Result<Self> {
        let mut offsets = vec![0];
        for feature in features.clone() {
            offsets.push(offsets[offsets.len() - 1] + counts[feature] as usize);
        }
        let total = offsets[offsets.len() - 1];
        let (mut rows, mut values) = (vec![0; total], vec![0.0; total]);
        let mut next = offsets.clone();
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut record = [0; RECORD];
        for _ in 0..total {
            reader.read_exact(&mut record).map_err(|e| Error::io(path, e))?;
            let [feature, row, value] =
                [0, 4, 8].map(|at| [record[at], record[at + 1], record[at + 2], record[at + 3]]);
            let place = (u32::from_le_bytes(feature) as usize)
                .checked_sub(features.start)
                .and_then(|local| next.get_mut(local))
                .filter(|place| **place < total)
                .ok_or_else(|| {
                    Error::format(path, "a record belongs to another bucket")
                        .with_remedy("run the index again")
                })?;
            rows[*place] = u32::from_le_bytes(row);
            values[*place] = f32::from_le_bytes(value);
            *place += 1;
        }
        Ok(Self { features, offsets, rows, values })
    }

    /// The features of this bucket.
    pub fn features(&self) -> Range<usize> {
        self.features.clone()
    }

    /// The activations of `feature`, which is one of [`Bucket::features`].
    pub fn of(&self, feature: usize) -> Activations<'_> {
        let local = feature - self.features.start;
        let range = self.offsets[local]..self.offsets[local + 1];
        Activations { rows: &self.rows[range.clone()], values: &self.values[range] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn as_a_stable_sort(
            features in 1usize..30,
            buckets in 1usize..9,
            codes in prop::collection::vec((0u32..30, 0.01f32..9.0), 0..300),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut spill = Spill::create(folder.path(), features, buckets).unwrap();
            let mut expected = Vec::new();
            for (row, &(feature, value)) in codes.iter().enumerate() {
                let feature = feature % features as u32;
                spill.add(feature, row as u32, value).unwrap();
                expected.push((feature as usize, row as u32, value));
            }
            expected.sort_by_key(|&(feature, row, _)| (feature, row));
            let buckets = spill.finish().unwrap();
            let mut found = Vec::new();
            for index in 0..buckets.len() {
                let bucket = buckets.take(index).unwrap();
                for feature in bucket.features() {
                    let of = bucket.of(feature);
                    prop_assert_eq!(of.rows.len() as u64, buckets.counts()[feature]);
                    found.extend(of.rows.iter().zip(of.values).map(|(&row, &value)| (feature, row, value)));
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_truncated_bucket_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::create(folder.path(), 4, 1).unwrap();
        spill.add(2, 0, 1.0).unwrap();
        let buckets = spill.finish().unwrap();
        let path = folder.path().join("bucket-00000.bin");
        File::options().write(true).open(&path).unwrap().set_len(5).unwrap();
        let message = buckets.take(0).err().unwrap().to_string();
        assert!(message.contains("bucket-00000.bin"), "{message}");
    }

    #[test]
    fn buckets_grow_with_the_data() {
        assert_eq!(how_many(0, 100), 1);
        assert_eq!(how_many(1_000_000, 4096), 1);
        assert_eq!(how_many(100_000_000, 4096), 20);
        assert_eq!(how_many(100_000_000, 3), 3);
        assert_eq!(how_many(u64::MAX, 1 << 20), 200);
    }
}
