//! The description of a range of features, from their sorted activations and the dictionary's weights.

use std::ops::Range;

use rayon::prelude::*;
use storage::examples::ExampleRow;
use storage::feature_activations::ActivationRow;
use storage::features::FeatureRow;

use super::buckets::Bucket;
use super::coactive::{Coactivity, Partner};
use super::examples::{Example, ExampleOptions};
use super::rows::{Logits, logits, neighbours};
use super::summary::Activations;
use super::tokens::Tokens;
use crate::dictionary::Dictionary;
use kernels::wide::{dot, norm};

/// Tokens listed in `fires_on`.
const FIRES_ON: usize = 10;
/// Tokens listed in `top_logits` and in `bottom_logits`.
const LOGITS: usize = 10;
/// Features listed in `neighbours` and in `coactive`.
const OTHERS: usize = 8;

/// What descriptions are made from.
pub struct Describer<'a> {
    /// The dictionary whose features are described.
    pub dictionary: &'a Dictionary,
    /// Norms of the decoder's rows, `[F]`.
    pub norms: &'a [f32],
    /// The model's unembedding, `[V, d]`; `None` if features have no logits.
    pub unembedding: Option<&'a [f32]>,
    /// The indexed tokens.
    pub tokens: &'a Tokens,
    /// Which features fire on the same tokens.
    pub coactivity: &'a Coactivity,
    /// How examples are chosen.
    pub examples: &'a ExampleOptions,
}

/// A feature's rows in two of the tables; `first_row` and `label` are not filled in.
pub struct Description {
    /// The row of `features.parquet`.
    pub row: FeatureRow,
    /// The rows of `examples.parquet`.
    pub examples: Vec<ExampleRow>,
}

impl Describer<'_> {
    /// Describes `features`, which are in `bucket`, in order.
    pub fn describe(&self, bucket: &Bucket, features: Range<usize>) -> Vec<Description> {
        let (decoder, d) = (&self.dictionary.w_dec, self.dictionary.d_out());
        let logits = match self.unembedding {
            Some(unembedding) => logits(decoder, unembedding, d, features.clone(), LOGITS),
            None => vec![Logits::default(); features.len()],
        };
        let neighbours = neighbours(decoder, self.norms, d, features.clone(), OTHERS);
        let partners = self.coactivity.partners(features.clone(), OTHERS);
        let of = |(((feature, logits), neighbours), partners): (((usize, Logits), _), _)| {
            let mut description = self.activity(feature, bucket.of(feature));
            description.row.top_logits = logits.top;
            description.row.bottom_logits = logits.bottom;
            description.row.logit_histogram = logits.histogram;
            description.row.neighbours = neighbours;
            description.row.coactive = coactive(partners);
            description
        };
        features.into_par_iter().zip(logits).zip(neighbours).zip(partners).map(of).collect()
    }

    /// What depends on the feature's own activations and weights.
    fn activity(&self, feature: usize, activations: Activations<'_>) -> Description {
        let id = feature as u32;
        let summary = activations.summarise(self.tokens.tokens(), FIRES_ON);
        let (encoder, decoder) = (self.dictionary.encoder_row(feature), self.dictionary.decoder_row(feature));
        let norms = norm(encoder) * norm(decoder);
        let count = activations.rows.len() as u64;
        let row = FeatureRow {
            feature: id,
            count,
            density: (count as f64 / self.tokens.len() as f64) as f32,
            mean: summary.mean,
            max: summary.max,
            dead: count == 0,
            bias: self.dictionary.b_enc[feature],
            encoder_norm: norm(encoder) as f32,
            decoder_norm: norm(decoder) as f32,
            encoder_decoder_cosine: if norms > 0.0 && encoder.len() == decoder.len() {
                (dot(encoder, decoder) / norms) as f32
            } else {
                0.0
            },
            histogram: summary.histogram.to_vec(),
            fires_on: summary.fires_on,
            ..FeatureRow::default()
        };
        let examples = activations.examples(id, self.tokens, self.examples);
        Description { row, examples: examples.into_iter().map(|example| self.example(id, example)).collect() }
    }

    /// The feature's rows in the table of activations, made one by one: a dense feature has one for every
    /// token.
    pub fn activations(&self, bucket: &Bucket, feature: u32) -> impl Iterator<Item = ActivationRow> {
        let of = bucket.of(feature as usize);
        of.rows.iter().zip(of.values).map(move |(&row, &value)| ActivationRow {
            feature,
            document: self.tokens.document(row),
            position: self.tokens.position(row),
            value,
        })
    }

    fn example(&self, feature: u32, example: Example) -> ExampleRow {
        let window = example.window.start as usize..example.window.end as usize;
        ExampleRow {
            feature,
            interval: example.interval,
            rank: example.rank,
            document: self.tokens.document(example.row),
            position: self.tokens.position(example.row),
            value: example.value,
            start: self.tokens.position(example.window.start),
            tokens: self.tokens.tokens().get(window).unwrap_or_default().to_vec(),
            values: example.values,
        }
    }
}

fn coactive(partners: Vec<Partner>) -> Vec<(u32, u32, f32)> {
    partners.into_iter().map(|p| (p.feature, p.count, p.lift as f32)).collect()
}
