//! Jacobians against finite differences and where they are known.

use candle_core::{Device, Tensor};

use super::jacobian::{Sums, counted};
use super::*;
use crate::rows::fixture;
use crate::{Error, Quiet, Result};
use lm::model::{Hook, LanguageModel, Tap};
use lm::progress::StopAfter;
use lm::text::{Contexts, pack};

fn contexts(model: &LanguageModel) -> Contexts {
    let documents: Vec<Vec<u32>> =
        vec![vec![1, 2, 2, 1, 2, 1, 1, 2, 1], vec![2, 2, 1, 1, 2, 1, 2], vec![1, 1, 2]];
    let documents = documents.into_iter().zip(0..).map(|(tokens, i)| Ok((i, tokens)));
    pack(documents, 12, model.bos(), 3).unwrap().next().unwrap().unwrap()
}

/// Adds `step` to number `column` of the value at a hook, at the counted tokens.
struct Step<'a>(Hook, &'a [bool], usize, f32);

impl Tap for Step<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        *hook == self.0
    }

    fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let width = value.dim(2)?;
        let mut values: Vec<f32> = value.flatten_all()?.to_vec1()?;
        for (row, _) in values.chunks_exact_mut(width).zip(self.1).filter(|(_, counted)| **counted) {
            row[self.2] += self.3;
        }
        Ok(Some(Tensor::from_vec(values, value.shape(), &Device::Cpu)?))
    }
}

/// Column j of the mean Jacobian, times the number of tokens, is how fast the counted tokens' final streams move together when number j
/// moves at all of them.
#[test]
fn jacobians_equal_finite_differences() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture::model(folder.path());
    let contexts = contexts(&model);
    let counted = counted(&contexts, 2);
    assert!(counted.iter().filter(|c| **c).count() > 8, "a test of nothing");
    let d = model.config().hidden_size;
    let hooks: Vec<Hook> = [
        "blocks.0.hook_resid_post",
        "blocks.1.hook_resid_pre",
        "blocks.0.attn.hook_z",
        "blocks.1.hook_mlp_out",
    ]
    .map(|hook| hook.parse().unwrap())
    .to_vec();
    let mut sums = Sums::new(&model, &hooks).unwrap();
    sums.add(&model, &contexts, 2, &mut Quiet).unwrap();
    let means = sums.means();
    let n = sums.positions as f64;
    for hook in hooks {
        let (jacobian, width) = (&means[&hook.to_string()], hook.width(model.config()).unwrap());
        let moved = |column: usize, step: f32| -> Vec<f64> {
            let mut tap = Step(hook, &counted, column, step);
            let residual = model.decoder().residual(&contexts, 2, &mut tap).unwrap();
            let values: Vec<f32> = residual.flatten_all().unwrap().to_vec1().unwrap();
            let mut sum = vec![0.0; d];
            for (row, _) in values.chunks_exact(d).zip(&counted).filter(|(_, counted)| **counted) {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            sum
        };
        let (mut checked, mut kinks, mut largest) = (0, 0, 0.0_f64);
        for column in 0..width {
            let slope = |h: f32| -> Vec<f64> {
                let (up, down) = (moved(column, h), moved(column, -h));
                up.iter().zip(down).map(|(a, b)| (a - b) / f64::from(2.0 * h)).collect()
            };
            let (wanted, half) = (slope(2e-3), slope(1e-3));
            let size = wanted.iter().fold(1.0_f64, |a, x| a.max(x.abs()));
            // A router changes its choice in steps: where one lies between −h and h there is no slope.
            if wanted.iter().zip(&half).any(|(a, b)| (a - b).abs() > 0.05 * size) {
                kinks += 1;
                continue;
            }
            for (i, wanted) in wanted.iter().enumerate() {
                let found = n * f64::from(jacobian[i * width + column]);
                assert!((found - wanted).abs() < 0.03 * size, "{hook} [{i}, {column}]: {found} {wanted}");
                largest = largest.max(wanted.abs());
            }
            checked += 1;
        }
        assert!(checked > kinks && largest > 0.5, "{hook}: {checked} columns, {kinks} without a slope");
    }
}

/// At the last residual stream nothing comes after: the Jacobian is the identity, to the bit.
#[test]
fn the_last_stream_is_the_identity() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture::model(folder.path());
    let hook: Hook = "blocks.1.hook_resid_post".parse().unwrap();
    let mut sums = Sums::new(&model, &[hook]).unwrap();
    sums.add(&model, &contexts(&model), 2, &mut Quiet).unwrap();
    let d = model.config().hidden_size;
    for (i, value) in sums.means()[&hook.to_string()].iter().enumerate() {
        assert_eq!(*value, f32::from(u8::from(i.is_multiple_of(d + 1))), "{i}");
    }
}

fn options(folder: &std::path::Path) -> LensOptions {
    let text = folder.join("text");
    std::fs::create_dir_all(&text).unwrap();
    for i in 0..6 {
        let letters: String = (0..30).map(|j| if (i * 7 + j * j) % 3 == 0 { 'a' } else { 'b' }).collect();
        std::fs::write(text.join(format!("{i}.txt")), letters).unwrap();
    }
    LensOptions {
        hooks: vec!["blocks.0.hook_resid_post".parse().unwrap(), "blocks.0.attn.hook_z".parse().unwrap()],
        text: vec![text],
        prompts: 4,
        context_length: 16,
        skip: 3,
        rows: 2,
        seed: 1,
    }
}

#[test]
fn a_lens_comes_back_and_belongs_to_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture::model(&folder.path().join("model"));
    let (options, out) = (options(folder.path()), folder.path().join("lens"));
    let made = run(&model, &options, &out, &mut Quiet).unwrap();
    assert_eq!(Lens::load(&out).unwrap(), made);
    assert_eq!((made.record.prompts, made.record.hooks.len()), (4, 2));
    assert_eq!(made, { run(&model, &options, &out, &mut Quiet).unwrap() });
    let jacobian = made.at("blocks.0.hook_resid_post", 16, &model).unwrap();
    assert_eq!(jacobian.dims(), [16, 16]);
    let error = made.at("blocks.1.hook_resid_post", 16, &model).unwrap_err();
    assert!(
        error.to_string().contains("not blocks.1.hook_resid_post") && error.remedy().is_some(),
        "{error}"
    );
    let mut other = made;
    other.record.model.sha256 = "0".repeat(64);
    assert!(other.at("blocks.0.hook_resid_post", 16, &model).unwrap_err().to_string().contains("not of"));
}

#[test]
fn what_makes_no_lens_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture::model(&folder.path().join("model"));
    let (good, out) = (options(folder.path()), folder.path().join("lens"));
    let error = |options: LensOptions| run(&model, &options, &out, &mut Quiet).unwrap_err().to_string();
    assert!(error(LensOptions { hooks: Vec::new(), ..good.clone() }).contains("no hook"));
    assert!(error(LensOptions { skip: 15, ..good.clone() }).contains("make no sense"));
    assert!(
        error(LensOptions { context_length: 64, skip: 40, ..good.clone() }).contains("no document has more")
    );
    let stopped = run(&model, &good, &out, &mut StopAfter::new(3));
    assert!(matches!(stopped, Err(Error::Stopped(_))) && !out.exists());
}
