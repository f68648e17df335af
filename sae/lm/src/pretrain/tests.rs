use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};
use storage::pretraining::PretrainingRow;

use super::*;
use crate::Quiet;
use crate::model::{LanguageModel, ModelSource, NoTap, Weights};
use crate::text::Contexts;

fn text(folder: &Path) -> PathBuf {
    let path = folder.join("text.txt");
    let line =
        |i: usize| format!("The {} of {i} walks to the {} and counts {}.\n", i % 7, i % 5, i * 37 % 101);
    std::fs::write(&path, (0..900).map(line).collect::<String>()).unwrap();
    path
}

pub(super) fn small(kind: Kind, text: &Path) -> PretrainConfig {
    let monet = kind.is_monet();
    PretrainConfig {
        text: vec![text.to_owned()],
        tokens: 3000,
        vocab_size: 512,
        d_model: 16,
        layers: 2,
        heads: 2,
        experts: if monet { 16 } else { 4 },
        experts_per_token: if matches!(kind, Kind::EvoMoe | Kind::Modular) { 1 } else { 2 },
        expert_width: if monet { 4 } else { 8 },
        router_topk: if monet { 2 } else { 8 },
        router_groups: if monet { 2 } else { 1 },
        context_length: 32,
        batch_rows: 4,
        warm_up_steps: 3,
        checkpoint_every: 8,
        log_every: 1,
        ..PretrainConfig::of(kind)
    }
}

fn sha(path: &Path) -> String {
    Sha256::digest(std::fs::read(path).unwrap()).iter().map(|b| format!("{b:02x}")).collect()
}

/// What the program wrote before there were other architectures, by the widest vectors that the processor has: products are summed in an
/// order that depends on them.
fn weights_of_before() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return Some("0a1bf3f52795d1eb0b95710460010b1a3b02bffd0b8edfca61c965dc8f956c7b");
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Some("6fe51ae17994da171d4c42460b75055b9bace1f6ce0abcc95b58420d14cdfc33");
        }
    }
    None
}

#[test]
fn the_mixture_with_a_top_k_router_keeps_its_bits() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(Kind::TopK, &text(folder.path()));
    let out = folder.path().join("model");
    run(&config, &out, false, &mut Quiet).unwrap();
    assert_eq!(
        sha(&out.join("config.json")),
        "6901f8f6a1d613b74dccb8a3aa7c9d81f6195d268f6d751d369aae423a2f67d9"
    );
    match weights_of_before() {
        Some(before) => assert_eq!(sha(&out.join("model.safetensors")), before),
        None => println!("skipped: nobody wrote down the weights that this processor gives"),
    }
}

fn contexts(model: &LanguageModel) -> Contexts {
    let tokens = model.tokenizer().encode("The 3 of 12 walks to the 4").unwrap();
    let n = tokens.len();
    Contexts {
        rows: 1,
        len: n,
        tokens,
        segments: vec![1; n],
        positions: (0..n as u32).collect(),
        origin: vec![None; n],
    }
}

/// Every architecture is trained, stored, read again as any other model, and continued bit for bit.
#[test]
fn every_architecture_trains_resumes_and_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let text = text(folder.path());
    for (kind, name) in Kind::ALL {
        let config = small(kind, &text);
        let out = folder.path().join(name);
        let trained = run(&config, &out, false, &mut Quiet).unwrap();
        let model = LanguageModel::load(&ModelSource::Folder(out.clone())).unwrap();
        assert!(trained.active_parameters <= trained.parameters);
        let contexts = contexts(&model);
        let logits = model.decoder().forward(&contexts, &mut NoTap).unwrap();
        assert!(logits.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|v| v.is_finite()));
        // The same run in two halves.
        let halves = folder.path().join(format!("{name}-halves"));
        let half = PretrainConfig { tokens: 3000, ..config.clone() };
        let mut stop = crate::progress::StopAfter::new(9);
        assert!(run(&half, &halves, false, &mut stop).is_err());
        run(&half, &halves, true, &mut Quiet).unwrap();
        assert_eq!(sha(&out.join("model.safetensors")), sha(&halves.join("model.safetensors")), "{name}");
        // Both logs have every step once, and the figures that the architecture has.
        let [whole, resumed] = [&out, &halves].map(|folder| storage::pretraining::read(folder).unwrap());
        let told = |rows: &[PretrainingRow]| -> Vec<PretrainingRow> {
            rows.iter().map(|row| PretrainingRow { tokens_per_second: 0.0, ..row.clone() }).collect()
        };
        assert_eq!(told(&whole), told(&resumed), "{name}");
        assert_eq!(
            whole.iter().map(|row| row.step).collect::<Vec<_>>(),
            (1..=trained.steps).collect::<Vec<_>>()
        );
        let last = whole.last().unwrap();
        let mixture = !kind.is_monet() && kind != Kind::Dense;
        let spread = mixture && kind != Kind::Modular;
        assert_eq!(
            (last.balance.is_some(), last.uniformity.is_some(), last.experts_per_token.is_some()),
            (spread, kind.is_monet(), mixture),
            "{name}"
        );
        if let Some(k) = last.experts_per_token {
            let most = if kind == Kind::Modular { config.experts } else { config.experts_per_token };
            assert!(k <= most as f32 && (kind == Kind::Modular || k == most as f32), "{name} {k}");
            assert!(last.router_entropy.is_some_and(|h| h >= 0.0), "{name}");
        }
        let first = &whole[0];
        match kind {
            Kind::Modular => assert!((first.temperature.unwrap() - 0.3 * 4.0).abs() < 0.1, "{first:?}"),
            // Dense first: all experts run at the highest temperature, then one alone.
            Kind::EvoMoe => {
                assert!(first.experts_per_token > Some(3.5) && first.temperature == Some(1.0), "{first:?}");
                assert!(last.temperature.is_none() && first.router_entropy > Some(0.5), "{first:?}");
            }
            _ => assert_eq!(first.temperature, None),
        }
    }
}

/// The mean over MoE-X's experts, all with the same weight, is the dense model they were made of; EvoMoE's are
/// copies with holes.
#[test]
fn experts_made_of_a_dense_model_are_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let text = text(folder.path());
    for (kind, units) in [(Kind::MoeX, Units::Relu), (Kind::EvoMoe, Units::Gelu)] {
        let dense = PretrainConfig {
            gated: false,
            activation: Some(units),
            experts_per_token: 1,
            expert_width: 16,
            ..small(Kind::Dense, &text)
        };
        let start = folder.path().join(format!("dense-{}", kind.name()));
        run(&dense, &start, false, &mut Quiet).unwrap();
        let width = if kind == Kind::MoeX { 8 } else { 16 };
        let config = PretrainConfig { start: Some(start.clone()), expert_width: width, ..small(kind, &text) };
        let parameters = Parameters::random(&config.model(), 1).unwrap();
        start::from_dense(&config, &start, &parameters).unwrap();
        let of: BTreeMap<&str, &candle_core::Var> = parameters.iter().collect();
        let mut weights = Weights::open_safetensors(&start.join("model.safetensors")).unwrap();
        let mut take =
            |name: &str, shape: &[usize]| weights.take(&format!("model.layers.1.mlp.{name}.weight"), shape);
        let (up, down) = (take("up_proj", &[16, 16]).unwrap(), take("down_proj", &[16, 16]).unwrap());
        let (ups, downs) =
            (of["model.layers.1.mlp.experts.up_proj"], of["model.layers.1.mlp.experts.down_proj"]);
        let x = Tensor::arange(0f32, 16.0, &Device::Cpu).unwrap().reshape((1, 16)).unwrap();
        let x = (x.sin().unwrap() * 2.0).unwrap();
        if kind == Kind::MoeX {
            let mlp = |up: &Tensor, down: &Tensor| {
                let hidden = x.matmul(&up.t().unwrap()).unwrap().relu().unwrap();
                hidden.matmul(&down.t().unwrap()).unwrap()
            };
            let whole: Vec<f32> = mlp(&up, &down).flatten_all().unwrap().to_vec1().unwrap();
            let parts: Vec<Tensor> =
                (0..4).map(|e| mlp(&ups.get(e).unwrap(), &downs.get(e).unwrap())).collect();
            let mean = Tensor::stack(&parts, 0).unwrap().mean(0).unwrap();
            let mean: Vec<f32> = mean.flatten_all().unwrap().to_vec1().unwrap();
            for (a, b) in mean.iter().zip(&whole) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        } else {
            let all: Vec<f32> = up.flatten_all().unwrap().to_vec1().unwrap();
            let mut holes = 0;
            for e in 0..4 {
                let copy: Vec<f32> = ups.get(e).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                assert!(copy.iter().zip(&all).all(|(c, a)| *c == *a || *c == 0.0));
                holes += copy.iter().filter(|c| **c == 0.0).count();
            }
            assert!((50..160).contains(&holes), "a tenth of 1024: {holes}");
        }
        let out = folder.path().join(format!("from-{}", kind.name()));
        run(&config, &out, false, &mut Quiet).unwrap();
        let [a, b] = [&start, &out].map(|f| std::fs::read(f.join("tokenizer.json")).unwrap());
        assert_eq!(a, b, "the tokenizer is the dense model's");
    }
}

#[test]
fn configurations_that_cannot_be_are_refused_with_a_remedy() {
    let of = |kind| PretrainConfig { text: vec!["t".into()], ..PretrainConfig::of(kind) };
    let cases: [(PretrainConfig, &[&str]); 11] = [
        (
            PretrainConfig { experts: 1000, ..of(Kind::MonetVertical) },
            &["1000", "not a square", "961 or 1024"],
        ),
        (PretrainConfig { expert_width: 7, ..of(Kind::MonetVertical) }, &["even"]),
        (PretrainConfig { router_topk: 33, ..of(Kind::MonetHorizontal) }, &["33", "32"]),
        (PretrainConfig { router_heads: 3, ..of(Kind::TopK) }, &["router_heads", "Monet", "top-k"]),
        (PretrainConfig { start: Some("d".into()), ..of(Kind::Dense) }, &["start", "moe-x"]),
        (PretrainConfig { experts_per_token: 2, ..of(Kind::EvoMoe) }, &["experts_per_token 1"]),
        (PretrainConfig { activation: Some(Units::Silu), ..of(Kind::MoeX) }, &["activation", "moe-x"]),
        (PretrainConfig { temperature_scale: 0.5, ..of(Kind::EvoMoe) }, &["temperature_scale", "modular"]),
        (
            PretrainConfig { temperature_scale: 0.0, ..of(Kind::Modular) },
            &["temperature_scale is 0", "positive"],
        ),
        (PretrainConfig { experts_per_token: 2, ..of(Kind::Modular) }, &["experts_per_token", "one by one"]),
        (PretrainConfig { balance: 0.1, ..of(Kind::Modular) }, &["balance", "top-k, moe-x and evo-moe"]),
    ];
    for (config, parts) in cases {
        let message = config.check().unwrap_err().to_string();
        parts.iter().for_each(|part| assert!(message.contains(part), "{message}"));
    }
    for (kind, _) in Kind::ALL {
        of(kind).check().unwrap();
    }
}

/// Monet's losses at gates that are known: uniform gates have uniformity ln √E and ambiguity 1 − 1/√E.
#[test]
fn monets_losses_have_their_floors() {
    let folder = tempfile::tempdir().unwrap();
    let config = PretrainConfig { router_topk: 4, ..small(Kind::MonetVertical, &text(folder.path())) };
    let parameters = Parameters::random(&config.model(), 1).unwrap();
    for (name, var) in parameters.iter().filter(|(name, _)| name.contains("router.w")) {
        var.set(&var.zeros_like().unwrap()).unwrap();
        assert!(name.contains("layers.0"), "two layers share routers");
    }
    let decoder = parameters.decoder(&config.model()).unwrap();
    let n = 12;
    let contexts = Contexts {
        rows: 1,
        len: n,
        tokens: (2..2 + n as u32).collect(),
        segments: vec![1; n],
        positions: (0..n as u32).collect(),
        origin: vec![None; n],
    };
    let of = loss::loss(&decoder, &contexts, &config, None).unwrap();
    let by: BTreeMap<_, _> = of.routers.iter().copied().collect();
    assert!((by["uniformity"] - 4f32.ln()).abs() < 1e-5, "{by:?}");
    assert!((by["ambiguity"] - 0.75).abs() < 1e-5, "{by:?}");
}
