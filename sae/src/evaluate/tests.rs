//! Whole evaluations with a small random model: cases with a known answer, and a naive twin of the losses.

use std::path::PathBuf;

use candle_core::{DType, Tensor};

use super::*;
use crate::Quiet;
use crate::dictionary::{Dictionary, DictionaryInfo, Normalisation, Selection, Target};
use crate::rows::fixture::{self, Text};
use kernels::feature::norm_squared;
use lm::model::{LanguageModel, NoTap, Tap};
use lm::text::{Contexts, pack};

const HOOK: &str = "blocks.1.hook_resid_post";
const CONTEXT: usize = 12;

struct Keep(Hook, Option<Tensor>);

impl Tap for Keep {
    fn wants(&self, hook: &Hook) -> bool {
        *hook == self.0
    }
    fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        self.1 = Some(value.clone());
        Ok(None)
    }
}

pub(super) struct World {
    folder: tempfile::TempDir,
    pub model: LanguageModel,
    pub texts: Vec<Text>,
    /// Of all documents, `[rows, d]`.
    activations: Vec<f32>,
    pub d: usize,
    hook: &'static str,
}

/// One document's contexts alone, one per batch.
pub(super) fn alone(model: &LanguageModel, tokens: &[u32]) -> Vec<Contexts> {
    let documents = [Ok((0, tokens.to_vec()))];
    pack(documents, CONTEXT, model.config().bos_token_id, 1).unwrap().map(Result::unwrap).collect()
}

impl World {
    /// A dataset of what a small random model computes for random tokens.
    pub fn new() -> Self {
        Self::at(HOOK)
    }

    /// The same at `hook`.
    fn at(hook: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = fixture::model(&folder.path().join("model"));
        let d = model.config().hidden_size;
        let texts = fixture::texts(&[30, 7, 25, 3, 14, 40, 1, 2, 1], 60, 6);
        let mut activations = Vec::new();
        for contexts in texts.iter().flat_map(|text| alone(&model, &text.tokens)) {
            let mut tap = Keep(hook.parse().unwrap(), None);
            model.forward(&contexts, &mut tap).unwrap();
            let values: Vec<f32> =
                tap.1.unwrap().to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let rows = values.chunks(d).zip(&contexts.origin).filter(|(_, origin)| origin.is_some());
            activations.extend(rows.flat_map(|(row, _)| row));
        }
        let world = Self { folder, model, texts, activations, d, hook };
        world.write("data", &world.texts, &world.activations);
        world
    }

    fn write(&self, name: &str, texts: &[Text], activations: &[f32]) -> PathBuf {
        let mut head = fixture::header(self.d);
        head.hook = Some(self.hook.into());
        head.context_length = CONTEXT;
        head.model = fixture::model_ref(&self.model);
        let path = self.folder.path().join(name);
        fixture::dataset(&path, head, texts, activations, 2);
        path
    }

    /// A run of the dictionary.
    pub fn run(&self, dictionary: &Dictionary) -> PathBuf {
        let dir = fixture::run(&self.folder.path().join("run"), dictionary, &self.folder.path().join("data"));
        let mut record = storage::RunRecord::read(&dir).unwrap();
        record.hook = self.hook.into();
        let target = dictionary.target.as_ref();
        record.target_norm_limit = target.and_then(|target| target.norm_limit).map(f64::from);
        record.write(&dir).unwrap();
        dir
    }

    fn evaluate(&self, dictionary: &Dictionary, options: &EvaluateOptions) -> Result<Evaluation> {
        run(&self.run(dictionary), options, &mut Quiet)
    }

    /// Rows of held-out documents.
    pub fn held_out(&self) -> Vec<&[f32]> {
        let which = self.texts.iter().flat_map(|text| text.tokens.iter().map(|_| text.held_out));
        self.activations.chunks(self.d).zip(which).filter(|(_, held)| *held).map(|(row, _)| row).collect()
    }

    fn mean(&self) -> Vec<f32> {
        let rows = self.held_out();
        (0..self.d)
            .map(|c| (rows.iter().map(|row| f64::from(row[c])).sum::<f64>() / rows.len() as f64) as f32)
            .collect()
    }

    fn dictionary(&self, w_enc: Vec<f32>, w_dec: Vec<f32>, b_enc: Vec<f32>, b_dec: Vec<f32>) -> Dictionary {
        let d_sae = b_enc.len();
        let selection = Selection::Threshold(vec![0.0; d_sae]);
        Dictionary {
            d_in: self.d,
            d_sae,
            w_enc,
            b_enc,
            w_dec,
            b_dec,
            selection,
            prune_below: None,
            normalisation: Normalisation::None,
            target: None,
            info: DictionaryInfo::default(),
        }
    }

    /// Every coordinate and its negative is a feature.
    pub fn perfect(&self) -> Dictionary {
        let d = self.d;
        let mut w = vec![0.0; 2 * d * d];
        (0..d).for_each(|i| (w[i * d + i], w[(d + i) * d + i]) = (1.0, -1.0));
        self.dictionary(w.clone(), w, vec![0.0; 2 * d], vec![0.0; d])
    }

    /// Nothing ever fires: every reconstruction is `b_dec`.
    fn constant(&self, b_dec: Vec<f32>) -> Dictionary {
        self.dictionary(vec![0.0; 3 * self.d], vec![1.0; 3 * self.d], vec![-1.0; 3], b_dec)
    }
}

fn close(a: Option<f64>, b: f64) -> bool {
    a.is_some_and(|a| (a - b).abs() < 1e-4)
}

/// As a transcoder whose target is its own input, a dictionary is measured by other code, and gives the same numbers.
#[test]
fn a_transcoder_of_its_own_hook_measures_what_the_dictionary_does() {
    let world = World::new();
    let dictionary = fixture::dictionary(world.d, 40, 5, 3);
    let mut transcoder = dictionary.clone();
    // A transcoder subtracts nothing.
    for f in 0..dictionary.d_sae {
        let row = dictionary.encoder_row(f).iter().zip(&dictionary.b_dec);
        transcoder.b_enc[f] -= row.map(|(w, b)| w * b).sum::<f32>();
    }
    transcoder.target =
        Some(Target { d_out: world.d, skip: None, hook: Some(HOOK.into()), norm_limit: None });
    let mut norms: Vec<f32> = world.held_out().iter().map(|row| norm_squared(row).sqrt()).collect();
    norms.sort_by(f32::total_cmp);
    let limit = Some(norms[norms.len() * 3 / 4]);
    let options = EvaluateOptions { norm_limit: limit, ..EvaluateOptions::default() };
    let a = world.evaluate(&dictionary, &options).unwrap();
    assert!(a.left_out > 0 && a.target.is_none());
    // The input is the target here: a limit of either leaves out the same tokens.
    let mut of_target = transcoder.clone();
    of_target.target.as_mut().unwrap().norm_limit = limit;
    for b in [
        world.evaluate(&transcoder, &options).unwrap(),
        world.evaluate(&of_target, &EvaluateOptions::default()).unwrap(),
    ] {
        assert_eq!((a.tokens, a.left_out, a.dead), (b.tokens, b.left_out, b.dead));
        assert_eq!(b.target.as_deref(), Some(HOOK));
        assert!((a.l0 - b.l0).abs() < 1e-9 && close(a.fve, b.fve.unwrap()), "{:?} {:?}", a.fve, b.fve);
        for (a, b) in [
            (a.ce_clean, b.ce_clean),
            (a.ce_reconstructed, b.ce_reconstructed),
            (a.ce_zero, b.ce_zero),
            (a.ce_mean, b.ce_mean),
            (a.kl, b.kl),
        ] {
            assert!((a.unwrap() - b.unwrap()).abs() < 1e-4, "{a:?} {b:?}");
        }
    }
}

/// Nothing fires and the bias is the target's mean: nothing is explained, and the model loses what mean ablation costs.
#[test]
fn a_constant_transcoder_is_a_mean_ablation() {
    let (from, to) = ("blocks.1.hook_mlp_in", "blocks.1.hook_mlp_out");
    let world = World::at(from);
    let target = World::at(to);
    let mut transcoder = world.constant(target.mean());
    transcoder.target = Some(Target { d_out: world.d, skip: None, hook: Some(to.into()), norm_limit: None });
    let e = world.evaluate(&transcoder, &EvaluateOptions::default()).unwrap();
    assert!(e.fve.unwrap().abs() < 1e-4 && e.l0 == 0.0, "{:?}", e.fve);
    assert!(close(e.ce_reconstructed, e.ce_mean.unwrap()) && close(e.kl, e.kl_mean.unwrap()));
    assert!(e.kl.unwrap() > 1e-3, "the layer matters: {:?}", e.kl);
    let without = EvaluateOptions { model: ModelChoice::Without, ..EvaluateOptions::default() };
    assert!(world.evaluate(&transcoder, &without).unwrap_err().to_string().contains("--model"));
}

#[test]
fn a_perfect_dictionary_changes_nothing() {
    let world = World::new();
    let e = world.evaluate(&world.perfect(), &EvaluateOptions::default()).unwrap();
    assert_eq!(e.tokens, world.held_out().len() as u64);
    assert_eq!((e.fve, e.kl, e.documents), (Some(1.0), Some(0.0), 3));
    assert_eq!(e.ce_clean, e.ce_reconstructed);
    assert!(
        close(e.loss_recovered, 1.0) && close(e.kl_score, 1.0) && close(e.loss_recovered_mean_ablation, 1.0)
    );
    assert!(e.ce_zero != e.ce_clean && e.kl_zero > Some(0.01), "{e:?}");
    // Half of the coordinates' signs are on, unless one is 0.
    assert!((e.l0 - world.d as f64).abs() < 0.1);

    // The text, not the parsed numbers: reading JSON rounds the last digit.
    let written = std::fs::read_to_string(world.folder.path().join("run/evaluation/core.json")).unwrap();
    assert_eq!(written.trim_end(), serde_json::to_string_pretty(&e).unwrap());
}

#[test]
fn a_dictionary_of_nothing_is_zero_ablation() {
    let world = World::new();
    let e = world.evaluate(&world.constant(vec![0.0; world.d]), &EvaluateOptions::default()).unwrap();
    assert_eq!((e.ce_reconstructed, e.kl), (e.ce_zero, e.kl_zero));
    assert_eq!((e.loss_recovered, e.kl_score), (Some(0.0), Some(0.0)));
    assert_eq!((e.dead_share, e.dead, e.l0, e.nmse), (1.0, 3, 0.0, Some(1.0)));
}

#[test]
fn a_dictionary_of_the_mean_is_mean_ablation() {
    let world = World::new();
    let e = world.evaluate(&world.constant(world.mean()), &EvaluateOptions::default()).unwrap();
    assert!(close(e.ce_reconstructed, e.ce_mean.unwrap()) && close(e.kl, e.kl_mean.unwrap()));
    assert!(close(e.fve, 0.0) && close(e.loss_recovered_mean_ablation, 0.0), "{e:?}");
}

/// Every context alone, softmax in double precision, no shared code but the model and the dictionary.
#[test]
fn losses_as_by_a_naive_twin() {
    struct Replace<'a>(Hook, &'a dyn Fn(&[f32]) -> Vec<f32>);
    impl Tap for Replace<'_> {
        fn wants(&self, hook: &Hook) -> bool {
            *hook == self.0
        }
        fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
            let rows: Vec<Vec<f32>> = value.squeeze(0)?.to_vec2()?;
            // BOS, the first token, stays.
            let new =
                rows.iter().enumerate().flat_map(|(i, row)| if i == 0 { row.clone() } else { (self.1)(row) });
            Ok(Some(Tensor::from_vec(new.collect(), value.shape(), value.device())?))
        }
    }
    fn log_softmax(logits: &[f32]) -> Vec<f64> {
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        logits.iter().map(|&l| f64::from(l) - sum.ln()).collect()
    }
    let world = World::new();
    assert!(world.model.config().bos_token_id.is_some(), "the twin counts on BOS");
    let dictionary = fixture::dictionary(world.d, 64, 8, 3);
    let e = world.evaluate(&dictionary, &EvaluateOptions::default()).unwrap();
    let hook: Hook = HOOK.parse().unwrap();
    let mean = world.mean();
    let replace: [&dyn Fn(&[f32]) -> Vec<f32>; 3] =
        [&|row| dictionary.decode(&dictionary.encode(row)), &|row| vec![0.0; row.len()], &|_| mean.clone()];
    let (mut n, mut clean_sum, mut sums, mut kls) = (0.0, 0.0, [0.0; 3], [0.0; 3]);
    for contexts in world.texts.iter().filter(|t| t.held_out).flat_map(|t| alone(&world.model, &t.tokens)) {
        // No padding: as many tokens as the context has.
        let length = contexts.segments.iter().filter(|&&s| s != 0).count();
        let cut = |v: &[u32]| v[..length].to_vec();
        let contexts = Contexts {
            rows: 1,
            len: length,
            tokens: cut(&contexts.tokens),
            segments: cut(&contexts.segments),
            positions: cut(&contexts.positions),
            origin: contexts.origin[..length].to_vec(),
        };
        let logits = |tap: &mut dyn Tap| -> Vec<Vec<f32>> {
            world.model.forward(&contexts, tap).unwrap().squeeze(0).unwrap().to_vec2().unwrap()
        };
        let clean = logits(&mut NoTap);
        let spliced = replace.map(|with| logits(&mut Replace(hook, with)));
        for i in 1..length - 1 {
            let next = contexts.tokens[i + 1] as usize;
            let p = log_softmax(&clean[i]);
            n += 1.0;
            clean_sum -= p[next];
            for (r, spliced) in spliced.iter().enumerate() {
                let q = log_softmax(&spliced[i]);
                sums[r] -= q[next];
                kls[r] += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            }
        }
    }
    assert_eq!(e.predicted_tokens as f64, n);
    assert!(close(e.ce_clean, clean_sum / n), "{:?} {}", e.ce_clean, clean_sum / n);
    let ([reconstructed, zero, mean], clean) = (sums.map(|s| s / n), clean_sum / n);
    assert!(
        close(e.ce_reconstructed, reconstructed) && close(e.ce_zero, zero) && close(e.ce_mean, mean),
        "{e:?} {sums:?}"
    );
    for (found, expected) in [e.kl, e.kl_zero, e.kl_mean].into_iter().zip(kls) {
        assert!(close(found, expected / n), "{found:?} {}", expected / n);
    }
    assert!((e.loss_recovered.unwrap() - (zero - reconstructed) / (zero - clean)).abs() < 1e-3);
}

#[test]
fn only_held_out_documents_unless_asked() {
    let world = World::new();
    let without = |all_documents| EvaluateOptions {
        model: ModelChoice::Without,
        all_documents,
        ..EvaluateOptions::default()
    };
    let e = world.evaluate(&world.perfect(), &without(false)).unwrap();
    assert_eq!((e.split.as_str(), e.documents, e.ce_clean, e.loss_recovered), ("held-out", 3, None, None));
    let e = world.evaluate(&world.perfect(), &without(true)).unwrap();
    assert_eq!((e.split.as_str(), e.documents, e.tokens), ("all", 9, 123));

    let mut texts = world.texts.clone();
    texts.iter_mut().for_each(|text| text.held_out = false);
    let data = Some(world.write("trained", &texts, &world.activations));
    let message = world
        .evaluate(&world.perfect(), &EvaluateOptions { data, ..EvaluateOptions::default() })
        .unwrap_err()
        .to_string();
    assert!(message.contains("no held-out documents") && message.contains("--all-documents"), "{message}");
}

#[test]
fn foreign_activations_are_refused() {
    let world = World::new();
    let other: Vec<f32> = world.activations.iter().map(|v| v * 1.1).collect();
    let data = Some(world.write("other", &world.texts, &other));
    let message = world
        .evaluate(&world.perfect(), &EvaluateOptions { data, ..EvaluateOptions::default() })
        .unwrap_err()
        .to_string();
    assert!(message.contains("mean squared norm"), "{message}");
    assert!(!world.folder.path().join("run/evaluation").exists());
}
