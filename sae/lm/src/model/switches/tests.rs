use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use serde_json::json;

use super::super::ops::testing::normal;
use super::super::{Config, Decoder, Hook, Neurons, NoTap, Routing, Site, Tap, Weights, summed_loss};
use super::*;
use crate::text::Contexts;

const D: usize = 6;
const MODULES: usize = 3;
const HIDDEN: usize = 5;

fn config(k: usize) -> Result<Config> {
    let json = json!({
        "model_type": "plain_moe", "vocab_size": 11, "hidden_size": D, "num_hidden_layers": 2,
        "num_attention_heads": 1, "max_position_embeddings": 32, "intermediate_size": HIDDEN, "hidden_act": "relu",
        "num_experts": MODULES, "num_experts_per_tok": k, "router": "switched", "tie_word_embeddings": true,
        "bos_token_id": null,
    });
    Config::from_json(&json, Path::new("config.json"))
}

fn shapes() -> Vec<(String, Vec<usize>)> {
    let mut all = vec![
        ("model.embed_tokens.weight".to_owned(), vec![11, D]),
        ("model.norm.weight".to_owned(), vec![D]),
    ];
    for layer in 0..2 {
        let block = [
            ("input_layernorm.weight", vec![D]),
            ("post_attention_layernorm.weight", vec![D]),
            ("self_attn.q_proj.weight", vec![D, D]),
            ("self_attn.k_proj.weight", vec![D, D]),
            ("self_attn.v_proj.weight", vec![D, D]),
            ("self_attn.o_proj.weight", vec![D, D]),
            ("mlp.gate.weight", vec![2 * MODULES, D]),
            ("mlp.gate.bias", vec![2 * MODULES]),
            ("mlp.gate.temperature", vec![MODULES]),
            ("mlp.experts.up_proj", vec![MODULES, HIDDEN, D]),
            ("mlp.experts.down_proj", vec![MODULES, D, HIDDEN]),
        ];
        all.extend(block.into_iter().map(|(name, shape)| (format!("model.layers.{layer}.{name}"), shape)));
    }
    all
}

fn variables() -> HashMap<String, Var> {
    let make = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        (name, Var::from_tensor(&(normal(&shape, i as u64 + 1).as_tensor() * 0.7).unwrap()).unwrap())
    };
    let all: HashMap<String, Var> = shapes().into_iter().enumerate().map(make).collect();
    for layer in 0..2 {
        // So that some tokens have no module.
        let bias = &all[&format!("model.layers.{layer}.mlp.gate.bias")];
        let towards_off = Tensor::new(&[1.2f32, 1.2, 1.2, 0.0, 0.0, 0.0], &Device::Cpu).unwrap();
        bias.set(&(bias.as_tensor() + towards_off).unwrap()).unwrap();
    }
    all
}

fn decoder(of: &HashMap<String, Var>, trained: bool) -> Decoder {
    let tensor =
        |v: &Var| if trained { v.as_tensor().clone() } else { v.as_tensor().detach().copy().unwrap() };
    let tensors = of.iter().map(|(name, v)| (name.clone(), tensor(v))).collect();
    Decoder::new(config(MODULES).unwrap(), Weights::new(tensors, "test")).unwrap()
}

fn contexts() -> Contexts {
    let n = 7;
    Contexts {
        rows: 1,
        len: n,
        tokens: vec![1, 7, 3, 3, 10, 0, 5],
        segments: vec![1; n],
        positions: (0..n as u32).collect(),
        origin: vec![None; n],
    }
}

/// Keeps every value, record and the number of rows of hidden units; adds a number to the logits of a module.
#[derive(Default)]
struct Keep {
    values: HashMap<String, Vec<f32>>,
    routing: Vec<Routing>,
    rows: Vec<usize>,
    add: Option<(usize, f32)>,
}

impl Tap for Keep {
    fn wants(&self, hook: &Hook) -> bool {
        hook.site != Site::Pattern
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let new = match self.add.filter(|_| hook.site == Site::RouterLogits) {
            Some((module, z)) => {
                let mut add = [0f32; MODULES];
                add[module] = z;
                Some(value.broadcast_add(&Tensor::new(&add, value.device())?)?)
            }
            None => None,
        };
        let value = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        self.values.insert(hook.to_string(), value);
        Ok(new)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        self.routing.push(routing.clone());
        Ok(())
    }

    fn wants_neurons(&self) -> bool {
        true
    }

    fn neurons(&mut self, neurons: &Neurons<'_>) -> Result<Option<Tensor>> {
        self.rows.push(neurons.values.dim(0)?);
        Ok(None)
    }
}

fn numbers(of: &HashMap<String, Var>, layer: usize, name: &str) -> Vec<f64> {
    let var = &of[&format!("model.layers.{layer}.{name}")];
    var.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// By the paper's words: two logits over the temperature, a softmax, on iff its largest is on; the output times
/// that probability. Gives the probabilities and the sum over modules.
fn naive(of: &HashMap<String, Var>, layer: usize, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let get = |name: &str| numbers(of, layer, name);
    let (w, b, theta) = (get("mlp.gate.weight"), get("mlp.gate.bias"), get("mlp.gate.temperature"));
    let (up, down) = (get("mlp.experts.up_proj"), get("mlp.experts.down_proj"));
    let (mut on, mut y) = (Vec::new(), vec![0.0; D]);
    for m in 0..MODULES {
        let logit = |row: usize| (dot(&w[row * D..(row + 1) * D], x) + b[row]) / theta[m].exp();
        let e = [logit(m).exp(), logit(MODULES + m).exp()];
        let p = e[1] / (e[0] + e[1]);
        on.push(p);
        if e[1] <= e[0] {
            continue;
        }
        let up = &up[m * HIDDEN * D..(m + 1) * HIDDEN * D];
        let units: Vec<f64> = up.chunks_exact(D).map(|row| dot(row, x).max(0.0)).collect();
        let down = &down[m * D * HIDDEN..(m + 1) * D * HIDDEN];
        y.iter_mut().zip(down.chunks_exact(HIDDEN)).for_each(|(y, row)| *y += p * dot(row, &units));
    }
    (on, y)
}

#[test]
fn the_layer_is_the_sum_of_the_modules_that_are_on() {
    let of = variables();
    for trained in [false, true] {
        let mut kept = Keep::default();
        decoder(&of, trained).residual(&contexts(), 2, &mut kept).unwrap();
        let mut numbers_on = Vec::new();
        for layer in 0..2 {
            let hook = |site: &str| &kept.values[&format!("blocks.{layer}.{site}")];
            let routing = &kept.routing[layer];
            assert!(routing.switched && (routing.k, routing.experts) == (MODULES, MODULES));
            let mut rows = 0;
            for (t, x) in hook("hook_mlp_in").chunks_exact(D).enumerate() {
                let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
                let (p, y) = naive(&of, layer, &x);
                for (a, b) in y.iter().zip(&hook("hook_mlp_out")[t * D..]) {
                    assert!((a - f64::from(*b)).abs() < 1e-5, "{layer} {t}: {a} {b}");
                }
                for (m, p) in p.iter().enumerate() {
                    let z = f64::from(hook("mlp.hook_router_logits")[t * MODULES + m]);
                    let score = f64::from(hook("mlp.hook_router_scores")[t * MODULES + m]);
                    assert!(
                        (score - p).abs() < 1e-5 && (z - (p / (1.0 - p)).ln()).abs() < 1e-4,
                        "{z} {score} {p}"
                    );
                }
                let (chosen, weights) = routing.of(t);
                let mut on: Vec<u32> = (0..MODULES as u32).filter(|m| p[*m as usize] > 0.5).collect();
                on.sort_by(|a, b| p[*b as usize].total_cmp(&p[*a as usize]));
                assert_eq!(chosen, on);
                assert!(weights.iter().zip(&on).all(|(w, m)| (f64::from(*w) - p[*m as usize]).abs() < 1e-5));
                let entropy: f64 = p.iter().map(|p| -p * p.ln() - (1.0 - p) * (1.0 - p).ln()).sum();
                assert!((f64::from(routing.entropy[t]) - entropy).abs() < 1e-4);
                rows += on.len();
                numbers_on.push(on.len());
            }
            assert_eq!(kept.rows[layer], rows, "tokens that are off are not computed");
        }
        // Else a part of the rule would not be tested: tokens with none, with some, and modules of two kinds.
        assert!(numbers_on.contains(&0) && numbers_on.iter().any(|n| *n > 1), "{numbers_on:?}");
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let of = variables();
    let loss = |of: &HashMap<String, Var>| -> Tensor {
        let logits = decoder(of, true).forward(&contexts(), &mut NoTap).unwrap();
        summed_loss(&logits, &contexts()).unwrap()
    };
    let grads = loss(&of).backward().unwrap();
    for (name, _) in shapes() {
        let var = &of[&name];
        let grad: Vec<f32> =
            grads.get(var.as_tensor()).expect(&name).flatten_all().unwrap().to_vec1().unwrap();
        assert!(grad.iter().any(|g| *g != 0.0), "{name} does not learn");
        let direction: Vec<f32> = normal(&[grad.len()], 77).to_vec1().unwrap();
        let slope: f64 = grad.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
        let numbers: Vec<f32> = var.flatten_all().unwrap().to_vec1().unwrap();
        let at = |step: f32| -> f64 {
            let moved: Vec<f32> = numbers.iter().zip(&direction).map(|(n, d)| n + step * d).collect();
            var.set(&Tensor::from_vec(moved, var.dims(), &Device::Cpu).unwrap()).unwrap();
            let value = f64::from(loss(&of).to_scalar::<f32>().unwrap());
            var.set(&Tensor::from_vec(numbers.clone(), var.dims(), &Device::Cpu).unwrap()).unwrap();
            value
        };
        // Small steps, so that no switch turns in between.
        let step = 2e-4;
        let found = (at(step) - at(-step)) / f64::from(2.0 * step);
        assert!((found - slope).abs() < 0.02 * slope.abs().max(0.5), "{name}: {found} {slope}");
    }
}

/// A layer in which every token is off adds nothing, and gradients, which are 0, still reach its modules.
#[test]
fn a_layer_that_no_token_enters_adds_nothing() {
    let of = variables();
    for layer in 0..2 {
        let bias = &of[&format!("model.layers.{layer}.mlp.gate.bias")];
        let mut b = [1000f32; 2 * MODULES];
        b[MODULES..].fill(-1000.0);
        bias.set(&Tensor::new(&b, &Device::Cpu).unwrap()).unwrap();
    }
    let mut kept = Keep::default();
    let model = decoder(&of, true);
    model.residual(&contexts(), 2, &mut kept).unwrap();
    assert!(kept.values["blocks.0.hook_mlp_out"].iter().all(|v| *v == 0.0));
    assert!((0..7).all(|t| kept.routing[1].of(t).0.is_empty()));
    let logits = model.forward(&contexts(), &mut NoTap).unwrap();
    let grads = summed_loss(&logits, &contexts()).unwrap().backward().unwrap();
    for (name, var) in &of {
        let grad = grads.get(var.as_tensor()).unwrap_or_else(|| panic!("no gradient reached {name}"));
        let grad: Vec<f32> = grad.flatten_all().unwrap().to_vec1().unwrap();
        assert!(grad.iter().all(|g| g.is_finite()), "{name}");
        assert!(!name.contains(".mlp.") || grad.iter().all(|g| *g == 0.0), "{name}");
    }
}

/// A logit of −∞, as a mask puts it, switches a module off for good; the others are as they were.
#[test]
fn a_mask_switches_a_module_off() {
    let (of, mut kept) = (variables(), Keep { add: Some((1, f32::NEG_INFINITY)), ..Keep::default() });
    decoder(&of, false).residual(&contexts(), 1, &mut kept).unwrap();
    let routing = &kept.routing[0];
    let mut others = 0;
    for (t, x) in kept.values["blocks.0.hook_mlp_in"].chunks_exact(D).enumerate() {
        let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
        let (p, _) = naive(&of, 0, &x);
        let on = [0u32, 2].into_iter().filter(|m| p[*m as usize] > 0.5).count();
        assert!(routing.of(t).0.len() == on && !routing.of(t).0.contains(&1), "{t}");
        assert!(routing.entropy[t].is_finite());
        others += on;
    }
    assert!(others > 0);
}

#[test]
fn modules_have_all_their_switches() {
    let error = config(2).unwrap_err().to_string();
    assert!(error.contains("num_experts_per_tok 2") && error.contains("num_experts, 3"), "{error}");
}
