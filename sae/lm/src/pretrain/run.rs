//! The pretraining loop.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor};
use serde::Serialize;

use super::checkpoint::{self, Position};
use super::collapse::Collapse;
use super::data::{self, TrainingText};
use super::gate::DenseGate;
use super::log::{self, Log};
use super::loss::{self, HeadMoments, Loss};
use super::optimiser::AdamW;
use super::{Kind, Parameters, PretrainConfig, base, start, switches, tokenizer};
use crate::model::{Decoder, LanguageModel, ModelSource, Score, Tokenizer, score};
use crate::text::{Contexts, Document};
use crate::{Error, Progress, Result};

/// What a finished run made.
#[derive(Debug, Clone, Serialize)]
pub struct Pretrained {
    /// Numbers in the model.
    pub parameters: usize,
    /// Those that take part in the computation of one token; all, but for experts that it does not choose. Of
    /// modules that are switched, the mean over held-out tokens.
    pub active_parameters: usize,
    /// Of modules that are switched: the share of held-out tokens that each is on for, by layer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub density: BTreeMap<usize, Vec<f64>>,
    /// Updates done.
    pub steps: u64,
    /// Document tokens trained on.
    pub tokens: u64,
    /// Document tokens per second of training, median over the logged steps.
    pub tokens_per_second: Option<f32>,
    /// Scores of the stored model on the held-out documents, by domain.
    pub held_out: BTreeMap<String, Score>,
}

/// Trains a model and stores it in `folder`; with `resume` it continues from the folder's checkpoint, bit for
/// bit.
///
/// # Errors
/// A configuration that makes no sense; text that cannot be read or tokenised; a `folder` that holds a run
/// already, or none to resume; a gradient that is not finite; a stop that was asked for, after a checkpoint.
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
    let density = match config.architecture {
        Kind::Modular => {
            let length = config.context_length;
            switches::density(stored.decoder(), &tokenizer, &held_out, length, progress)?
        }
        _ => BTreeMap::new(),
    };
    let result = Pretrained {
        parameters: parameters.count(),
        active_parameters: active(config, &parameters, &density),
        density,
        steps: position.step,
        tokens: position.tokens,
        tokens_per_second: log::speed(folder)?,
        held_out: scores,
    };
    storage::atomic::write_json(
        &folder.join("pretrain.json"),
        &serde_json::json!({"config": config, "result": result}),
    )?;
    Ok(result)
}

/// Numbers that one token meets: of experts that are run one by one, those of `experts_per_token` of them; of
/// modules that are switched, as many as are on (all where that was not measured).
fn active(config: &PretrainConfig, parameters: &Parameters, density: &BTreeMap<usize, Vec<f64>>) -> usize {
    let each: Vec<f64> = density.values().flatten().copied().collect();
    let on = match config.architecture {
        Kind::Modular if each.is_empty() => config.experts as f64,
        Kind::Modular => each.iter().sum::<f64>() / density.len() as f64,
        _ => config.experts_per_token as f64,
    };
    let one = |(name, var): (&str, &candle_core::Var)| match name.contains(".mlp.experts.") {
        true => ((var.elem_count() / config.experts) as f64 * on).round() as usize,
        false => var.elem_count(),
    };
    parameters.iter().map(one).sum()
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

/// The tokenizer of the model that the run begins with, or the run's own.
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
        let json = match (&config.from, &config.start) {
            (Some(from), _) => {
                progress.begin("take the tokenizer", None, "");
                base::tokenizer(from)?
            }
            (None, Some(start)) => {
                let path = start.join("tokenizer.json");
                progress.begin("take the tokenizer", None, "");
                std::fs::read(&path).map_err(|e| Error::io(&path, e))?
            }
            (None, None) => {
                progress.begin("make the tokenizer", None, "");
                tokenizer::train(train.iter().map(|d| d.text.as_str()), config.vocab_size)?.into_bytes()
            }
        };
        storage::atomic::write(&path, &json)?;
        let special = serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
            "add_bos_token": true, "pad_token": "<|padding|>", "model_max_length": config.context_length,
        });
        storage::atomic::write_json(&folder.join("tokenizer_config.json"), &special)?;
        progress.end(&format!("{} tokens", config.vocab_size));
        json
    };
    Tokenizer::from_bytes(&json, &path, config.model().bos_token_id())
}

fn optimise(
    config: &PretrainConfig,
    folder: &Path,
    text: &TrainingText,
    resume: bool,
    progress: &mut dyn Progress,
) -> Result<(Parameters, Position)> {
    let mut parameters = Parameters::random(&config.model(), config.seed)?;
    switches::begin(config, &parameters)?;
    if let (Some(folder), false) = (&config.from, resume) {
        base::take(folder, &mut parameters)?;
    }
    if let (Some(folder), false) = (&config.start, resume) {
        start::from_dense(config, folder, &parameters)?;
    }
    let mut optimiser = AdamW::new(&parameters, config.weight_decay);
    let mut at = match resume {
        true => checkpoint::load(folder, config, &mut parameters, &mut optimiser)?,
        false => Position::default(),
    };
    let decoders = Decoders::new(config, &parameters)?;
    let mut log = Log::begin(folder, at.step)?;
    let mut collapse = Collapse::new(config.architecture, config.experts_per_token);
    progress.begin("pretrain", Some(config.tokens), "tokens");
    let mut smooth = None;
    while at.tokens < config.tokens {
        let before = at;
        for contexts in text.epoch(at.epoch)?.skip(at.batch as usize) {
            let contexts = contexts?;
            let started = Instant::now();
            let loss = decoders.loss(config, &contexts, at)?;
            let rate = config.rate(at.step, at.tokens);
            let norm = optimiser.step(&parameters, &loss.total.backward()?, at.step, rate)?;
            loss.logits.iter().try_for_each(|of| keep_moments(&mut parameters, of))?;
            collapse
                .add(&loss.used, loss.tokens, at.step, config.warm_up_steps)
                .iter()
                .for_each(|said| progress.remark(said));
            at.step += 1;
            at.batch += 1;
            at.tokens += contexts.document_tokens() as u64;
            let mean = smooth.map_or(loss.cross_entropy, |s: f32| 0.98 * s + 0.02 * loss.cross_entropy);
            smooth = Some(mean);
            if at.step.is_multiple_of(config.log_every) {
                let speed = contexts.document_tokens() as f64 / started.elapsed().as_secs_f64();
                let note = format!(
                    "step {}  loss {mean:.3}{}  gradient {norm:.2}  rate {rate:.1e}  {speed:.0} tokens/s",
                    at.step,
                    shown(&loss)
                );
                progress.advance(at.tokens, &note);
                log.add(at, &loss, [norm, rate, speed], switches::temperature(&parameters)?);
            }
            let stop = progress.stop_requested();
            if stop || at.step.is_multiple_of(config.checkpoint_every) || at.tokens >= config.tokens {
                log.write(folder)?;
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

/// The routers' losses, as a log line has them.
fn shown(loss: &Loss) -> String {
    loss.routers.iter().map(|(name, value)| format!("  {name} {value:.2}")).collect()
}

/// The model as training runs it: EvoMoE's in two forms, with all experts and with one.
struct Decoders {
    sparse: Decoder,
    dense: Option<Decoder>,
}

impl Decoders {
    fn new(config: &PretrainConfig, parameters: &Parameters) -> Result<Self> {
        let dense = match config.architecture {
            Kind::EvoMoe => Some(parameters.decoder(&config.llama(config.experts))?),
            _ => None,
        };
        Ok(Self { sparse: parameters.decoder(&config.model())?, dense })
    }

    fn loss(&self, config: &PretrainConfig, contexts: &Contexts, at: Position) -> Result<Loss> {
        let still_dense = (at.tokens as f64) < config.gate.dense_share * config.tokens as f64;
        match self.dense.as_ref().filter(|_| still_dense) {
            Some(dense) => {
                let gate = DenseGate::new(config.seed, at.step, config.gate.temperature(at.step));
                loss::loss(dense, contexts, config, Some(gate))
            }
            None => loss::loss(&self.sparse, contexts, config, None),
        }
    }
}

/// How much a batch moves the moments that Monet's routers keep.
const MOMENTUM: f64 = 0.1;

fn keep_moments(parameters: &mut Parameters, of: &HeadMoments) -> Result<()> {
    for (norm, (means, variances)) in ["norm1", "norm2"].into_iter().zip(&of.routers) {
        for (part, new) in [("running_mean", means), ("running_var", variances)] {
            let name = format!("model.layers.{}.router.{norm}.{part}", of.layer);
            let Some(kept) = parameters.kept().get(&name) else { continue };
            let new = Tensor::new(new.as_slice(), &Device::Cpu)?;
            let moved = ((kept * (1.0 - MOMENTUM))? + (new * MOMENTUM)?)?;
            parameters.keep(&name, moved);
        }
    }
    Ok(())
}
