//! Attribution against a model from which tokens and heads are taken away: every part is what the
//! pre-activation loses by it.
//!
//! The sum is linear in the values as long as the pattern stays, and the pattern does not depend on the
//! layer's own values. So a source's part is the difference that its values make when they are set to zero.
//! The models here compute attention as they always do, in one context alone; patterns are never looked at.

use candle_core::{Device, Tensor};
use storage::TableReader;
use storage::attention::{AttributionRow, read};
use storage::row::Row as _;

use super::pass::{AttributionTarget, SOURCES, Text, attribute};
use super::weights;
use super::*;
use crate::Quiet;
use crate::dictionary::Dictionary;
use crate::rows::fixture;
use lm::model::{Decoder, Tap};
use lm::progress::StopAfter;
use lm::text::Contexts;

const FEATURES: usize = 11;

/// Sets values at one site of one layer to zero, and keeps what the heads then give.
struct Without<'a> {
    layer: usize,
    site: Site,
    /// Whether the number at (row, token, component) is kept.
    keeps: &'a dyn Fn(usize, usize, usize) -> bool,
    z: Option<Tensor>,
}

impl Tap for Without<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        hook.layer == self.layer && [Site::V, Site::AttnZ].contains(&hook.site)
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let (_, len, width) = value.dims3()?;
        let mut numbers: Vec<f32> = value.flatten_all()?.to_vec1()?;
        if hook.site == self.site {
            for (i, number) in numbers.iter_mut().enumerate() {
                if !(self.keeps)(i / width / len, i / width % len, i % width) {
                    *number = 0.0;
                }
            }
        }
        let value = Tensor::from_vec(numbers, value.shape(), &Device::Cpu)?;
        if hook.site == Site::AttnZ {
            self.z = Some(value.clone());
        }
        Ok(Some(value))
    }
}

/// A text, a model and a dictionary of the heads of its layer.
struct World {
    decoder: Decoder,
    heads: Heads,
    dictionary: Dictionary,
    context_length: usize,
    texts: Vec<Vec<u32>>,
    folder: tempfile::TempDir,
}

impl World {
    /// Documents of these lengths, numbered 10, 11, ….
    fn new(decoder: Decoder, layer: usize, context_length: usize, lengths: &[usize]) -> Self {
        let heads = Heads::at(&Hook::new(layer, Site::AttnZ), decoder.config()).unwrap();
        let texts = fixture::texts(lengths, 96, 5).into_iter().map(|text| text.tokens).collect();
        let dictionary = fixture::dictionary(heads.width(), FEATURES, 4, 7);
        Self { decoder, heads, dictionary, context_length, texts, folder: tempfile::tempdir().unwrap() }
    }

    fn tokens(&self) -> Tokens {
        let mut tokens = Tokens::default();
        for (document, text) in (10..).zip(&self.texts) {
            for (position, token) in (0..).zip(text) {
                tokens.push(document, position, *token).unwrap();
            }
        }
        tokens
    }

    fn room(&self) -> usize {
        self.context_length - usize::from(self.decoder.config().bos_token_id.is_some())
    }

    /// The context of a token, `copies` times one under the other: (contexts, index of the token in a row).
    fn alone(&self, document: u32, position: u32, copies: usize) -> (Contexts, usize) {
        let text = &self.texts[document as usize - 10];
        let start = position as usize / self.room() * self.room();
        let bos = self.decoder.config().bos_token_id;
        let own = &text[start..text.len().min(start + self.room())];
        let tokens: Vec<u32> = bos.into_iter().chain(own.iter().copied()).collect();
        let len = tokens.len();
        let contexts = Contexts {
            rows: copies,
            len,
            tokens: tokens.repeat(copies),
            segments: vec![1; copies * len],
            positions: (0..len as u32).collect::<Vec<_>>().repeat(copies),
            origin: vec![None; copies * len],
        };
        (contexts, position as usize - start + usize::from(bos.is_some()))
    }

    /// The pre-activation of a feature at token `at` of every row, with some numbers gone.
    fn pre_activations(
        &self,
        (contexts, at): &(Contexts, usize),
        feature: u32,
        site: Site,
        keeps: &dyn Fn(usize, usize, usize) -> bool,
    ) -> Vec<f64> {
        let layer = self.heads.layer;
        let mut tap = Without { layer, site, keeps, z: None };
        self.decoder.residual(contexts, layer + 1, &mut tap).unwrap();
        let z: Vec<f32> = tap.z.unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let (d, feature) = (self.heads.width(), feature as usize);
        let of = |row: usize| {
            let z = &z[(row * contexts.len + at) * d..][..d];
            let terms = z.iter().zip(&self.dictionary.b_dec).zip(self.dictionary.encoder_row(feature));
            let sum: f64 = terms.map(|((z, b), w)| (f64::from(*z) - f64::from(*b)) * f64::from(*w)).sum();
            sum + f64::from(self.dictionary.b_enc[feature])
        };
        (0..contexts.rows).map(of).collect()
    }

    fn whole(&self, feature: u32, document: u32, position: u32) -> f64 {
        self.pre_activations(&self.alone(document, position, 1), feature, Site::V, &|_, _, _| true)[0]
    }

    /// Examples at some tokens of every document, the last one among them, sorted by feature.
    fn wanted(&self) -> Vec<AttributionTarget> {
        let mut wanted = Vec::new();
        for (n, (document, text)) in (10..).zip(&self.texts).enumerate() {
            for position in [text.len() - 1, text.len() / 2, (n * 5) % text.len()] {
                let feature = ((n * 3 + position) % FEATURES) as u32;
                let (position, rank) = (position as u32, wanted.len() as u16);
                let value = self.whole(feature, document, position) as f32;
                wanted.push(AttributionTarget { feature, rank, document, position, value });
            }
        }
        wanted.sort_by_key(|wanted| (wanted.feature, wanted.rank));
        wanted
    }

    fn attribute(&self, wanted: &[AttributionTarget]) -> std::result::Result<Vec<AttributionRow>, String> {
        let path = self.folder.path().join("attribution.parquet");
        let tokens = self.tokens();
        let text = Text { tokens: &tokens, context_length: self.context_length };
        let written =
            attribute(&self.decoder, &self.heads, &self.dictionary, text, wanted, &path, &mut Quiet).unwrap();
        if written.is_err() {
            assert_eq!(std::fs::read_dir(self.folder.path()).unwrap().count(), 0, "nothing half-written");
        }
        assert_eq!(written?, wanted.len() as u64);
        let table = TableReader::open_file(&path, &AttributionRow::schema()).unwrap();
        Ok((0..FEATURES as u32).flat_map(|f| read::<AttributionRow>(&table, f).unwrap()).collect())
    }

    /// Every number of a row against the model without that token or head.
    fn check(&self, row: &AttributionRow, wanted: &AttributionTarget) {
        let place = (row.feature, row.rank, row.document, row.position, row.interval);
        assert_eq!(place, (wanted.feature, wanted.rank, wanted.document, wanted.position, 0));
        assert_eq!(row.start as usize, wanted.position as usize / self.room() * self.room());
        let whole = self.whole(row.feature, row.document, row.position);
        let close = |found: f32, expected: f64, what: &str| {
            let near = (f64::from(found) - expected).abs() < 2e-5 * (1.0 + whole.abs());
            assert!(near, "{what}: {found}, expected {expected}, {row:?}");
        };
        close(row.pre_activation, whole, "whole");

        let one = self.alone(row.document, row.position, 1);
        let at = one.1;
        let nothing = self.pre_activations(&one, row.feature, Site::V, &|_, _, _| false)[0];
        close(row.constant, nothing, "constant");
        let all = (self.alone(row.document, row.position, at + 1).0, at);
        let without = self.pre_activations(&all, row.feature, Site::V, &|row, token, _| row != token);
        let parts: Vec<f64> = without.iter().map(|without| whole - without).collect();

        let has_bos = self.decoder.config().bos_token_id.is_some();
        assert_eq!(row.bos.is_some(), has_bos);
        row.bos.iter().for_each(|bos| close(*bos, parts[0], "BOS"));
        let own = &parts[usize::from(has_bos)..];
        let mut rest: f64 = own.iter().sum();
        let text = &self.texts[row.document as usize - 10];
        for ((source, token), value) in row.sources.iter().zip(&row.tokens).zip(&row.values) {
            assert_eq!(text[*source as usize], *token);
            let part = own[(source - row.start) as usize];
            close(*value, part, "source");
            rest -= part;
        }
        close(row.rest, rest, "rest");
        assert!(row.sources.is_sorted_by(|a, b| a < b) && row.sources.len() <= SOURCES);
        assert_eq!((row.tokens.len(), row.values.len()), (row.sources.len(), row.sources.len()));
        // What is not listed is at most as large as what is, if the list is full; else it is nothing.
        let least = row.values.iter().map(|v| f64::from(v.abs())).fold(f64::INFINITY, f64::min);
        let most = if row.sources.len() == SOURCES { least } else { 0.0 };
        for (position, part) in (row.start..).zip(own).filter(|(p, _)| !row.sources.contains(p)) {
            assert!(part.abs() <= most + 2e-5 * (1.0 + whole.abs()), "{position}: {part}, {row:?}");
        }

        let d = self.heads.d_value;
        assert_eq!(row.heads.len(), self.heads.heads);
        for (head, part) in row.heads.iter().enumerate() {
            let without = self.pre_activations(&one, row.feature, Site::AttnZ, &|_, _, i| i / d != head);
            close(*part, whole - without[0], "head");
        }
        let sum: f64 = row.values.iter().map(|&v| f64::from(v)).sum();
        let sum = sum + f64::from(row.rest) + f64::from(row.bos.unwrap_or(0.0)) + f64::from(row.constant);
        close(row.pre_activation, sum, "sum of sources");
        let heads: f64 = row.heads.iter().map(|&v| f64::from(v)).sum();
        close(row.pre_activation, heads + f64::from(row.constant), "sum of heads");
    }

    fn check_all(&self) -> Vec<AttributionRow> {
        let wanted = self.wanted();
        let rows = self.attribute(&wanted).unwrap();
        assert_eq!(rows.len(), wanted.len());
        rows.iter().zip(&wanted).for_each(|(row, wanted)| self.check(row, wanted));
        rows
    }
}

/// Short documents that share a row of a batch, and one of several contexts.
const LENGTHS: [usize; 6] = [5, 3, 40, 7, 1, 9];

#[test]
fn parts_are_what_is_lost_without_them() {
    // Grouped heads, windows, caps on scores, sinks, clipped values, latents with values of another width, biases, parallel blocks.
    let families = [
        ("llama", 1),
        ("llama-biases", 0),
        ("mistral", 2),
        ("gemma2", 0),
        ("gemma3", 1),
        ("gpt_oss", 2),
        ("olmoe-clipped", 1),
        ("deepseek_v3", 1),
        ("gpt2", 2),
        ("gpt_neox", 1),
        ("qwen3_moe", 0),
    ];
    for (family, layer) in families {
        World::new(fixture::family(family, |_| ()), layer, 20, &LENGTHS).check_all();
    }
}

#[test]
fn a_window_leaves_far_tokens_out() {
    let world = World::new(fixture::family("mistral", |_| ()), 1, 40, &[39]);
    let rows = world.check_all();
    let last = rows.iter().find(|row| row.position == 38).unwrap();
    assert_eq!(last.sources, (32..39).collect::<Vec<_>>(), "seven tokens, itself among them");
    assert_eq!((last.bos, last.rest), (Some(0.0), 0.0));
}

#[test]
fn a_model_without_bos_has_none_as_a_source() {
    let decoder = fixture::family("llama", |json| json["bos_token_id"] = serde_json::Value::Null);
    let rows = World::new(decoder, 1, 20, &LENGTHS).check_all();
    assert!(rows.iter().all(|row| row.bos.is_none()));
}

#[test]
fn of_many_sources_the_largest_are_listed() {
    let rows = World::new(fixture::family("llama", |_| ()), 2, 100, &[99, 20]).check_all();
    let last = rows.iter().find(|row| row.position == 98).unwrap();
    assert!(last.sources.len() == SOURCES && last.rest != 0.0, "{last:?}");
}

#[test]
fn what_can_not_be_said_is_left_out() {
    let mut world = World::new(fixture::family("llama", |_| ()), 1, 20, &LENGTHS);
    let wanted = world.wanted();
    // Half of the tokens were seen in another context.
    world.context_length = 10;
    let why = world.attribute(&wanted).unwrap_err();
    assert!(why.contains("in other contexts"), "{why}");
    world.context_length = 0;
    assert!(world.attribute(&wanted).unwrap_err().contains("how many tokens"));
}

#[test]
fn a_text_with_gaps_is_left_out() {
    let world = World::new(fixture::family("llama", |_| ()), 1, 20, &LENGTHS);
    let mut tokens = Tokens::default();
    [0, 1, 3].iter().for_each(|position| tokens.push(4, *position, 9).unwrap());
    let path = world.folder.path().join("a.parquet");
    let text = Text { tokens: &tokens, context_length: 20 };
    let made = attribute(&world.decoder, &world.heads, &world.dictionary, text, &[], &path, &mut Quiet);
    assert!(made.unwrap().unwrap_err().contains("document 4"));
}

#[test]
fn a_stopped_pass_leaves_nothing() {
    let world = World::new(fixture::family("llama", |_| ()), 1, 20, &LENGTHS);
    let (wanted, tokens) = (world.wanted(), world.tokens());
    let path = world.folder.path().join("a.parquet");
    let text = Text { tokens: &tokens, context_length: 20 };
    let mut stop = StopAfter::new(1);
    let made = attribute(&world.decoder, &world.heads, &world.dictionary, text, &wanted, &path, &mut stop);
    assert!(matches!(made, Err(Error::Stopped(_))));
    assert_eq!(std::fs::read_dir(world.folder.path()).unwrap().count(), 0);
}

#[test]
fn shares_of_heads_by_hand() {
    let heads = Heads { layer: 0, heads: 3, kv_heads: 1, d_value: 2 };
    let mut dictionary = fixture::dictionary(6, 3, 1, 2);
    dictionary.w_dec[..6].copy_from_slice(&[3.0, 4.0, 0.0, 0.0, -6.0, 8.0]);
    dictionary.w_dec[6..12].fill(0.0);
    let first = weights::of_feature(&dictionary, &heads, 0);
    assert_eq!((first.feature, first.norms), (0, vec![5.0, 0.0, 10.0]));
    assert_eq!(first.shares, [1.0_f32 / 3.0, 0.0, 2.0 / 3.0]);
    let none = weights::of_feature(&dictionary, &heads, 1);
    assert_eq!((none.norms, none.shares), (vec![0.0; 3], vec![0.0; 3]));
    assert!((weights::of_feature(&dictionary, &heads, 2).shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
}

#[test]
fn only_the_heads_outputs_have_heads() {
    let decoder = fixture::family("deepseek_v3", |_| ());
    let at = |name: &str| Heads::at(&name.parse().unwrap(), decoder.config());
    let found = at("blocks.2.attn.hook_z").unwrap();
    assert_eq!(found, Heads { layer: 2, heads: 4, kv_heads: 4, d_value: 12 });
    for other in ["blocks.2.hook_attn_out", "blocks.2.attn.hook_v", "blocks.9.attn.hook_z"] {
        assert_eq!(at(other), None, "{other}");
    }
}
