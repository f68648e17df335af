//! One step of training: the only place where a batch meets the parameters.
//!
//! With a batch `x[B, d]`:
//!
//! ```text
//! c = x − b_dec;  z = c · W_encᵀ + b_enc        dense, in chunks
//! S = allocation(score(z))                      which z become codes: B·k pairs, or all that pass a threshold
//! v = z on S
//! e = v · W_dec − c = x̂ − x                     L = 1/B Σ_b ‖e_b‖² + penalty(v)
//! s = e · W_decᵀ at the active pairs            ∂L/∂z = 2/B s + penalty'
//! ```
//!
//! ```text
//! plan ──▶ batch ──▶ aux ──▶ select ──▶ errors ──▶ loss ──▶ gradients ──▶ update
//! ```
//!
//! Every stage is a value that later stages read: what a stage needs are the arguments of its function. The values live in the memory of
//! [`Stepper`], so that a step allocates next to nothing; none of them says anything about the next step.
//!
//! | file | part |
//! |---|---|
//! | `options` | what a step is told; ramps and phases: the plan |
//! | `context` | what every stage reads |
//! | `prepare` | before the step: budgets of feature choice, expected rates |
//! | `batch` | the batch, centred |
//! | `aux` | which features have the auxiliary loss, and that loss by dense products |
//! | `select` | which pairs are active: `[B, F]` never exists |
//! | `pursuit` | matching pursuit, forward and backward |
//! | `refine` | one correction of the codes by what they leave, forward and backward |
//! | `penalty` | what codes cost |
//! | `errors` | errors and slopes at the active pairs, of every reconstruction that the loss has |
//! | `nested` | which nested dictionary adds a feature, their reconstructions |
//! | `tilt` | what rows count for |
//! | `loss` | sums, and the constants of the gradients |
//! | `gradients` | by feature |
//! | `update` | projection, Adam, unit norm |
//! | `resample` | new rows for dead features |
//! | `cross_layer` | the same for the layers of a cross-layer transcoder, whose errors are common |
//! | `parts` | where the time goes |
//!
//! Features that fire too rarely have a loss of their own, the auxiliary loss. AuxK (Gao et al. 2024): with `u` the k_aux largest positive pre-activations
//! of the dead features (silent for `dead_after` tokens), they reconstruct the residual `r = x − x̂ = −e`, which counts as constant,
//! without bias:
//!
//! ```text
//! q = u · W_dec + e;   L_aux = α · V · Σ_b ‖q_b‖² / Σ_b ‖r_b − mean(r)‖²
//! ```
//!
//! `V`, the variance of the input measured before the first step, gives both losses one unit, so that `α = 1/32` means what it means
//! for a loss that is divided by `V`, whatever the scale of the activations. aux-zipf is the same loss for the dead features and the
//! under-used ones, those that fire at less than ρ times the rate that Zipf's law gives to their rank; with ρ = 0, or a law that expects
//! nothing, it is AuxK. (The paper, Ayonrinde 2024, calls it a generalisation of AuxK for dead and under-used features; the formula is
//! our reading.)
//!
//! Further reconstructions that a loss may have:
//! - Multi-TopK: with 4k active features per token instead of k, times 1/8.
//! - Matryoshka (Bussmann et al. 2025): nested dictionaries of the first F₁ < F₂ < … < F features, each with the active pairs that fall on
//!   it. Our loss is the mean over the nested dictionaries, not their sum, so that learning rate and AuxK mean what they mean elsewhere.
//!   `nested` says which features the dictionaries have, and what each feature is to blame for.
//! - Gated (Rajamanoharan et al. 2024): from the gate's codes relu(z), with the decoder held constant, next to λ·Σ relu(z).
//!
//! A transcoder reconstructs `y` and not its input: `z = x · W_encᵀ + b_enc` and `e = v · W_dec + b_dec − y`; everything else is the same.
//! With a skip connection `e = v · W_dec + b_dec + x · W_skipᵀ − y`, and `∂L/∂W_skip = Σ_b (∂L/∂e_b)ᵀ x_b`.
//!
//! After the forward pass everything is sparse. Active pairs are grouped by feature and each of a feature's rows is visited once: gradients,
//! projection, Adam, unit norm (`kernels::feature`). `∂L/∂b_dec = 2/B Σ_b e_b − Σ_f (Σ_b s_b)_f W_enc,f`.

mod aux;
mod batch;
mod context;
pub mod cross_layer;
mod errors;
mod gradients;
mod loss;
mod nested;
pub mod options;
pub mod parts;
mod penalty;
pub mod prepare;
pub mod pursuit;
mod refine;
mod resample;
mod select;
mod tilt;
mod update;

pub use aux::dense::DENSE;
pub use batch::Tokens;
pub use loss::StepReport;
pub use options::StepOptions;
pub use select::audit::{Audit, LEAST_RECALL};
pub use select::rows::{CHUNK_ROWS, finds_candidates};

use super::state::TrainState;
use crate::{Error, Result};
use aux::AuxFeatures;
use batch::CentredBatch;
use context::{Chunking, Context};
use errors::Errors;
use gradients::{FeaturePairs, Gradients};
use kernels::adam::AdamStep;
use options::Rule;
use parts::{Part, Parts};
use penalty::CodeCost;
use pursuit::Pursuit;
use refine::Refinement;
use select::rows::FeatureRows;
use select::{ActivePairs, SearchMemory};

/// Does steps.
#[derive(Debug)]
pub struct Stepper {
    options: StepOptions,
    /// Decided at the first step, for the shape of its state.
    search: Option<PairSearch>,
    memory: StepMemory,
    parts: Parts,
}

/// How active pairs are searched.
#[derive(Debug)]
struct PairSearch {
    rows: FeatureRows,
    chunking: Chunking,
}

/// The values of the last step: memory for those of the next one.
#[derive(Debug, Default)]
struct StepMemory {
    batch: CentredBatch,
    aux: AuxFeatures,
    search: SearchMemory,
    pairs: ActivePairs,
    refinement: Refinement,
    pursuit: Pursuit,
    errors: Errors,
    by_feature: FeaturePairs,
    /// Of a layer of a cross-layer transcoder: the constants of its gradients, and the scale of its penalty after the step.
    joint: (loss::Scales, f32),
}

/// What the forward pass comes to.
struct Forward<'a> {
    report: StepReport,
    gradients: Gradients<'a>,
    /// [`TrainState::penalty_scale`] after the step.
    penalty_scale: f32,
}

impl Stepper {
    pub fn new(options: StepOptions) -> Self {
        Self { options, search: None, memory: StepMemory::default(), parts: Parts::default() }
    }

    /// From the next step on all pre-activations are computed: no candidates.
    pub fn search_exactly(&mut self) {
        self.options.search = options::Search::Exact;
        self.search = None;
    }

    /// Where the time of all steps went.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// One step on a batch.
    ///
    /// # Errors
    /// If budgets cannot be met, or the loss or a weight is not finite. `state` may then be half updated; checkpoints are not.
    pub fn step<'a>(
        &mut self,
        state: &mut TrainState,
        batch: impl Into<Tokens<'a>>,
        learning_rate: f64,
    ) -> Result<StepReport> {
        let batch = batch.into();
        let t = state.step + 1;
        self.parts.begin();
        prepare::prepare(state, &self.options, (batch.x.len() / state.d) as u64)?;
        let Self { options, search, memory, parts } = self;
        let search = search.get_or_insert_with(|| PairSearch::choose(state, options));
        let Forward { mut report, gradients, penalty_scale } =
            forward(options, search, memory, parts, state, batch);
        if !report.loss.is_finite() {
            return Err(Error::data(format!("step {t}: the loss is {}", report.loss))
                .with_remedy(format!("the learning rate {learning_rate:e} is probably too high: lower it")));
        }
        let adam = AdamStep::new(t, learning_rate, options.betas, options.epsilon);
        report.decoder_norm = update::update(state, &gradients, search.rows.renew(t, options), &adam)?;
        parts.end(Part::Update);
        state.penalty_scale = penalty_scale;
        state.step = t;
        if resample::resample(state, options, batch.x, &memory.errors.main) {
            search.rows.invalidate();
        }
        Ok(report)
    }

    /// The first part of a step of a layer of a cross-layer transcoder: which pairs of `x[B, d]` are active. The errors, which are made of
    /// the codes of all layers, go into the memory's `errors.main` after it.
    fn select(&mut self, state: &mut TrainState, x: &[f32]) -> Result<()> {
        self.parts.begin();
        let tokens = x.len() / state.d;
        prepare::prepare(state, &self.options, tokens as u64)?;
        let Self { options, search, memory, parts } = self;
        let PairSearch { rows, chunking } = search.get_or_insert_with(|| PairSearch::choose(state, options));
        let StepMemory { batch, aux, search, pairs, .. } = memory;
        let plan = options.plan(state.step + 1);
        let context = Context { state, options, plan, chunking: *chunking, tokens };
        rows.pack(state, options);
        aux.set(&context, rows);
        batch.set_joint(x);
        parts.end(Part::Prepare);
        select::select(&context, rows, batch, aux, search, pairs);
        parts.end(Part::Search);
        Ok(())
    }

    /// Tokens of the chunks that the last batch was cut into; none before the first.
    fn chunk_rows(&self) -> Option<usize> {
        self.search.as_ref().map(|search| search.chunking.rows)
    }

    /// The second part: slopes, penalty and auxiliary loss, with errors that are known. What of the report is the layer's alone counts.
    fn measure_joint(&mut self, state: &TrainState) -> StepReport {
        let Self { options, search, memory, parts } = self;
        let search = search.get_or_insert_with(|| PairSearch::choose(state, options));
        let tokens = memory.batch.rows().centred.len() / state.d;
        let plan = options.plan(state.step + 1);
        let context = Context { state, options, plan, chunking: search.chunking, tokens };
        let StepMemory { batch, aux, pairs, errors, by_feature, joint, .. } = memory;
        let cost = CodeCost::of(&context, pairs);
        errors.measure(&context, (batch, &[]), aux, &cost, pairs);
        parts.end(Part::Errors);
        let (report, scales) = loss::loss(&context, pairs, errors, aux, &cost);
        let (rows, widths) = (search.chunking.rows, (state.d, state.d_out));
        by_feature.set((state.features, rows), widths, pairs, batch, errors, aux, scales);
        parts.end(Part::Group);
        *joint = (scales, cost.scale);
        report
    }

    /// All that the gradients of a layer are made of, after [`Stepper::measure_joint`].
    fn joint_gradients<'a>(
        options: &'a StepOptions,
        memory: &'a StepMemory,
        state: &TrainState,
    ) -> Gradients<'a> {
        let StepMemory { batch, aux, errors, by_feature, joint, refinement, pursuit, .. } = memory;
        let refined = &refinement.batch;
        let (d, d_out) = (state.d, state.d_out);
        let (tokens, plan) = (batch.rows().centred.len() / d, options.plan(state.step + 1));
        let (pairs, scales) = (by_feature, joint.0);
        Gradients { options, plan, tokens, d, d_out, batch, refined, pursuit, errors, aux, pairs, scales }
    }

    /// The last part: the update. Returns the mean norm of decoder rows before it was made 1.
    fn apply(&mut self, state: &mut TrainState, adam: &AdamStep) -> Result<f64> {
        let Self { options, search, memory, parts } = self;
        let t = state.step + 1;
        let search = search.get_or_insert_with(|| PairSearch::choose(state, options));
        let gradients = Self::joint_gradients(options, memory, state);
        let norm = update::update(state, &gradients, search.rows.renew(t, options), adam)?;
        parts.end(Part::Update);
        (state.penalty_scale, state.step) = (memory.joint.1, t);
        Ok(norm)
    }

    /// The forward pass alone.
    #[cfg(test)]
    fn forward<'a, 'b>(
        &'a mut self,
        state: &TrainState,
        batch: impl Into<Tokens<'b>>,
    ) -> (StepReport, Gradients<'a>) {
        let Self { options, search, memory, parts } = self;
        let search = search.get_or_insert_with(|| PairSearch::choose(state, options));
        let forward = forward(options, search, memory, parts, state, batch.into());
        (forward.report, forward.gradients)
    }
}

impl PairSearch {
    fn choose(state: &TrainState, options: &StepOptions) -> Self {
        let rows = FeatureRows::choose(state, options);
        Self { chunking: rows.chunking(state), rows }
    }
}

/// From a batch to all that gradients are made of. Packs the rows of features that are not packed yet.
fn forward<'a>(
    options: &'a StepOptions,
    PairSearch { rows, chunking }: &mut PairSearch,
    memory: &'a mut StepMemory,
    parts: &mut Parts,
    state: &TrainState,
    tokens: Tokens<'_>,
) -> Forward<'a> {
    let StepMemory { batch, aux, search, pairs, refinement, pursuit, errors, by_feature, .. } = memory;
    let plan = options.plan(state.step + 1);
    let (d, d_out, n) = (state.d, state.d_out, tokens.x.len() / state.d);
    let context = Context { state, options, plan, chunking: *chunking, tokens: n };
    rows.pack(state, options);
    aux.set(&context, rows);
    batch.set(&context, tokens);
    parts.end(Part::Prepare);
    select::select(&context, rows, batch, aux, search, pairs);
    refinement.correct(&context, (rows, batch), pairs);
    if plan.rule == Rule::Pursuit {
        pursuit.select(&context, batch, pairs);
    }
    parts.end(Part::Search);
    let cost = CodeCost::of(&context, pairs);
    errors.measure(&context, (batch, tokens.reconstructed()), aux, &cost, pairs);
    refine::go_back(&context, errors, pairs);
    parts.end(Part::Errors);
    let (report, scales) = loss::loss(&context, pairs, errors, aux, &cost);
    by_feature.set((state.features, chunking.rows), (d, d_out), pairs, batch, errors, aux, scales);
    pursuit.go_back(&context, batch, errors, scales.main);
    parts.end(Part::Group);
    let (pairs, refined) = (by_feature, &refinement.batch);
    let gradients =
        Gradients { options, plan, tokens: n, d, d_out, batch, refined, pursuit, errors, aux, pairs, scales };
    Forward { report, gradients, penalty_scale: cost.scale }
}

#[cfg(test)]
mod tests;
