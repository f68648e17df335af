//! Branches as one operation against the same blocks operation by operation, on packed contexts longer than a
//! block of queries.

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};

use crate::Result;
use crate::model::{Compute, Config, Decoder, Hook, Site, Tap, Weights};
use crate::text::Contexts;

/// Adds a variable of zeros to the embedding, and looks at everything if it is to keep branches from being
/// one operation.
struct Watch {
    everything: bool,
    shift: Option<Var>,
}

impl Tap for Watch {
    fn wants(&self, hook: &Hook) -> bool {
        self.everything || (self.shift.is_some() && hook.site == Site::Embed)
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        match &self.shift {
            Some(shift) if hook.site == Site::Embed => Ok(Some((value + shift.as_tensor())?)),
            _ => Ok(None),
        }
    }
}

fn decoder(family: &str) -> Decoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/families").join(family);
    let path = folder.join("config.json");
    let config = Config::parse(&std::fs::read_to_string(&path).unwrap(), &path).unwrap();
    Decoder::new(config, Weights::open_safetensors(&folder.join("model.safetensors")).unwrap()).unwrap()
}

/// Three rows: one context, two contexts and padding, many short ones.
fn contexts(vocabulary: usize, len: usize) -> Contexts {
    let segment = |row: usize, i: usize| match row {
        0 => 1,
        1 if i < len / 3 => 1,
        1 if i < len - 5 => 2,
        1 => 0,
        _ => (i / 7) as u32 + 1,
    };
    let (mut segments, mut positions) = (Vec::new(), Vec::<u32>::new());
    for row in 0..3 {
        for i in 0..len {
            let goes_on = i > 0 && segment(row, i) == segment(row, i - 1);
            positions.push(if goes_on { positions[positions.len() - 1] + 1 } else { 0 });
            segments.push(segment(row, i));
        }
    }
    let tokens = (0..3 * len).map(|i| ((i * 7919 + i / 5) % vocabulary) as u32).collect();
    Contexts { rows: 3, len, tokens, segments, positions, origin: vec![None; 3 * len] }
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn close(a: &Tensor, b: &Tensor, tolerance: f32, what: &str) {
    let (a, b) = (numbers(a), numbers(b));
    let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(largest > 0.0, "{what} is all zero");
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!((a - b).abs() <= tolerance * largest, "{what}, entry {i}: {a} against {b}");
    }
}

/// Both ways round the same numbers to bfloat16; where one is about halfway between two, they may go different ways. Of dense models: a
/// router that is nearly undecided would choose otherwise.
#[test]
fn in_bfloat16_both_ways_agree_and_stay_close_to_single_precision() {
    for family in ["gpt2", "qwen3", "gemma2", "phi3", "llama-biases", "granite"] {
        let mut decoder = decoder(family);
        let layers = decoder.config().num_hidden_layers;
        let len = 100.min(decoder.config().max_position_embeddings);
        let contexts = contexts(decoder.config().vocab_size, len);
        let mut run = |compute| {
            decoder.set_compute(compute);
            [false, true].map(|everything| {
                decoder.residual(&contexts, layers, &mut Watch { everything, shift: None }).unwrap()
            })
        };
        let ([single, _], [rounded, watched]) = (run(Compute::F32), run(Compute::Bf16));
        assert_ne!(numbers(&single), numbers(&rounded), "{family}");
        close(&rounded, &watched, 2e-2, family);
        close(&rounded, &single, 5e-2, family);
        let [again, _] = run(Compute::F32);
        assert_eq!(numbers(&single), numbers(&again), "{family}");
    }
}

#[test]
fn agrees_with_the_way_operation_by_operation() {
    for family in [
        "gpt2",
        "gpt_neox",
        "llama-biases",
        "mistral",
        "qwen3",
        "gemma2",
        "olmo2",
        "olmo3",
        "phi3",
        "smollm3",
        "gemma3",
        "granite",
        "gpt_oss",
        "olmoe",
    ] {
        let decoder = decoder(family);
        let (layers, d) = (decoder.config().num_hidden_layers, decoder.config().hidden_size);
        let len = 100.min(decoder.config().max_position_embeddings);
        let contexts = contexts(decoder.config().vocab_size, len);
        let run = |everything: bool, shift: Option<Var>| {
            decoder.residual(&contexts, layers, &mut Watch { everything, shift }).unwrap()
        };
        let zeros = || Some(Var::zeros((3, len, d), DType::F32, &Device::Cpu).unwrap());
        let plain = run(false, None);
        close(&plain, &run(true, None), 1e-5, family);
        // With a gradient the steps are other ones, the numbers must not be.
        assert_eq!(numbers(&plain), numbers(&run(false, zeros())), "{family}");

        let gradients = [false, true].map(|everything| {
            let shift = zeros().unwrap();
            let residual = run(everything, Some(shift.clone()));
            let loss = decoder.summed_loss(&residual, &contexts).unwrap();
            loss.backward().unwrap().get(shift.as_tensor()).unwrap().clone()
        });
        close(&gradients[0], &gradients[1], 1e-4, &format!("gradient of {family}"));
    }
}
