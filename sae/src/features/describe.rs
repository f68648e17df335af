//! The description of a range of features, from their sorted activations and the dictionary's weights.

use std::ops::Range;

use rayon::prelude::*;
use storage::examples::ExampleRow;
use storage::features::FeatureRow;

use super::buckets::Bucket;
use super::coactive::{Coactivity, Partner};
use super::examples::{Example, ExampleOptions};
use super::summary::Activations;
use super::tally::{FiredToken, TokenTally, most_frequent};
use super::tokens::Tokens;
use super::weights::FromWeights;
use crate::dictionary::Dictionary;
use kernels::spare::Spare;
use kernels::wide::{dot, norm};

/// Tokens listed in `fires_on`.
const FIRES_ON: usize = 10;
/// Features listed in `neighbours` and in `coactive`.
pub const OTHERS: usize = 8;

/// What descriptions are made from.
pub struct Describer<'a> {
    /// The dictionary whose features are described.
    pub dictionary: &'a Dictionary,
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
    /// The tokens it fires on, by token; none where rows are not tokens.
    pub fired: Vec<FiredToken>,
}

impl Describer<'_> {
    /// Describes `features`, which are in `bucket`, in order; `weights` is what theirs tell.
    pub fn describe(
        &self,
        bucket: &Bucket,
        features: Range<usize>,
        weights: Vec<FromWeights>,
    ) -> Vec<Description> {
        let partners = self.coactivity.partners(features.clone(), OTHERS);
        let spare = Spare::<TokenTally>::default();
        let of = |((feature, weights), partners): ((usize, FromWeights), _)| {
            let FromWeights { logits, neighbours } = weights;
            let activations = bucket.of(feature);
            let fired = spare.with(|tally| tally.count(activations, self.tokens.tokens()));
            let mut description = self.activity(feature, activations, fired);
            description.row.top_logits = logits.top;
            description.row.bottom_logits = logits.bottom;
            description.row.logit_histogram = logits.histogram;
            description.row.neighbours = neighbours;
            description.row.coactive = coactive(partners);
            description
        };
        features.into_par_iter().zip(weights).zip(partners).map(of).collect()
    }

    /// What depends on the feature's own activations and weights.
    fn activity(&self, feature: usize, activations: Activations<'_>, fired: Vec<FiredToken>) -> Description {
        let id = feature as u32;
        let summary = activations.summarise();
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
            fires_on: most_frequent(&fired, FIRES_ON),
            ..FeatureRow::default()
        };
        let examples = activations.examples(id, self.tokens, self.examples);
        let examples = examples.into_iter().map(|example| self.example(id, example)).collect();
        Description { row, examples, fired }
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
