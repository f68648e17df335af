//! What a run says about itself: `run.json`, and the dictionary's origin.

use std::path::Path;

use storage::{LeftOut, Manifest, RunRecord, RunStatus, clock};

use super::selecting::{Selecting, encoder};
use super::trainer::Trainer;
use crate::Error;
use crate::dictionary::allocation::blocks::choices_bits;
use crate::dictionary::{CrossLayerTranscoder, Dictionary, DictionaryInfo, Normalisation, Selection, Target};
use crate::train::TrainOutcome;
use crate::train::config::{Method, Resolved};
use crate::train::statistics::{Statistics, TargetStatistics};
use crate::train::stream::source::Source;
use crate::train::thresholds::Thresholds;
use kernels::vector::dot;
use lm::model::{Hook, Site};

/// The record of a run that begins, or resumes `previous`.
pub fn begin(resolved: &Resolved, source: &Source, previous: Option<&RunRecord>) -> RunRecord {
    let manifest = source.dataset().manifest();
    let config = &resolved.config;
    let mut record = previous.cloned().unwrap_or_else(RunRecord::new);
    record.status = RunStatus::Running;
    record.error = None;
    record.method = config.method.name().to_owned();
    record.k = if config.method.is_penalised() { 0 } else { config.k };
    record.d_in = resolved.d_in;
    record.d_sae = resolved.d_sae;
    record.layers = (resolved.layers > 1).then_some(resolved.layers as u64);
    record.hook = manifest.hook.clone().unwrap_or_default();
    record.target_hook = source.target_hook().map(str::to_owned);
    record.model = manifest.model.clone();
    record.data = config.data.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    record.seed = config.seed;
    record.steps_total = resolved.steps;
    record.tokens_total = resolved.steps * config.batch as u64;
    record.versions = [("sae", env!("CARGO_PKG_VERSION").to_owned()), ("processor", kernels::processor())]
        .map(|(name, version)| (name.to_owned(), version))
        .into();
    if previous.is_none() {
        record.started = clock::now();
    }
    record.updated = clock::now();
    record
}

/// Brings `record` up to date with `trainer`.
pub fn update(record: &mut RunRecord, trainer: &Trainer<'_>, threads: usize) {
    record.threads = threads;
    record.step = trainer.state().step;
    record.tokens_done = trainer.tokens_done();
    record.wall_seconds = trainer.seconds();
    record.input_scale = f64::from(trainer.statistics().input_scale);
    record.exact_search = trainer.exact_search().cloned();
    record.updated = clock::now();
    record.last = trainer.last_row().copied().or(record.last);
    let (rows, passed) = (trainer.left_out(), trainer.position());
    record.left_out = Some(LeftOut { rows, share: rows as f64 / passed.max(1) as f64 });
    record.norm_limit = trainer.statistics().norm_limit.map(f64::from);
    let target = trainer.statistics().target.as_ref();
    record.target_norm_limit = target.and_then(|target| target.norm_limit).map(f64::from);
    let limit = |layer: &Statistics| Some(f64::from(layer.target.as_ref()?.norm_limit?));
    let of_layers =
        (trainer.statistics().layers() > 1).then(|| trainer.statistics().each().map(limit).collect());
    record.target_norm_limits = of_layers.flatten();
    record.mean_ratio = Some(f64::from(trainer.statistics().mean_ratio));
}

/// What a person should know about the rows that a run was trained on.
pub fn remarks(record: &RunRecord, resolved: &Resolved, manifest: &Manifest) -> Vec<String> {
    let mut remarks = Vec::new();
    let left_out = record.left_out.unwrap_or_default();
    if let (1.., Some(multiple)) = (left_out.rows, resolved.config.max_norm.multiple()) {
        let mut remark = format!(
            "{} rows ({:.2} %) were left out: their norm is above {multiple} times the median",
            left_out.rows,
            100.0 * left_out.share
        );
        if manifest.hook.is_some() && !leaves_out_bos(manifest) {
            remark.push_str(
                "; the model has no BOS, so the first token of a context is the likely attention sink",
            );
        }
        remark.push_str("; max_norm = none keeps such rows");
        remarks.push(remark);
    }
    let dead = record.last.and_then(|row| row.dead_share).map_or(0.0, f64::from);
    if let (Some(ratio), true) = (record.mean_ratio, dead > MANY_DEAD) {
        remarks.push(format!(
            "{:.0} % of the features are dead; the mean of the activations is {ratio:.2} times as long as what varies about it \
             (γ = ‖μ‖/‖σ‖)",
            100.0 * dead
        ));
    }
    remarks
}

/// Share of dead features from which on a run gives hints about it.
const MANY_DEAD: f64 = 0.1;

/// Whether rows of BOS are not in the dataset.
fn leaves_out_bos(manifest: &Manifest) -> bool {
    manifest.left_out.iter().any(|what| what.contains("BOS"))
}

/// Marks `record` as ended by `error`.
pub fn end_with(record: &mut RunRecord, error: &Error) {
    record.updated = clock::now();
    record.status = match error {
        Error::Stopped(_) => RunStatus::Stopped,
        other => {
            record.error = Some(other.to_string());
            RunStatus::Failed
        }
    };
}

/// The outcome that `record` tells of.
pub fn outcome(record: &RunRecord, run: &Path, resolved: &Resolved) -> TrainOutcome {
    let last = record.last.unwrap_or_default();
    let number = |value: Option<f32>| value.map_or(f64::NAN, f64::from);
    TrainOutcome {
        run: run.to_path_buf(),
        method: resolved.config.method,
        steps: record.step,
        tokens: record.tokens_done,
        seconds: record.wall_seconds,
        loss: number(last.overall_loss),
        fve: number(last.explained_variance),
        l0: number(last.l0),
        dead: number(last.dead_features) as u64,
        dead_share: number(last.dead_share),
        dead_after: resolved.dead_after,
        left_out: record.left_out.unwrap_or_default(),
        mean_ratio: record.mean_ratio,
        capacity_bits: capacity_bits(resolved),
        l0_threshold: record.thresholds.as_ref().map(|fit| fit.l0_threshold),
    }
}

/// Capacity of the blocks of `block-choice`, and of TopK with as many winners.
fn capacity_bits(resolved: &Resolved) -> Option<[f64; 2]> {
    let config = &resolved.config;
    (config.method == Method::BlockChoice).then(|| {
        let of_blocks = config.block_choice().capacity_bits(resolved.d_sae);
        [of_blocks, choices_bits(resolved.d_sae, config.k)]
    })
}

/// The dictionary that was trained, for raw activations, with the thresholds that were fitted for it.
pub fn dictionary(
    trainer: &Trainer<'_>,
    resolved: &Resolved,
    source: &Source,
    fitted: Option<Thresholds>,
) -> Dictionary {
    let dataset = source.dataset();
    let (state, manifest) = (trainer.state(), dataset.manifest());
    let mut info = DictionaryInfo {
        model_name: Some(manifest.model.id.clone()),
        hook_name: manifest.hook.clone(),
        // As the run's record names it, so that a resumed run has the same bits.
        dataset_path: resolved.config.data.as_ref().map(|path| path.display().to_string()),
        context_size: Some(manifest.context_length),
        prepend_bos: Some(leaves_out_bos(manifest)),
        ..DictionaryInfo::default()
    };
    let program = format!("sae-workbench {}", env!("CARGO_PKG_VERSION"));
    info.other.insert("trained_by".to_owned(), program.into());
    info.other.insert("training_method".to_owned(), resolved.config.method.name().into());
    info.other.insert("training_tokens".to_owned(), trainer.tokens_done().into());
    if !manifest.sites.is_empty() {
        let sites = manifest.sites.iter().map(|site| format!("{} of {}", site.hook, site.model.id));
        info.other.insert("crosscoder_sites".to_owned(), sites.collect::<Vec<_>>().into());
    }
    let (w_enc, b_enc, selection) = encoder(state, &Selecting::of(resolved), fitted);
    let mut dictionary = Dictionary {
        d_in: state.d,
        d_sae: state.features,
        w_enc,
        b_enc,
        w_dec: state.w_dec.value.clone(),
        b_dec: state.b_dec.value.clone(),
        selection,
        prune_below: None,
        normalisation: Normalisation::None,
        target: None,
        info,
    };
    let scale = trainer.statistics().input_scale;
    let whitening = &trainer.statistics().whitening;
    if whitening.is_some() {
        dictionary.info.other.insert("whitening".to_owned(), "folded into the weights".into());
    }
    let Some(target) = &trainer.statistics().target else {
        let mut raw = dictionary.for_raw_activations(scale);
        if let Some(whitening) = whitening {
            raw.unwhiten(whitening);
        }
        return raw;
    };
    let skip = (!state.skip.value.is_empty()).then(|| state.skip.value.clone());
    let hook = source.target_hook().map(str::to_owned);
    dictionary.target = Some(Target { d_out: state.d, skip, hook, norm_limit: None });
    transcoder_for_raw_activations(dictionary, scale, target)
}

/// The cross-layer transcoder that was trained, for raw activations, with the thresholds that were fitted for each layer.
///
/// With s_ℓ and t_ℓ the scales of what layer ℓ reads and writes, codes stay what they were in training, so that all features of a layer
/// have one unit:
///
/// ```text
/// z_ℓ = x_ℓ · (W_enc · s_ℓ)ᵀ + (b_enc − s_ℓ · W_enc · shift_ℓ);   y_m = Σ_ℓ codes_ℓ · W_dec,ℓ[m − ℓ] / t_m + b_dec,m / t_m
/// ```
pub fn cross_layer(
    trainer: &Trainer<'_>,
    resolved: &Resolved,
    source: &Source,
    fitted: Vec<Option<Thresholds>>,
) -> CrossLayerTranscoder {
    let (d, first) = (resolved.d_in, trainer.statistics());
    let manifest = source.dataset().manifest();
    let of_target = |layer: &Statistics| layer.target.as_ref().map_or(1.0, |target| target.scale);
    let scales: Vec<f32> = first.each().map(of_target).collect();
    let divided = |block: &[f32], layer: usize| block.iter().map(|w| w / scales[layer]).collect::<Vec<f32>>();
    let (mut layers, mut later) = (Vec::new(), Vec::new());
    let states = std::iter::once(trainer.state()).chain(trainer.later());
    for (layer, ((state, statistics), fitted)) in states.zip(first.each()).zip(fitted).enumerate() {
        let (mut w_enc, mut b_enc, selection) = encoder(state, &Selecting::of(resolved), fitted);
        let (scale, about) = (statistics.input_scale, statistics.target.as_ref());
        for (bias, row) in b_enc.iter_mut().zip(w_enc.chunks_exact_mut(d)) {
            *bias -= about.map_or(0.0, |target| scale * dot(row, &target.input_shift));
            row.iter_mut().for_each(|w| *w *= scale);
        }
        let block = |to: usize| -> Vec<f32> {
            let rows = state.w_dec.value.chunks_exact(state.d_out);
            rows.flat_map(|row| divided(&row[to * d..(to + 1) * d], layer + to)).collect()
        };
        layers.push(Dictionary {
            d_in: d,
            d_sae: state.features,
            w_enc,
            b_enc,
            w_dec: block(0),
            b_dec: divided(&trainer.state().b_dec.value[layer * d..(layer + 1) * d], layer),
            selection,
            prune_below: None,
            normalisation: Normalisation::None,
            target: Some(Target {
                d_out: d,
                skip: None,
                hook: Some(Hook::new(layer, Site::MlpOut).to_string()),
                norm_limit: None,
            }),
            info: DictionaryInfo {
                model_name: Some(manifest.model.id.clone()),
                hook_name: Some(Hook::new(layer, Site::MlpIn).to_string()),
                ..DictionaryInfo::default()
            },
        });
        later.push((1..resolved.layers - layer).map(block).collect());
    }
    CrossLayerTranscoder { layers, later }
}

/// Turns a transcoder from (x − shift) · `scale` to y · `target.scale` into the same one from x to y. With s = `scale` and t = `target.scale`
/// a code c becomes c / t, so that decoder rows keep their norm:
///
/// ```text
/// z / t = x · (W_enc · s / t)ᵀ + (b_enc − s · W_enc · shift) / t;   y = (c / t) · W_dec + b_dec / t
/// ```
///
/// and a skip connection gives `x · (W_skip · s / t)ᵀ` and `−s · W_skip · shift / t` to the bias.
fn transcoder_for_raw_activations(mut raw: Dictionary, scale: f32, target: &TargetStatistics) -> Dictionary {
    for (bias, row) in raw.b_enc.iter_mut().zip(raw.w_enc.chunks_exact_mut(raw.d_in)) {
        *bias = (*bias - scale * dot(row, &target.input_shift)) / target.scale;
        row.iter_mut().for_each(|w| *w *= scale / target.scale);
    }
    if let Some(skip) = raw.target.as_mut().and_then(|target| target.skip.as_mut()) {
        for (bias, row) in raw.b_dec.iter_mut().zip(skip.chunks_exact_mut(raw.d_in)) {
            *bias -= scale * dot(row, &target.input_shift);
            row.iter_mut().for_each(|w| *w *= scale / target.scale);
        }
    }
    raw.b_dec.iter_mut().for_each(|b| *b /= target.scale);
    match &mut raw.selection {
        Selection::Threshold(thresholds) => {
            thresholds.iter_mut().for_each(|threshold| *threshold /= target.scale);
        }
        Selection::Shrunk(shrunk) => shrunk.unit /= target.scale,
        _ => {}
    }
    raw
}
