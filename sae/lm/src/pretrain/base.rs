//! Fine-tuning: a run that begins with the weights and the tokenizer of a model that `sae pretrain` made.

use std::path::Path;

use candle_core::Tensor;

use super::{Parameters, PretrainConfig};
use crate::model::Weights;
use crate::{Error, Result, embedded};

/// The name of the model inside the program.
const DEFAULT: &str = "default";

/// The options that the model in `folder`, or `default`, was made with.
///
/// # Errors
/// A folder without `pretrain.json`, or whose options this program does not know.
pub fn options_of(folder: &Path) -> Result<PretrainConfig> {
    let path = folder.join("pretrain.json");
    let bytes = match is_embedded(folder) {
        true => embedded::PRETRAIN.to_vec(),
        false => std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::request(format!(
                "{} has no pretrain.json, so `sae pretrain` did not make it",
                folder.display()
            ))
            .with_remedy(
                "only models of `sae pretrain` are fine-tuned; `default` is the one inside the program",
            ),
            _ => Error::io(&path, e),
        })?,
    };
    let wrong = |e: serde_json::Error| Error::format(&path, format!("cannot be read: {e}"));
    let mut record: serde_json::Value = serde_json::from_slice(&bytes).map_err(wrong)?;
    serde_json::from_value(record["config"].take()).map_err(wrong)
}

/// `tokenizer.json` of the model in `folder`, or of `default`.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn tokenizer(folder: &Path) -> Result<Vec<u8>> {
    match is_embedded(folder) {
        true => Ok(embedded::TOKENIZER.to_vec()),
        false => {
            let path = folder.join("tokenizer.json");
            std::fs::read(&path).map_err(|e| Error::io(&path, e))
        }
    }
}

/// Gives `parameters` the weights of the model in `folder`, or of `default`.
///
/// # Errors
/// Weights that cannot be read, or a tensor that is missing or of a different shape, with its name.
pub(super) fn take(folder: &Path, parameters: &mut Parameters) -> Result<()> {
    let path = folder.join("model.safetensors");
    let mut weights = match is_embedded(folder) {
        true => Weights::from_safetensors(embedded::WEIGHTS, &path)?,
        false => Weights::open_safetensors(&path)?,
    };
    for (name, var) in parameters.iter() {
        var.set(&stacked(&mut weights, name, var.dims())?)?;
    }
    let kept: Vec<(String, Vec<usize>)> =
        parameters.kept().iter().map(|(name, kept)| (name.clone(), kept.dims().to_vec())).collect();
    for (name, shape) in kept {
        let value = weights.take(&name, &shape)?;
        parameters.keep(&name, value);
    }
    Ok(())
}

fn is_embedded(folder: &Path) -> bool {
    folder == Path::new(DEFAULT)
}

/// The variable `name` of shape `shape`, put together from the tensors that Hugging Face's form has of it: a gate and an up matrix,
/// each expert's.
fn stacked(weights: &mut Weights, name: &str, shape: &[usize]) -> Result<Tensor> {
    let both = |weights: &mut Weights, prefix: &str, shape: &[usize]| -> Result<Tensor> {
        let half = [shape[0] / 2, shape[1]];
        let gate = weights.take(&format!("{prefix}gate_proj.weight"), &half)?;
        let up = weights.take(&format!("{prefix}up_proj.weight"), &half)?;
        Ok(Tensor::cat(&[gate, up], 0)?)
    };
    if let Some(prefix) = name.strip_suffix("gate_up_proj.weight") {
        return both(weights, prefix, shape);
    }
    let Some((prefix, which)) = name.split_once(".experts.") else { return weights.take(name, shape) };
    let of = |e: usize| format!("{prefix}.experts.{e}.");
    let experts = (0..shape[0]).map(|e| match which {
        "gate_up_proj" => both(weights, &of(e), &shape[1..]),
        _ => weights.take(&format!("{}{which}.weight", of(e)), &shape[1..]),
    });
    Ok(Tensor::stack(&experts.collect::<Result<Vec<_>>>()?, 0)?)
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, run};
    use super::*;
    use crate::Quiet;

    fn text(folder: &Path, word: &str) -> std::path::PathBuf {
        let path = folder.join(format!("{word}.txt"));
        let line =
            |i: usize| format!("The {word} of {i} walks to the {} and counts {}.\n", i % 5, i * 37 % 101);
        std::fs::write(&path, (0..900).map(line).collect::<String>()).unwrap();
        path
    }

    fn small(kind: Kind, text: &Path) -> PretrainConfig {
        PretrainConfig { tokens: 2000, ..crate::pretrain::tests::small(kind, text) }
    }

    /// With next to no learning rate the weights come back to the bit, whatever the architecture.
    #[test]
    fn a_run_begins_with_the_models_own_weights() {
        let folder = tempfile::tempdir().unwrap();
        let text = text(folder.path(), "cat");
        for kind in [Kind::TopK, Kind::Dense, Kind::MonetVertical, Kind::MoeX] {
            let (base, tuned) =
                (folder.path().join(kind.name()), folder.path().join(format!("{}-tuned", kind.name())));
            run(&small(kind, &text), &base, false, &mut Quiet).unwrap();
            let config = PretrainConfig {
                from: Some(base.clone()),
                tokens: 200,
                learning_rate: 1e-30,
                ..options_of(&base).unwrap()
            };
            run(&config, &tuned, false, &mut Quiet).unwrap();
            let read = |folder: &Path, file: &str| std::fs::read(folder.join(file)).unwrap();
            assert_eq!(read(&base, "tokenizer.json"), read(&tuned, "tokenizer.json"), "{kind:?}");
            assert_eq!(read(&base, "config.json"), read(&tuned, "config.json"), "{kind:?}");
            // Monet's routers keep moments that a batch moves whatever the rate.
            if !kind.is_monet() {
                let same = read(&base, "model.safetensors") == read(&tuned, "model.safetensors");
                assert!(same, "{kind:?}: the weights moved");
            }
        }
    }

    /// Of a new kind of text the tuned model knows more than its base, and a run that was stopped ends with the same bits.
    #[test]
    fn tuning_learns_and_is_resumed_to_the_same_bits() {
        let folder = tempfile::tempdir().unwrap();
        let (cats, dogs) = (text(folder.path(), "cat"), text(folder.path(), "dog"));
        let base = folder.path().join("base");
        run(&small(Kind::TopK, &cats), &base, false, &mut Quiet).unwrap();
        let config = PretrainConfig {
            from: Some(base.clone()),
            text: vec![dogs],
            tokens: 1500,
            learning_rate: 1e-3,
            ..options_of(&base).unwrap()
        };
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        run(&config, &whole, false, &mut Quiet).unwrap();
        let stopped = run(&config, &parts, false, &mut crate::progress::StopAfter::new(6));
        assert!(matches!(stopped, Err(Error::Stopped(_))));
        run(&config, &parts, true, &mut Quiet).unwrap();
        let weights = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
        assert!(weights(&whole) == weights(&parts), "not the same bits");
        assert!(weights(&whole) != weights(&base));
    }

    #[test]
    fn the_model_inside_the_program_can_be_tuned_and_others_are_refused() {
        let options = options_of(Path::new(DEFAULT)).unwrap();
        let mut parameters = Parameters::random(&options.model(), 0).unwrap();
        take(Path::new(DEFAULT), &mut parameters).unwrap();
        assert!(parameters.to_hugging_face().unwrap() == embedded::WEIGHTS, "not the embedded weights");
        let folder = tempfile::tempdir().unwrap();
        let error = options_of(folder.path()).unwrap_err();
        assert!(error.to_string().contains("has no pretrain.json") && error.remedy().is_some(), "{error}");
    }
}
