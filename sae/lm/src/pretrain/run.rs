//! The pretraining loop.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::checkpoint::{self, Position};
use super::data::{self, TrainingText};
use super::optimiser::AdamW;
use super::{Parameters, PretrainConfig, loss, tokenizer};
use crate::model::{LanguageModel, ModelSource, Score, Tokenizer, score};
use crate::text::Document;
use crate::{Error, Progress, Result};

/// What a finished run made.
#[derive(Debug, Clone, Serialize)]
pub struct Pretrained {
    /// Numbers in the model.
    pub parameters: usize,
    /// Updates done.
    pub steps: u64,
    /// Document tokens trained on.
    pub tokens: u64,
    /// Scores of the stored model on the held-out documents, by domain.
    pub held_out: BTreeMap<String, Score>,
}

/// Trains a model and stores it in `folder`; with `resume` it continues from the folder's checkpoint, bit for
/// bit.
pub fn run(
    config: &PretrainConfig,
    folder: &Path,
    resume: bool,
    progress: &mut dyn Progress,
) -> Result<Pretrained> {
    config.check()?;
    check_begun(folder, resume)?;
    let (train, held_out) = data::read(config, progress)?;
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let lock = storage::Lock::take(folder)?;
    lock.note().iter().for_each(|note| progress.remark(note));
    // A second process may have begun while this one read the text.
    check_begun(folder, resume)?;
    let tokenizer = the_tokenizer(config, folder, &train, resume, progress)?;
    let text = TrainingText::new(config, &train, &tokenizer, progress)?;
    drop(train);
    let (parameters, position) = optimise(config, folder, &text, resume, progress)?;
    parameters.save(&config.model(), folder)?;
    let stored = LanguageModel::load(&ModelSource::Folder(folder.to_path_buf()))?;
    let scores = score(stored.decoder(), &tokenizer, &held_out, config.context_length, 8, progress)?;
    let result = Pretrained {
        parameters: parameters.count(),
        steps: position.step,
        tokens: position.tokens,
        held_out: scores,
    };
    storage::atomic::write_json(
        &folder.join("pretrain.json"),
        &serde_json::json!({"config": config, "result": result}),
    )?;
    Ok(result)
}

/// Whether `folder` is as `resume` has it.
fn check_begun(folder: &Path, resume: bool) -> Result<()> {
    if checkpoint::file(folder).exists() != resume {
        let folder = folder.display();
        return Err(if resume {
            Error::request(format!("{folder} has no checkpoint to resume from"))
                .with_remedy("leave --resume out to begin")
        } else {
            Error::request(format!("{folder} holds a run already"))
                .with_remedy("continue it with --resume, or choose a different folder")
        });
    }
    Ok(())
}

fn the_tokenizer(
    config: &PretrainConfig,
    folder: &Path,
    train: &[Document],
    resume: bool,
    progress: &mut dyn Progress,
) -> Result<Tokenizer> {
    let path = folder.join("tokenizer.json");
    let json = if resume {
        std::fs::read(&path).map_err(|e| Error::io(&path, e))?
    } else {
        progress.begin("make the tokenizer", None, "");
        let json = tokenizer::train(train.iter().map(|d| d.text.as_str()), config.vocab_size)?.into_bytes();
        storage::atomic::write(&path, &json)?;
        let special = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
            "add_bos_token": true, "pad_token": "<|padding|>", "model_max_length": config.context_length,
        });
        storage::atomic::write_json(&folder.join("tokenizer_config.json"), &special)?;
        progress.end(&format!("{} tokens", config.vocab_size));
        json
    };
    Tokenizer::from_bytes(&json, &path, config.model().bos_token_id)
}

fn optimise(
    config: &PretrainConfig,
    folder: &Path,
    text: &TrainingText,
    resume: bool,
    progress: &mut dyn Progress,
) -> Result<(Parameters, Position)> {
    let parameters = Parameters::random(&config.model(), config.seed)?;
    let mut optimiser = AdamW::new(&parameters, config.weight_decay);
    let mut at = match resume {
        true => checkpoint::load(folder, config, &parameters, &mut optimiser)?,
        false => Position::default(),
    };
    let decoder = parameters.decoder(&config.model())?;
    progress.begin("pretrain", Some(config.tokens), "tokens");
    let mut smooth = None;
    while at.tokens < config.tokens {
        let before = at;
        for contexts in text.epoch(at.epoch)?.skip(at.batch as usize) {
            let contexts = contexts?;
            let started = Instant::now();
            let loss = loss::loss(&decoder, &contexts, config.balance, config.z_loss)?;
            let rate = config.rate(at.step, at.tokens);
            let norm = optimiser.step(&parameters, &loss.total.backward()?, at.step, rate)?;
            at.step += 1;
            at.batch += 1;
            at.tokens += contexts.document_tokens() as u64;
            let mean = smooth.map_or(loss.cross_entropy, |s: f32| 0.98 * s + 0.02 * loss.cross_entropy);
            smooth = Some(mean);
            if at.step.is_multiple_of(config.log_every) {
                let speed = contexts.document_tokens() as f64 / started.elapsed().as_secs_f64();
                let note = format!(
                    "step {}  loss {mean:.3}  balance {:.2}  gradient {norm:.2}  rate {rate:.1e}  {speed:.0} tokens/s",
                    at.step, loss.balance
                );
                progress.advance(at.tokens, &note);
            }
            let stop = progress.stop_requested();
            if stop || at.step.is_multiple_of(config.checkpoint_every) || at.tokens >= config.tokens {
                checkpoint::save(folder, config, &parameters, &optimiser, at)?;
            }
            if stop {
                let kept = format!("{} is kept at step {}", folder.display(), at.step);
                return Err(Error::stopped(kept).with_remedy("continue with --resume"));
            }
            if at.tokens >= config.tokens {
                break;
            }
        }
        if at == before {
            return Err(Error::request("the text is too short to fill a single batch"));
        }
        if at.tokens < config.tokens {
            at = Position { epoch: at.epoch + 1, batch: 0, ..at };
        }
    }
    progress.end(&format!("{} steps, loss {:.3}", at.step, smooth.unwrap_or(f32::NAN)));
    Ok((parameters, at))
}
