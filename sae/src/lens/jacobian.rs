//! The mean Jacobian, a row per vector-Jacobian product.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use storage::{ModelRef, lens};

use super::file::Lens;
use crate::{Error, Progress, Result};
use kernels::chance::{Purpose, choose, generator};
use lm::model::{Hook, LanguageModel, Tap};
use lm::text::{self, Contexts, pack};

/// How a lens is made.
#[derive(Debug, Clone, PartialEq)]
pub struct LensOptions {
    /// The hooks, all of which one backward pass serves.
    pub hooks: Vec<Hook>,
    /// Text files and folders.
    pub text: Vec<PathBuf>,
    /// Documents to average over.
    pub prompts: usize,
    /// Tokens of each at most, BOS included.
    pub context_length: usize,
    /// Tokens at its beginning that are left out.
    pub skip: usize,
    /// Rows that go through the model together.
    pub rows: usize,
    /// Seed of which documents are taken.
    pub seed: u64,
}

impl Default for LensOptions {
    fn default() -> Self {
        Self {
            hooks: Vec::new(),
            text: Vec::new(),
            prompts: 100,
            context_length: 128,
            skip: 16,
            rows: 8,
            seed: 0,
        }
    }
}

/// Makes the lens of `model` and keeps it in `out`.
///
/// # Errors
/// No hook, or one that the model does not have or that does not hold a vector, text that cannot be read or has no document that is long enough; a
/// folder that cannot be written to; [`Error::Stopped`].
pub fn run(
    model: &LanguageModel,
    options: &LensOptions,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<Lens> {
    check(model, options)?;
    let prompts = prompts(model, options, progress)?;
    let d = model.config().hidden_size;
    let (count, bos) = (prompts.len() as u64, model.bos());
    let batches = prompts.len().div_ceil(options.rows.max(1));
    let mut sums = Sums::new(model, &options.hooks)?;
    progress.begin("jacobian", Some((batches * d) as u64), "products");
    let documents = prompts.into_iter().zip(0_u32..).map(|(tokens, i)| Ok((i, tokens)));
    for contexts in pack(documents, options.context_length, bos, options.rows.max(1))? {
        sums.add(model, &contexts?, options.skip, progress)?;
    }
    if sums.positions == 0 {
        return Err(Error::data("no document has a token to average over"));
    }
    progress.end(&format!("{} tokens of {count} documents", sums.positions));
    let record = lens::Lens {
        format: lens::FORMAT.to_owned(),
        version: lens::VERSION,
        model: ModelRef {
            id: model.id().to_owned(),
            path: Some(model.source().lasting()?),
            sha256: model.sha256().to_owned(),
        },
        d_model: d,
        hooks: options.hooks.iter().map(ToString::to_string).collect(),
        prompts: count,
        positions: sums.positions,
        context_length: options.context_length,
        skipped: options.skip,
        text: options.text.iter().map(|path| path.display().to_string()).collect(),
        seed: options.seed,
        sha256: String::new(),
    };
    Lens::save(out, record, &sums.means())
}

fn check(model: &LanguageModel, options: &LensOptions) -> Result<()> {
    if options.hooks.is_empty() {
        return Err(Error::request("no hook is given").with_remedy("name one with --hook"));
    }
    for hook in &options.hooks {
        hook.width(model.config())?;
        if !hook.site.is_vector() {
            return Err(Error::request(format!("a token has no vector at {hook}")));
        }
    }
    let most = model.config().max_position_embeddings;
    let ok =
        options.skip + 2 < options.context_length && options.context_length <= most && options.prompts > 0;
    match ok {
        true => Ok(()),
        false => Err(Error::request(format!(
            "{} prompts of {} tokens of which {} are left out make no sense with a model of {most} positions",
            options.prompts, options.context_length, options.skip
        ))
        .with_remedy("give --context between --skip and the model's positions")),
    }
}

/// The beginnings of documents that are long enough, drawn by seed.
fn prompts(
    model: &LanguageModel,
    options: &LensOptions,
    progress: &mut dyn Progress,
) -> Result<Vec<Vec<u32>>> {
    let mut texts = text::open(&options.text)?;
    texts.notes().iter().for_each(|note| progress.remark(note));
    let room = options.context_length - usize::from(model.bos().is_some());
    let mut long = Vec::new();
    for document in texts.by_ref() {
        let mut tokens = model.tokenizer().encode_after_bos(&document?.text)?;
        tokens.truncate(room);
        if tokens.len() > options.skip + 1 {
            long.push(tokens);
        }
        if progress.stop_requested() {
            return Err(Error::stopped("the lens was not made"));
        }
    }
    texts.report().remarks().iter().for_each(|remark| progress.remark(remark));
    if long.is_empty() {
        return Err(Error::request(format!("no document has more than {} tokens", options.skip + 1))
            .with_remedy("give longer text, or a smaller --skip"));
    }
    if long.len() < options.prompts {
        progress.remark(&format!(
            "the text has {} documents that are long enough, not {}",
            long.len(),
            options.prompts
        ));
    }
    choose(&mut long, options.prompts, &mut generator(options.seed, Purpose::Documents, 1, 0));
    Ok(long)
}

/// Adds a variable to the value at each hook.
struct Shifts<'a>(&'a BTreeMap<String, Var>);

impl Tap for Shifts<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        self.0.contains_key(&hook.to_string())
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        match self.0.get(&hook.to_string()) {
            Some(shift) => Ok(Some((value + shift.as_tensor())?)),
            None => Ok(None),
        }
    }
}

/// Sums of Jacobians over tokens.
pub(super) struct Sums {
    widths: BTreeMap<String, usize>,
    /// `[d_model, width]` of each hook.
    sums: BTreeMap<String, Vec<f64>>,
    /// Tokens.
    pub positions: u64,
    products: u64,
}

impl Sums {
    pub fn new(model: &LanguageModel, hooks: &[Hook]) -> Result<Self> {
        let d = model.config().hidden_size;
        let width = |hook: &Hook| Ok((hook.to_string(), hook.width(model.config())?));
        let widths = hooks.iter().map(width).collect::<Result<BTreeMap<_, _>>>()?;
        let sums = widths.iter().map(|(hook, width)| (hook.clone(), vec![0.0; d * width])).collect();
        Ok(Self { widths, sums, positions: 0, products: 0 })
    }

    /// Adds those of a batch: `Σ_{t, t'} ∂h_final[t'] / ∂h[t]` over its [counted](counted) tokens.
    pub fn add(
        &mut self,
        model: &LanguageModel,
        contexts: &Contexts,
        skip: usize,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let counted = counted(contexts, skip);
        let (rows, len) = (contexts.rows, contexts.len);
        let mask: Vec<f32> = counted.iter().map(|&counted| f32::from(u8::from(counted))).collect();
        let mask = Tensor::from_vec(mask, (rows, len, 1), &Device::Cpu)?;
        let shift = |(hook, &width): (&String, &usize)| {
            Ok((hook.clone(), Var::zeros((rows, len, width), DType::F32, &Device::Cpu)?))
        };
        let shifts = self.widths.iter().map(shift).collect::<Result<BTreeMap<_, _>>>()?;
        let layers = model.config().num_hidden_layers;
        let residual = model.decoder().residual(contexts, layers, &mut Shifts(&shifts))?;
        for i in 0..model.config().hidden_size {
            let scalar = residual.narrow(2, i, 1)?.mul(&mask)?.sum_all()?;
            let gradients = scalar.backward()?;
            for (hook, shift) in &shifts {
                // Nothing reaches a hook that the final stream does not depend on.
                let Some(gradient) = gradients.get(shift) else { continue };
                let row: Vec<f32> = gradient.broadcast_mul(&mask)?.sum((0, 1))?.to_vec1()?;
                let Some(sums) = self.sums.get_mut(hook) else { continue };
                let sums = &mut sums[i * row.len()..(i + 1) * row.len()];
                sums.iter_mut().zip(row).for_each(|(sum, g)| *sum += f64::from(g));
            }
            self.products += 1;
            progress.advance(self.products, "");
            if progress.stop_requested() {
                return Err(Error::stopped("the lens was not finished, and nothing was written"));
            }
        }
        self.positions += counted.iter().filter(|counted| **counted).count() as u64;
        Ok(())
    }

    /// The means over tokens.
    pub fn means(&self) -> BTreeMap<String, Vec<f32>> {
        let n = self.positions.max(1) as f64;
        let mean = |sums: &Vec<f64>| sums.iter().map(|sum| (sum / n) as f32).collect();
        self.sums.iter().map(|(hook, sums)| (hook.clone(), mean(sums))).collect()
    }
}

/// The tokens that count: none of the first `skip` of a text, and not its last.
pub(super) fn counted(contexts: &Contexts, skip: usize) -> Vec<bool> {
    let follows = contexts.targets();
    let counts = |i: usize| contexts.positions[i] as usize >= skip && follows[i].is_some();
    (0..contexts.tokens.len()).map(counts).collect()
}
