//! A whole model of ReLU experts and a whole dataset: active units by loops over the checkpoint's own
//! tensors.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use storage::row;

use super::*;
use crate::Quiet;
use crate::rows::fixture::{self, Routed, header, texts};
use lm::model::{Hook, ModelSource, Routing, Site, Tap};

/// A model of two layers of four experts with this activation, and a dataset that has its tokens in a routing
/// table.
fn model_and_data(folder: &Path, activation: &str) -> (LanguageModel, std::path::PathBuf) {
    let at = folder.join("model");
    fixture::model(&at);
    let path = at.join("config.json");
    let mut config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config["hidden_act"] = activation.into();
    std::fs::write(&path, config.to_string()).unwrap();
    let model = LanguageModel::load(&ModelSource::Folder(at)).unwrap();
    let texts = texts(&[30, 50], 59, 3);
    let mut rows: Vec<Routed> = Vec::new();
    for (document, text) in texts.iter().enumerate() {
        for (position, &token) in text.tokens.iter().enumerate() {
            rows.extend((0..2).map(|layer| {
                (10 + document as u32, position as u32, token, layer, vec![0, 1], vec![0.5, 0.25], 0.1)
            }));
        }
    }
    let mut head = header(16);
    head.model = fixture::model_ref(&model);
    head.context_length = 32;
    let data = folder.join("data");
    fixture::routing(&data, head, &texts, &rows);
    (model, data)
}

/// Inputs and choices of every layer.
#[derive(Default)]
struct Inputs {
    x: BTreeMap<usize, Vec<Vec<f32>>>,
    chosen: BTreeMap<usize, Vec<Vec<u32>>>,
}

impl Tap for Inputs {
    fn wants(&self, hook: &Hook) -> bool {
        hook.site == Site::MlpIn
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let (rows, len, d) = value.dims3()?;
        self.x.entry(hook.layer).or_default().extend(value.reshape((rows * len, d))?.to_vec2::<f32>()?);
        Ok(None)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        let chosen = routing.chosen.chunks(routing.k).map(<[u32]>::to_vec);
        self.chosen.entry(routing.layer).or_default().extend(chosen);
        Ok(())
    }
}

#[test]
fn active_units_of_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = model_and_data(folder.path(), "relu");
    let report = of_dataset(&data, &ModelChoice::OfTheData, 1000, 1, &mut Quiet).unwrap();
    assert!(report.gaps.is_empty(), "{:?}", report.gaps);
    let table = row::open::<SparsityRow>(&data.join("experts/sparsity.parquet")).unwrap();
    assert_eq!(row::read::<SparsityRow>(&table, Default::default()).unwrap(), report.sparsity);
    let table = row::open::<SimilarityRow>(&data.join("experts/similarity.parquet")).unwrap();
    assert_eq!(row::read::<SimilarityRow>(&table, Default::default()).unwrap(), report.similarity);

    let tensors =
        candle_core::safetensors::load(folder.path().join("model/model.safetensors"), &Device::Cpu).unwrap();
    let source = Source::open(&data).unwrap();
    let documents = crate::experts::rescore::documents(&source).unwrap();
    let mut sums: BTreeMap<(u16, u32), (f64, f64, u64)> = BTreeMap::new();
    for batch in crate::experts::rescore::contexts(&source, &model, documents).unwrap() {
        let batch = batch.unwrap();
        let mut inputs = Inputs::default();
        model.forward(&batch, &mut inputs).unwrap();
        for (layer, chosen) in &inputs.chosen {
            for ((x, chosen), origin) in inputs.x[layer].iter().zip(chosen).zip(&batch.origin) {
                for expert in chosen.iter().filter(|_| origin.is_some()) {
                    let name = format!("model.layers.{layer}.mlp.experts.{expert}.gate_proj.weight");
                    let gate =
                        tensors[&name].to_dtype(candle_core::DType::F32).unwrap().to_vec2::<f32>().unwrap();
                    let z = |row: &Vec<f32>| row.iter().zip(x).map(|(w, x)| f64::from(w * x)).sum::<f64>();
                    let active = gate.iter().filter(|row| z(row) > 0.0).count() as f64 / gate.len() as f64;
                    // Mean and variance of each column, as the formula says.
                    let n = gate.len() as f64;
                    let (mut m, mut v) = (0.0, 0.0);
                    for (i, x) in x.iter().enumerate() {
                        let mean = gate.iter().map(|row| f64::from(row[i])).sum::<f64>() / n;
                        let spread =
                            gate.iter().map(|row| f64::from(row[i]).powi(2)).sum::<f64>() / n - mean * mean;
                        m += mean * f64::from(*x);
                        v += spread * f64::from(*x).powi(2);
                    }
                    let expected = Tensor::new(m / (2.0 * v).sqrt(), &Device::Cpu).unwrap().erf().unwrap();
                    let sum = sums.entry((*layer as u16, *expert)).or_default();
                    sum.0 += 0.5 * (1.0 + expected.to_scalar::<f64>().unwrap());
                    sum.1 += active;
                    sum.2 += 1;
                }
            }
        }
    }
    assert_eq!(
        sums.values().map(|sum| sum.2).sum::<u64>(),
        2 * 2 * 80,
        "two experts per token in two layers"
    );
    assert_eq!(report.sparsity.len(), sums.len());
    for found in &report.sparsity {
        let (expected, active, tokens) = sums[&(found.layer, found.expert)];
        let n = tokens as f64;
        assert_eq!(found.tokens, tokens);
        assert!((found.expected - expected / n).abs() < 1e-6, "{found:?}: {}", expected / n);
        // A unit at the very edge may fall the other way with another order of summation.
        assert!((found.measured - active / n).abs() < 2.0 / (8.0 * n), "{found:?}: {}", active / n);
        assert!(found.error >= (found.expected - found.measured).abs() - 1e-9 && found.error < 0.5);
    }
}

#[test]
fn other_activations_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (model, data) = model_and_data(folder.path(), "silu");
    std::fs::create_dir_all(data.join("experts")).unwrap();
    std::fs::write(data.join("experts/sparsity.parquet"), "of another model").unwrap();
    let report = of_dataset(&data, &ModelChoice::OfTheData, 1000, 1, &mut Quiet).unwrap();
    assert!(report.sparsity.is_empty() && report.similarity.len() == 2 * 6);
    assert!(report.gaps[0].contains("silu") && report.gaps[0].contains("ReLU"), "{:?}", report.gaps);
    assert!(!data.join("experts/sparsity.parquet").exists());
    let source = Source::open(&data).unwrap();
    let message = sparsity(&source, &model, 10, &mut Quiet).unwrap_err().to_string();
    assert!(message.contains("never exactly 0"), "{message}");
    let message = of_dataset(&data, &ModelChoice::Without, 10, 1, &mut Quiet).unwrap_err().to_string();
    assert!(message.contains("--model"), "{message}");
}
