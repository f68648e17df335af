use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use serde_json::json;

use super::*;
use crate::model::ops::testing::normal;
use crate::model::{Config, Decoder, Hook, NoTap, Tap, Weights};
use crate::text::Contexts;

const D: usize = 8;
const SIDE: usize = 5;
const HEADS: usize = 2;
const HIDDEN: usize = 4;
const TOPK: usize = 2;

fn config(decompose: &str, groups: usize) -> Config {
    let json = json!({
        "model_type": "monet", "vocab_size": 11, "hidden_size": D, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 32, "moe_dim": HIDDEN, "moe_heads": HEADS,
        "moe_experts": SIDE, "moe_topk": TOPK, "moe_groups": groups, "moe_decompose": decompose,
        "tie_word_embeddings": true, "bos_token_id": null,
    });
    Config::from_json(&json, Path::new("config.json")).unwrap()
}

/// Published names and shapes, written out here once more.
fn shapes(decompose: &str, groups: usize) -> Vec<(String, Vec<usize>)> {
    let mut all = vec![
        ("model.embed_tokens.weight".to_owned(), vec![11, D]),
        ("model.norm.weight".to_owned(), vec![D]),
    ];
    for layer in 0..2 {
        let width = SIDE * HIDDEN;
        let mut block = vec![
            ("input_layernorm.weight", vec![D]),
            ("post_attention_layernorm.weight", vec![D]),
            ("self_attn.q_proj.weight", vec![D, D]),
            ("self_attn.k_proj.weight", vec![D, D]),
            ("self_attn.v_proj.weight", vec![D, D]),
            ("self_attn.o_proj.weight", vec![D, D]),
        ];
        if layer % groups == 0 {
            block.extend([
                ("router.w1.weight", vec![HEADS * SIDE, D]),
                ("router.w2.weight", vec![HEADS * SIDE, D]),
                ("router.norm1.running_mean", vec![HEADS]),
                ("router.norm1.running_var", vec![HEADS]),
                ("router.norm2.running_mean", vec![HEADS]),
                ("router.norm2.running_var", vec![HEADS]),
            ]);
        }
        block.extend(match decompose {
            "horizontal" => vec![
                ("moe.u.weight", vec![width, D]),
                ("moe.u.bias", vec![width]),
                ("moe.v.weight", vec![D, width]),
                ("moe.b", vec![SIDE, D]),
            ],
            _ => vec![
                ("moe.u1.weight", vec![width / 2, D]),
                ("moe.u1.bias", vec![width / 2]),
                ("moe.u2.weight", vec![width / 2, D]),
                ("moe.u2.bias", vec![width / 2]),
                ("moe.v11.weight", vec![D / 2, width / 2]),
                ("moe.v12.weight", vec![D / 2, width / 2]),
                ("moe.v21.weight", vec![D / 2, width / 2]),
                ("moe.v22.weight", vec![D / 2, width / 2]),
                ("moe.b1", vec![SIDE, D / 2]),
                ("moe.b2", vec![SIDE, D / 2]),
            ],
        });
        all.extend(block.into_iter().map(|(name, shape)| (format!("model.layers.{layer}.{name}"), shape)));
    }
    all
}

fn variables(decompose: &str, groups: usize) -> HashMap<String, Var> {
    let make = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        let draw = normal(&shape, i as u64 + 1);
        let t = if name.ends_with("running_var") {
            draw.abs().unwrap()
        } else {
            (draw.as_tensor() * 0.7).unwrap()
        };
        (name, Var::from_tensor(&t).unwrap())
    };
    shapes(decompose, groups).into_iter().enumerate().map(make).collect()
}

/// A decoder over the variables, or over their numbers alone.
fn decoder(of: &HashMap<String, Var>, decompose: &str, groups: usize, trained: bool) -> Decoder {
    let tensor =
        |v: &Var| if trained { v.as_tensor().clone() } else { v.as_tensor().detach().copy().unwrap() };
    let tensors = of.iter().map(|(name, v)| (name.clone(), tensor(v))).collect();
    Decoder::new(config(decompose, groups), Weights::new(tensors, "test")).unwrap()
}

fn contexts() -> Contexts {
    let n = 6;
    Contexts {
        rows: 1,
        len: n,
        tokens: vec![1, 7, 3, 3, 10, 0],
        segments: vec![1; n],
        positions: (0..n as u32).collect(),
        origin: vec![None; n],
    }
}

/// Keeps every value and record.
#[derive(Default)]
struct Keep(HashMap<String, Vec<f32>>, Vec<Routing>);

impl Tap for Keep {
    fn wants(&self, hook: &Hook) -> bool {
        hook.site != Site::Pattern
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let value = value.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
        self.0.insert(hook.to_string(), value);
        Ok(None)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        self.1.push(routing.clone());
        Ok(())
    }
}

struct Naive<'a>(&'a HashMap<String, Var>, usize);

impl Naive<'_> {
    fn get(&self, name: &str) -> Vec<f64> {
        let var = &self.0[&format!("model.layers.{}.{name}", self.1)];
        var.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
    }

    /// `act(W x + bias)` of rows `from..from + n` of a matrix.
    fn units(&self, name: &str, x: &[f64], from: usize, n: usize) -> Vec<f64> {
        let (w, b) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        (from..from + n).map(|r| (dot(&w[r * D..(r + 1) * D], x) + b[r]).max(0.0).powi(2)).collect()
    }

    /// `W[:, from..from + units.len()] units` of a matrix with `rows` rows.
    fn write(&self, name: &str, rows: usize, from: usize, units: &[f64]) -> Vec<f64> {
        let w = self.get(&format!("{name}.weight"));
        let columns = w.len() / rows;
        (0..rows).map(|r| dot(&w[r * columns + from..][..units.len()], units)).collect()
    }

    /// Expert (i, j) by itself, as the paper defines it.
    fn expert(&self, decompose: &str, x: &[f64], i: usize, j: usize) -> Vec<f64> {
        if decompose == "horizontal" {
            let units = self.units("moe.u", x, i * HIDDEN, HIDDEN);
            let b = self.get("moe.b");
            let y = self.write("moe.v", D, j * HIDDEN, &units);
            return y.iter().zip(&b[j * D..]).map(|(y, b)| y + b).collect();
        }
        let h = HIDDEN / 2;
        let (x1, x2) = (self.units("moe.u1", x, i * h, h), self.units("moe.u2", x, j * h, h));
        let side = |names: [&str; 2], at: usize, bias: &str| -> Vec<f64> {
            let b = self.get(bias);
            let (a, c) = match at {
                0 => (self.write(names[0], D / 2, i * h, &x1), self.write(names[1], D / 2, i * h, &x2)),
                _ => (self.write(names[0], D / 2, j * h, &x1), self.write(names[1], D / 2, j * h, &x2)),
            };
            let from = if at == 0 { i } else { j } * D / 2;
            (0..D / 2).map(|r| a[r] + c[r] + b[from + r]).collect()
        };
        let mut y = side(["moe.v11", "moe.v12"], 0, "moe.b1");
        y.extend(side(["moe.v21", "moe.v22"], 1, "moe.b2"));
        y
    }

    /// Gates of one router for all tokens, `[tokens][H][√E]`.
    fn gates(&self, which: usize, x: &[Vec<f64>], of_batch: bool) -> Vec<Vec<Vec<f64>>> {
        let w = self.get(&format!("router.w{}.weight", which + 1));
        let z: Vec<Vec<Vec<f64>>> = x
            .iter()
            .map(|x| {
                let row = |r: usize| dot(&w[r * D..(r + 1) * D], x);
                (0..HEADS).map(|h| (0..SIDE).map(|i| row(h * SIDE + i)).collect()).collect()
            })
            .collect();
        // Φ⁻¹(1 − 2/5), from a table.
        let bound = 0.253_347_103_135_799_8;
        let mut gates = z.clone();
        for h in 0..HEADS {
            let all: Vec<f64> = z.iter().flat_map(|t| t[h].clone()).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let var = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / all.len() as f64;
            let (mean, var) = match of_batch {
                true => (mean, var),
                false => {
                    let part = |p: &str| self.get(&format!("router.norm{}.running_{p}", which + 1))[h];
                    (part("mean"), part("var"))
                }
            };
            for (t, gates) in gates.iter_mut().enumerate() {
                let n: Vec<f64> = z[t][h].iter().map(|v| (v - mean) / (var + 1e-5).sqrt()).collect();
                let least = n.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v)).min(bound);
                let e: Vec<f64> =
                    z[t][h].iter().zip(&n).map(|(z, n)| if *n >= least { z.exp() } else { 0.0 }).collect();
                let sum: f64 = e.iter().sum();
                gates[h] = e.iter().map(|e| e / sum).collect();
            }
        }
        gates
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn rows(values: &[f32]) -> Vec<Vec<f64>> {
    values.chunks_exact(D).map(|row| row.iter().copied().map(f64::from).collect()).collect()
}

/// Units of halves one after another, each times its half's gates of all heads.
fn strengths_of(naive: &Naive<'_>, decompose: &str, x: &[f64], gates: [&Vec<Vec<f64>>; 2]) -> Vec<f64> {
    let sets: &[&str] = if decompose == "horizontal" { &["moe.u"] } else { &["moe.u1", "moe.u2"] };
    let width = HIDDEN / sets.len();
    let of = |set: usize, half: usize| -> Vec<f64> {
        let gate: f64 = gates[set].iter().map(|head| head[half]).sum();
        naive.units(sets[set], x, half * width, width).iter().map(|u| u * gate).collect()
    };
    (0..sets.len() * SIDE).flat_map(|at| of(at / SIDE, at % SIDE)).collect()
}

/// Every expert by itself, weighed head by head: the sum that the layer never forms.
#[test]
fn the_layer_is_the_sum_over_all_experts() {
    for decompose in ["vertical", "horizontal"] {
        for (groups, trained) in [(1, false), (2, false), (1, true), (2, true)] {
            let of = variables(decompose, groups);
            let mut kept = Keep::default();
            let decoder = decoder(&of, decompose, groups, trained);
            decoder.residual(&contexts(), 2, &mut kept).unwrap();
            for layer in 0..2 {
                let owner = layer - layer % groups;
                let input = |l: usize| rows(&kept.0[&format!("blocks.{l}.hook_mlp_in")]);
                let naive = Naive(&of, owner);
                let naive_gates = [0, 1].map(|which| naive.gates(which, &input(owner), trained));
                let out = rows(&kept.0[&format!("blocks.{layer}.hook_mlp_out")]);
                for (t, x) in input(layer).iter().enumerate() {
                    let mut y = [0.0; D];
                    let mut weights = [0.0; SIDE * SIDE];
                    for (e, weight) in weights.iter_mut().enumerate() {
                        let (i, j) = (e / SIDE, e % SIDE);
                        *weight = (0..HEADS).map(|h| naive_gates[0][t][h][i] * naive_gates[1][t][h][j]).sum();
                        let of_expert = Naive(&of, layer).expert(decompose, x, i, j);
                        y.iter_mut().zip(of_expert).for_each(|(y, e)| *y += *weight * e);
                    }
                    let largest = y.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
                    for (a, b) in y.iter().zip(&out[t]) {
                        assert!((a - b).abs() < 2e-5 * largest, "{decompose} {groups} {layer} {t}: {a} {b}");
                    }
                    // Experts by themselves, from the layer's own numbers and gates.
                    let gates: Vec<f32> = kept.1[layer].probabilities.get(t).unwrap().to_vec1().unwrap();
                    let x: Vec<f32> = x.iter().map(|v| *v as f32).collect();
                    let experts = decoder.monet_experts(layer).unwrap().unwrap();
                    let (mut some, all): (Vec<f32>, Vec<u32>) = (vec![0.0; D], (0..25).collect());
                    experts.add(&x, &gates, &all[..9], &mut some);
                    experts.add(&x, &gates, &all[9..], &mut some);
                    for (a, b) in y.iter().zip(&some) {
                        assert!(
                            (a - f64::from(*b)).abs() < 2e-5 * largest,
                            "{decompose} {layer} {t}: {a} {b}"
                        );
                    }
                    let mut strengths = [0.0f32; SIDE * HIDDEN];
                    experts.strengths(&x, &gates).iter().for_each(|(unit, s)| strengths[*unit as usize] = *s);
                    let expected = strengths_of(
                        &Naive(&of, layer),
                        decompose,
                        &input(layer)[t],
                        [&naive_gates[0][t], &naive_gates[1][t]],
                    );
                    assert_eq!((expected.len(), experts.hidden_units()), (SIDE * HIDDEN, SIDE * HIDDEN));
                    for (a, b) in expected.iter().zip(&strengths) {
                        assert!(
                            (a - f64::from(*b)).abs() < 2e-5 * a.abs().max(1e-2),
                            "{decompose} {t}: {a} {b}"
                        );
                    }
                    // What is recorded: the experts by weight, all of them here.
                    let routing = &kept.1[layer];
                    assert_eq!((routing.layer, routing.k, routing.experts), (layer, 25, 25));
                    let recorded = t * 25..(t + 1) * 25;
                    for (e, w) in routing.chosen[recorded.clone()].iter().zip(&routing.weights[recorded]) {
                        assert!((weights[*e as usize] - f64::from(*w)).abs() < 1e-5, "{e} {w}");
                    }
                }
            }
            // The owner alone has logits and scores; all layers have experts.
            let has = |name: &str| kept.0.contains_key(name);
            assert!(has("blocks.0.mlp.hook_router_scores") && has("blocks.1.mlp.hook_expert_weights"));
            assert_eq!(has("blocks.1.mlp.hook_router_logits"), groups == 1);
            let hooks = config(decompose, groups);
            for (name, values) in &kept.0 {
                assert_eq!(values.len(), 6 * name.parse::<Hook>().unwrap().width(&hooks).unwrap(), "{name}");
            }
        }
    }
}

/// The loss's slope along every variable against differences; those of the routers too.
#[test]
fn gradients_are_those_of_finite_differences() {
    for decompose in ["vertical", "horizontal"] {
        let of = variables(decompose, 2);
        let loss = |of: &HashMap<String, Var>| -> Tensor {
            let decoder = decoder(of, decompose, 2, true);
            let logits = decoder.forward(&contexts(), &mut NoTap).unwrap();
            crate::model::summed_loss(&logits, &contexts()).unwrap()
        };
        let grads = loss(&of).backward().unwrap();
        for (name, _) in shapes(decompose, 2) {
            if name.contains("running") {
                continue;
            }
            let var = &of[&name];
            let grad: Vec<f32> =
                grads.get(var.as_tensor()).expect(&name).flatten_all().unwrap().to_vec1().unwrap();
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
            // Small steps, so that no logit passes the threshold in between.
            let step = 2e-4;
            let found = (at(step) - at(-step)) / f64::from(2.0 * step);
            assert!(
                (found - slope).abs() < 0.02 * slope.abs().max(0.5),
                "{decompose} {name}: {found} {slope}"
            );
        }
    }
}

#[test]
fn thresholds_are_the_quantiles_of_the_paper() {
    assert!((threshold(32, 512) - 1.5341).abs() < 5e-5);
    assert!((threshold(8, 512) - 2.1539).abs() < 5e-5);
    assert_eq!(threshold(7, 7), f64::NEG_INFINITY);
    // Of normal logits as many pass as the quantile says, and of any the largest.
    let z: Vec<f32> = normal(&[200 * 512], 3).to_vec1().unwrap();
    let of = lowered(&z, &moments(&z, 1, 512), 512, threshold(32, 512) as f32);
    let kept = of.iter().filter(|v| **v == 0.0).count() as f64 / 200.0;
    assert!((kept - 32.0).abs() < 1.5, "{kept}");
    let low = lowered(&[-3.0, -2.0, -4.0], &[(0.0, 1.0)], 3, 1.5);
    assert_eq!(low, [OUT, 0.0, OUT]);
}

/// A layer that shares routers cannot run without the block that has them; nothing is made up for it.
#[test]
fn a_layer_without_its_routers_says_so() {
    let decoder = decoder(&variables("vertical", 2), "vertical", 2, false);
    let x = decoder.residual(&contexts(), 1, &mut NoTap).unwrap();
    let error = decoder.through(x, 1..2, &contexts(), &mut NoTap).unwrap_err().to_string();
    assert!(error.contains("block 1") && error.contains("block 0"), "{error}");
}

/// A million experts: parameters and time grow with √E.
#[test]
fn a_million_experts_cost_their_halves() {
    let (n, d) = (1024, 4);
    let of = MonetConfig {
        side: n,
        heads: 1,
        hidden: 2,
        topk: 8,
        decomposition: Decomposition::Horizontal,
        activation: crate::model::config::Activation::SquaredRelu,
        router_layer: 0,
        owns_router: true,
    };
    let plain = |t: Var| t.as_tensor().detach().copy().unwrap();
    let linear = |out: usize, input: usize, seed: u64| Linear::new(plain(normal(&[out, input], seed)), None);
    let monet = Monet {
        config: of,
        d_model: d,
        router: Some(Routers {
            weights: [linear(n, d, 1), linear(n, d, 2)],
            kept: [vec![(0.0, 2.0)], vec![(0.0, 2.0)]],
            threshold: threshold(8, n) as f32,
        }),
        experts: Experts::Horizontal {
            u: linear(2 * n, d, 3),
            v: linear(d, 2 * n, 4),
            b: plain(normal(&[n, d], 5)),
        },
    };
    let x = plain(normal(&[1, 3, d], 6));
    let mut kept = Keep::default();
    let y = monet.forward(&x, &mut None, &mut Visitor::new(0, &mut kept)).unwrap();
    assert_eq!(y.dims(), [1, 3, d]);
    assert_eq!((kept.1[0].experts, kept.1[0].k), (1 << 20, 32));
    assert!(kept.1[0].chosen.iter().all(|e| *e < 1 << 20));
}
