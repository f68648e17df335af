//! `sae prompt`: a text through the model and a dictionary.

mod explain;
mod show;

use std::path::PathBuf;

use clap::Args;

use self::explain::ExplainOptions;
use self::show::{Answer, NamedContinuation, Order};
use super::inputs::ModelOption;
use super::{Output, Session};
use lm::model::Compute;
use sae::dictionary::recode::Coding;
use sae::lens::Lens;
use sae::prompt::{Change, Edit, Intervention, Prompter, Reading, Sampling, Scope, Target};
use sae::{Error, Result};
use storage::Dataset;

/// Show which features fire on a text, what they do, and what happens if they are changed
///
/// Changes are added to the true activation, x' = x + Σ (c' − c)·W_dec, so what the dictionary misses is
/// kept. Strengths are shares of each feature's own maximum. Ablations are applied first, then clamps, then
/// additions.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae prompt topk --text 'The court held that the'                     features of every token\n  \
    sae prompt topk --text 'The court held that' --by loss               ordered by their effect on the loss\n  \
    sae prompt topk --text 'The court held that' --by 'logit: the'       … on the logit of ` the` after the last token\n  \
    sae prompt topk --text 'The court' --ablate 12 --add 77=1.5 --tokens 20  continuations with and without\n  \
    sae prompt topk --text 'The court held' --explain ' that'           few features that keep a prediction"
)]
pub struct Command {
    /// A run, or a dictionary of a different program: a folder, a file, or OWNER/NAME[@REVISION][/PATH] of the hub
    #[arg(value_name = "SOURCE")]
    run: String,
    /// Text to read
    #[arg(long)]
    text: String,
    /// Order of a token's features: activation, share (of the feature's own maximum), loss, or
    /// logit:TOKEN[@POSITION] (TOKEN by its text or as #NUMBER; the logit after the last token if no position
    /// is given)
    #[arg(long, default_value = "activation", value_name = "WHAT")]
    by: String,
    /// Features shown per token (--json has all of them)
    #[arg(long, default_value_t = 6, value_name = "N")]
    top: usize,
    /// Set these features to 0
    #[arg(long, value_name = "F", value_delimiter = ',')]
    ablate: Vec<u32>,
    /// Hold a feature at a share of its maximum
    #[arg(long, value_name = "F=SHARE", value_delimiter = ',', value_parser = strength, allow_hyphen_values = true)]
    clamp: Vec<(u32, f32)>,
    /// Add a share of a feature's maximum to it
    #[arg(long, value_name = "F=SHARE", value_delimiter = ',', value_parser = strength, allow_hyphen_values = true)]
    add: Vec<(u32, f32)>,
    /// Change features only at these tokens, counted from 0 [default: at all, those of the continuation
    /// included]
    #[arg(long, value_name = "POSITION", value_delimiter = ',')]
    at: Vec<usize>,
    /// Random directions of the same length, or with --explain random sets of the same size, to compare with
    #[arg(long, default_value_t = 5, value_name = "N")]
    controls: u16,
    /// Tokens to continue the text by, with and without the changes
    #[arg(long, default_value_t = 0, value_name = "N")]
    tokens: usize,
    /// Sample the continuation at this temperature instead of taking the likeliest token
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// In what numbers the model multiplies with its weights: f32 or bf16 [default: as when the dataset was made]
    #[arg(long, value_name = "NUMBERS")]
    compute: Option<Compute>,
    /// Take codes that are searched for from the dictionary's own (`sae evaluate --help` says how): refit, pursuit, soft, hard, half, firm,
    /// log-sum, posterior or best
    #[arg(long, value_name = "CODING")]
    recode: Option<Coding>,
    /// Dataset that names the model and the hook [default: the one the run was trained on]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Show what each token's activation says through this Jacobian lens, made by `sae lens`
    #[arg(long, value_name = "DIR")]
    lens: Option<PathBuf>,
    #[command(flatten)]
    explain: ExplainOptions,
    #[command(flatten)]
    model: ModelOption,
}

/// `TOKEN[@POSITION]`: a token and the token of the text that it follows, the last if none is given.
fn placed(text: &str, prompter: &Prompter, reading: &Reading) -> Result<(u32, usize)> {
    let place = text.rsplit_once('@').and_then(|(token, at)| Some((token, at.parse().ok()?)));
    let (token, position) = place.unwrap_or((text, reading.len() - 1));
    Ok((prompter.token(token)?, position))
}

fn strength(text: &str) -> std::result::Result<(u32, f32), String> {
    let parts =
        text.split_once('=').and_then(|(f, s)| Some((f.trim().parse().ok()?, s.trim().parse().ok()?)));
    parts.ok_or_else(|| "expected FEATURE=SHARE, for example 512=1.5".to_owned())
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A dictionary or model that cannot be found or read, or that do not belong together; a text, target or
    /// change that makes no sense for them; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let model = self.model.choice(session)?;
        let run = session.source(&self.run)?;
        let mut prompter = Prompter::open(&run, self.data.as_deref(), &model)?;
        if let Some(compute) = self.compute {
            prompter.set_compute(compute);
        }
        if let Some(coding) = self.recode {
            let data = match coding.needs_slabs() {
                true => Some(Dataset::open(&sae::evaluate::data_of(&run, self.data.as_deref())?)?),
                false => None,
            };
            prompter.search_codes(coding, data.as_ref())?;
        }
        let reading = prompter.read(&self.text)?;
        let target = self.target(&prompter, &reading)?;
        let attribution = target.map(|target| prompter.attribute(&reading, target)).transpose()?;
        let seed = session.seed.unwrap_or_default();
        let changes = self.changes();
        let plan = prompter.plan(&reading, &changes)?;
        let effect = match plan.is_empty() {
            true => None,
            false => Some(prompter.effect(&reading, &plan, (self.controls, seed), &mut session.progress)?),
        };
        let sampling = match self.temperature {
            Some(temperature) => Sampling::Drawn { temperature, seed },
            None => Sampling::Greedy,
        };
        let direction = prompter.direction(seed, 0);
        let mut continued = Vec::new();
        if self.tokens > 0 {
            let mut interventions = vec![("as it is", Intervention::Nothing)];
            if !plan.is_empty() {
                interventions.push(("changed", Intervention::Changes(&plan)));
                if self.controls > 0 {
                    interventions.push(("control", Intervention::Control(&plan, &direction)));
                }
            }
            for (name, with) in interventions {
                let progress = &mut session.progress;
                let continuation = prompter.continuation(&reading, with, self.tokens, sampling, progress)?;
                continued.push(NamedContinuation { name, continuation });
            }
        }
        let explained = self.explain.find(&prompter, &reading, self.controls, session)?;
        let lens = match &self.lens {
            Some(folder) => Some(prompter.through_lens(&reading, &Lens::load(folder)?)?),
            None => None,
        };
        let answer = Answer {
            explained,
            lens,
            prompter: &prompter,
            reading: &reading,
            attribution,
            changes,
            maxima: plan.maxima.clone(),
            effect,
            sampling,
            continued,
        };
        let by = match target {
            Some(_) => Order::Effect,
            None if self.by == "share" => Order::Share,
            None => Order::Activation,
        };
        Ok(answer.output(by, self.top))
    }

    /// The target of the effects that `--by` orders by, if it does.
    fn target(&self, prompter: &Prompter, reading: &Reading) -> Result<Option<Target>> {
        match self.by.as_str() {
            "activation" | "share" => Ok(None),
            "loss" => Ok(Some(Target::Loss)),
            other => {
                let Some(logit) = other.strip_prefix("logit:") else {
                    return Err(Error::request(format!(
                        "--by is `{other}`, expected activation, share, loss, or logit:TOKEN[@POSITION]"
                    )));
                };
                let (token, position) = placed(logit, prompter, reading)?;
                Ok(Some(Target::Logit { token, position }))
            }
        }
    }

    fn changes(&self) -> Vec<Change> {
        let at = if self.at.is_empty() { Scope::Everywhere } else { Scope::Tokens(self.at.clone()) };
        let ablated = self.ablate.iter().map(|&feature| (feature, Edit::Ablate));
        let clamped = self.clamp.iter().map(|&(feature, share)| (feature, Edit::Clamp(share)));
        let added = self.add.iter().map(|&(feature, share)| (feature, Edit::Add(share)));
        let all = ablated.chain(clamped).chain(added);
        all.map(|(feature, edit)| Change { feature, edit, at: at.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_are_feature_and_share() {
        assert_eq!((strength("12=1.5"), strength("3=-2")), (Ok((12, 1.5)), Ok((3, -2.0))));
        for bad in ["", "3", "a=1", "1=x", "-1=2", "1=2=3"] {
            assert!(strength(bad).unwrap_err().contains("512=1.5"), "{bad}");
        }
    }
}
