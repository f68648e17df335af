//! ExpertMask routers against models that never had the experts, and what masking costs the embedded model.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{Device, Tensor};

use super::*;
use crate::Quiet;
use crate::harvest::HarvestConfig;
use crate::rows::fixture;
use lm::model::{Hook, ModelSource, Routing};
use lm::text::{Contexts, pack};

/// A dataset of the embedded model's routing, two domains.
fn data(folder: &Path) -> PathBuf {
    let text = folder.join("text.jsonl");
    let body = |i: usize| match i % 2 {
        0 => "def f(x):\n    return x + 1\n\n".repeat(20 + i),
        _ => "Le conseil a décidé que la loi est la loi. ".repeat(20 + i),
    };
    let line = |i: usize| {
        let domain = if i.is_multiple_of(2) { "code" } else { "french" };
        let split = if i < 4 { "heldout" } else { "train" };
        format!("{}\n", serde_json::json!({ "text": body(i), "domain": domain, "split": split }))
    };
    std::fs::write(&text, (0..10).map(line).collect::<String>()).unwrap();
    let config = HarvestConfig { text: vec![text], routing: true, ..HarvestConfig::default() };
    let model = LanguageModel::load(&ModelSource::Default).unwrap();
    let out = folder.join("data");
    crate::harvest::run(&config, &model, &out, &mut Quiet).unwrap();
    out
}

fn options(choose: Choose) -> MaskOptions {
    MaskOptions { choose, model: ModelChoice::OfTheData, tokens: 200, controls: 2, seed: 1 }
}

fn some_tokens() -> Contexts {
    let documents = [(0, (1..40).map(|t| t * 7 % 59 + 1).collect()), (1, (1..25).collect())];
    pack(documents.into_iter().map(Ok), 32, Some(0), 4).unwrap().next().unwrap().unwrap()
}

/// What every router chose, and the tap that it chose under.
struct Chosen<'a> {
    inner: &'a mut dyn Tap,
    routing: Vec<(Vec<u32>, Vec<f32>, Vec<f32>)>,
}

impl Tap for Chosen<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        self.inner.wants(hook)
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        self.inner.at(hook, value)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        self.routing.push((routing.chosen.clone(), routing.weights.clone(), routing.entropy.clone()));
        Ok(())
    }
}

/// Logits and what the routers chose.
fn run(model: &LanguageModel, tap: &mut dyn Tap) -> (Vec<f32>, Vec<(Vec<u32>, Vec<f32>, Vec<f32>)>) {
    let mut chosen = Chosen { inner: tap, routing: Vec::new() };
    let logits = model.forward(&some_tokens(), &mut chosen).unwrap();
    (logits.flatten_all().unwrap().to_vec1().unwrap(), chosen.routing)
}

/// Writes the model in `folder` to `out` without `gone[layer]`: its tensors and its row of the router are
/// taken out, the experts after it move up, and config.json has one expert less. Knows nothing of masks.
fn without_experts(folder: &Path, out: &Path, gone: &[usize]) {
    let mut config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
    let experts = config["num_experts"].as_u64().unwrap() as usize;
    config["num_experts"] = (experts - 1).into();
    std::fs::create_dir_all(out).unwrap();
    std::fs::write(out.join("config.json"), config.to_string()).unwrap();
    std::fs::copy(folder.join("tokenizer.json"), out.join("tokenizer.json")).unwrap();
    let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let mut kept = HashMap::new();
    for (name, tensor) in tensors {
        let fields: Vec<&str> = name.split('.').collect();
        let layer = fields.get(2).and_then(|l| l.parse::<usize>().ok());
        match (layer, fields.get(3..).unwrap_or_default()) {
            (Some(layer), ["mlp", "gate", "weight"]) => {
                let rows: Vec<u32> = (0..experts as u32).filter(|&e| e as usize != gone[layer]).collect();
                let rows = Tensor::new(rows, &Device::Cpu).unwrap();
                kept.insert(name, tensor.index_select(&rows, 0).unwrap());
            }
            (Some(layer), ["mlp", "experts", expert, rest @ ..]) => {
                let expert: usize = expert.parse().unwrap();
                if expert != gone[layer] {
                    let number = expert - usize::from(expert > gone[layer]);
                    let name = format!("model.layers.{layer}.mlp.experts.{number}.{}", rest.join("."));
                    kept.insert(name, tensor);
                }
            }
            _ => _ = kept.insert(name, tensor),
        }
    }
    candle_core::safetensors::save(&kept, out.join("model.safetensors")).unwrap();
}

/// A masked model computes what a model computes that never had the experts.
#[test]
fn masking_is_as_if_the_expert_had_never_been_there() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, less) = (folder.path().join("whole"), folder.path().join("less"));
    let model = fixture::model(&whole);
    let gone = [2, 0];
    without_experts(&whole, &less, &gone);
    let smaller = LanguageModel::load(&ModelSource::Folder(less)).unwrap();
    let (plain, _) = run(&model, &mut NoTap);
    let (masked, routing) = run(&model, &mut ExpertMask::new(&[(0, 2), (1, 0)], &model).unwrap());
    let (wanted, wanted_routing) = run(&smaller, &mut NoTap);
    let worst = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    let largest = plain.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    assert!(worst(&masked, &wanted) <= 1e-5 * largest, "{} of {largest}", worst(&masked, &wanted));
    assert!(worst(&masked, &plain) > 0.01 * largest, "the experts must matter");
    for (layer, ((chosen, weights, entropy), (others, other_weights, other_entropy))) in
        routing.iter().zip(&wanted_routing).enumerate()
    {
        assert!(chosen.iter().all(|&e| e as usize != gone[layer]));
        let moved: Vec<u32> = chosen.iter().map(|&e| e - u32::from(e as usize > gone[layer])).collect();
        assert_eq!(&moved, others, "layer {layer}");
        assert!(worst(weights, other_weights) < 1e-6 && worst(entropy, other_entropy) < 1e-5);
    }
}

/// A tap that masks nothing, in layers that it looks at and in layers that it does not, changes no bit.
#[test]
fn masking_nothing_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture::model(folder.path());
    let plain = run(&model, &mut NoTap);
    assert_eq!(run(&model, &mut ExpertMask::new(&[], &model).unwrap()), plain);
    let mut looks = ExpertMask::default();
    looks.layers = [(0, Vec::new()), (1, Vec::new())].into();
    assert!(looks.wants(&"blocks.1.mlp.hook_router_logits".parse().unwrap()));
    assert_eq!(run(&model, &mut looks), plain);
}

#[test]
fn named_experts_their_controls_and_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let report = mask(&data, &options(Choose::Experts(vec![(1, 7), (1, 3), (1, 7)])), &mut Quiet).unwrap();
    assert_eq!((report.masked.as_slice(), report.held_out), (&[(1, 3), (1, 7)][..], true));
    assert_eq!(report.controls.len(), 2);
    assert_ne!(report.controls[0], report.controls[1]);
    for control in &report.controls {
        assert_eq!(control.len(), 2);
        assert!(control.iter().all(|c| c.0 == 1 && ![3, 7].contains(&c.1)));
    }
    // Losses of the model as it is, by another way to them.
    let model = LanguageModel::load(&ModelSource::Default).unwrap();
    let source = Source::open(&data).unwrap();
    let text = text(&source, 200).unwrap();
    let mut sums: HashMap<String, (f64, u64)> = HashMap::new();
    for batch in contexts(&source, &model, text.documents).unwrap() {
        let batch = batch.unwrap();
        let losses = lm::model::losses(&model.forward(&batch, &mut NoTap).unwrap(), &batch).unwrap();
        for (origin, loss) in batch.origin.iter().zip(losses) {
            let (Some((document, _)), Some(loss)) = (origin, loss) else { continue };
            let domain = source.domains()[source.domain_of(*document).unwrap()].clone();
            let sum = sums.entry(domain).or_default();
            *sum = (sum.0 + f64::from(loss), sum.1 + 1);
        }
    }
    for domain in &report.domains {
        let (nats, n) = sums[&domain.domain];
        assert_eq!(domain.tokens, n);
        assert!(n > 150 && n <= 200 && (domain.before - nats / n as f64).abs() < 1e-4, "{domain:?}");
        assert_ne!(domain.after, domain.before);
        let (low, mean, high) =
            (domain.control_low.unwrap(), domain.control.unwrap(), domain.control_high.unwrap());
        assert!(low <= mean && mean <= high);
    }
    // A second mask is put next to the first, the same mask again in its place.
    let more = mask(&data, &options(Choose::Experts(vec![(0, 2)])), &mut Quiet).unwrap();
    mask(&data, &options(Choose::Experts(vec![(0, 2)])), &mut Quiet).unwrap();
    let read = row::open::<MaskingRow>(&data.join("experts/masking.parquet")).unwrap();
    let rows = row::read::<MaskingRow>(&read, Default::default()).unwrap();
    assert_eq!(rows, [report.domains, more.domains].concat());
    let read = row::open::<MaskedRow>(&data.join("experts/masked.parquet")).unwrap();
    let rows = row::read::<MaskedRow>(&read, Default::default()).unwrap();
    let own: Vec<_> = rows.iter().filter(|r| r.control.is_none()).map(|r| (r.layer, r.expert)).collect();
    assert_eq!((own.as_slice(), rows.len()), (&[(1, 3), (1, 7), (0, 2)][..], 2 + 2 * 2 + 1 + 2));
}

#[test]
fn nonsense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let attempt = |choose| mask(&data, &options(choose), &mut Quiet).unwrap_err().to_string();
    assert!(attempt(Choose::Domain("law".into())).contains("code, french"));
    assert!(attempt(Choose::Experts(Vec::new())).contains("--expert"));
    assert!(attempt(Choose::Experts(vec![(9, 0)])).contains("layer 9 has no experts"));
    assert!(attempt(Choose::Experts(vec![(0, 16)])).contains("its experts are 0…15"));
    let message = attempt(Choose::Experts((0..15).map(|e| (2, e)).collect()));
    assert!(message.contains("leaves 1 of 16 experts, a token needs 2"), "{message}");
    assert!(!data.join("experts").exists());
    // There are not nine others: no control, and a remark tells why.
    let report =
        mask(&data, &options(Choose::Experts((0..9).map(|e| (2, e)).collect())), &mut Quiet).unwrap();
    assert!(report.controls.is_empty() && report.domains[0].control.is_none());
    assert!(report.gaps.iter().any(|gap| gap.contains("not enough other experts")));
}

/// Experts of a domain come from the 2× rule over documents that are not measured; taking them out hurts that
/// domain most.
#[test]
fn experts_of_a_domain() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let report = mask(&data, &options(Choose::Domain("french".into())), &mut Quiet).unwrap();
    assert!(!report.masked.is_empty() && report.mask == "french");
    let most = report.hurt_most().unwrap();
    assert!(most.domain == "french" && most.after > most.before, "{report:?}");
}
