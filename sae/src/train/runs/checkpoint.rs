//! Checkpoints: `checkpoints/STEP/` with `state.safetensors` and `checkpoint.json`.
//!
//! A checkpoint is written under another name, fsynced and renamed, so a folder called by a number is whole. The order of rows is a
//! function of the seed: the position in the data is one number.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use storage::ExactSearch;
use storage::whitening::Whitening;

use crate::dictionary::weights::{self, Named, Weights};
use crate::train::state::{Parameter, TrainState};
use crate::train::statistics::Statistics;
use crate::{Error, Result};

const STATE: &str = "state.safetensors";
const RECORD: &str = "checkpoint.json";

/// Everything besides the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Steps done.
    pub step: u64,
    /// Rows of the stream used.
    pub position: u64,
    /// Of those, rows left out.
    pub left_out: u64,
    /// Rows of an epoch, to recognise a dataset that has changed.
    pub epoch_rows: u64,
    /// d.
    pub d_in: usize,
    /// F.
    pub d_sae: usize,
    /// Training time so far.
    pub seconds: f64,
    /// Step at which the counts of the history began; none if no history is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_from: Option<u64>,
    /// Where the search among candidates was left; none if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact_search: Option<ExactSearch>,
    /// Measured before the first step.
    pub statistics: Statistics,
    /// Which of the things that only some methods have are in `state.safetensors`.
    #[serde(default)]
    pub holds: Holds,
}

/// What only some methods have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Holds {
    /// Numbers that a feature learns besides its rows and its bias.
    pub own_parameters: usize,
    /// Rates that aux-zipf expects.
    pub expected_rates: bool,
    /// Budgets of feature choice.
    pub budgets: bool,
    /// Counts of the history.
    #[serde(default)]
    pub fired: bool,
    /// The skip connection of a transcoder.
    #[serde(default)]
    pub skip: bool,
    /// What rows are whitened by.
    #[serde(default)]
    pub whitening: bool,
}

impl Holds {
    /// What `state` has.
    pub fn of(state: &TrainState) -> Self {
        Self {
            own_parameters: state.own.value.len() / state.features,
            expected_rates: !state.expected_rates.is_empty(),
            budgets: !state.budgets.is_empty(),
            fired: !state.fired.is_empty(),
            skip: !state.skip.value.is_empty(),
            whitening: false,
        }
    }
}

/// Writes a checkpoint of `state`, and of the `later` layers of a cross-layer transcoder, and removes all but the newest `keep`.
///
/// # Errors
/// A disk that is full or fails; the checkpoints before stay as they are.
pub fn write(
    run: &Path,
    (state, later): (&TrainState, &[TrainState]),
    record: &Record,
    keep: usize,
) -> Result<()> {
    let folder = run.join("checkpoints");
    let (partial, whole) =
        (folder.join(format!(".{}.partial", state.step)), folder.join(state.step.to_string()));
    if whole.exists() {
        return Ok(());
    }
    // What a killed process left.
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(|e| Error::io(&partial, e))?;
    }
    fs::create_dir_all(&partial).map_err(|e| Error::io(&partial, e))?;
    let mut states = std::iter::once(state).chain(later).enumerate();
    let written = states
        .try_for_each(|(layer, state)| {
            // Of a cross-layer transcoder rows are never whitened.
            let whitening = record.statistics.whitening.as_deref();
            write_tensors(&partial.join(file_of(layer)), state, whitening)
        })
        .and_then(|()| Ok(storage::atomic::write_json(&partial.join(RECORD), record)?))
        .and_then(|()| fs::rename(&partial, &whole).map_err(|e| Error::io(&whole, e)))
        .and_then(|()| sync(&folder));
    if written.is_err() {
        // Best effort, to give the space back; the error that matters is the one above.
        let _ = fs::remove_dir_all(&partial);
        return written;
    }
    let steps = steps(&folder)?;
    for old in &steps[..steps.len().saturating_sub(keep)] {
        let old = folder.join(old.to_string());
        fs::remove_dir_all(&old).map_err(|e| Error::io(&old, e))?;
    }
    Ok(())
}

/// Makes the names in `folder` survive a loss of power.
fn sync(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        fs::File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io(folder, e))?;
    }
    Ok(())
}

/// Steps of which there are checkpoints, ascending.
fn steps(folder: &Path) -> Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(folder, e)),
    };
    let mut steps = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        steps.extend(entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// The newest checkpoint's folder. Of one that an object store has no longer, a part that was not uploaded may be left here: without its
/// record it is none.
///
/// # Errors
/// A folder that cannot be read.
pub fn newest(run: &Path) -> Result<Option<PathBuf>> {
    let folder = run.join("checkpoints");
    let mut newest_first = steps(&folder)?.into_iter().rev().map(|step| folder.join(step.to_string()));
    Ok(newest_first.find(|checkpoint| checkpoint.join(RECORD).exists()))
}

/// What rows are whitened by, and what undoes it.
const WHITENING: [&str; 3] = ["whitening.mean", "whitening.matrix", "whitening.inverse"];

const PARAMETERS: [[&str; 3]; 6] = [
    ["W_enc", "W_enc.first_moment", "W_enc.second_moment"],
    ["b_enc", "b_enc.first_moment", "b_enc.second_moment"],
    ["W_dec", "W_dec.first_moment", "W_dec.second_moment"],
    ["b_dec", "b_dec.first_moment", "b_dec.second_moment"],
    ["own", "own.first_moment", "own.second_moment"],
    ["W_skip", "W_skip.first_moment", "W_skip.second_moment"],
];

fn shapes(features: usize, (d, d_out): (usize, usize), own: usize) -> [Vec<usize>; 6] {
    [
        vec![features, d],
        vec![features],
        vec![features, d_out],
        vec![d_out],
        vec![features, own],
        vec![d_out, d],
    ]
}

/// The file of layer `layer` of a cross-layer transcoder; that of its first layer is named as that of any other run.
fn file_of(layer: usize) -> String {
    if layer == 0 { STATE.to_owned() } else { format!("state_{layer}.safetensors") }
}

fn write_tensors(path: &Path, state: &TrainState, whitening: Option<&Whitening>) -> Result<()> {
    let parameters = [&state.w_enc, &state.b_enc, &state.w_dec, &state.b_dec, &state.own, &state.skip];
    let (f, holds) = (state.features, Holds::of(state));
    let budgets: Vec<u64> = state.budgets.iter().map(|&m| u64::from(m)).collect();
    let penalty_scale = [state.penalty_scale];
    let mut tensors = vec![
        Named::u64("tokens_since_fired", &state.since_fired),
        Named::f32("rates", &[f], &state.rates),
        Named::f32("penalty_scale", &[1], &penalty_scale),
    ];
    if holds.expected_rates {
        tensors.push(Named::f32("expected_rates", &[f], &state.expected_rates));
    }
    if holds.budgets {
        tensors.push(Named::u64("budgets", &budgets));
    }
    if holds.fired {
        tensors.push(Named::u64("fired", &state.fired));
    }
    if let Some(Whitening { mean, whiten, restore }) = whitening {
        let d = state.d;
        tensors.push(Named::f32(WHITENING[0], &[d], mean));
        tensors.push(Named::f32(WHITENING[1], &[d, d], whiten));
        tensors.push(Named::f32(WHITENING[2], &[d, d], restore));
    }
    for ((parameter, names), shape) in
        parameters.iter().zip(PARAMETERS).zip(shapes(f, (state.d, state.d_out), holds.own_parameters))
    {
        if parameter.value.is_empty() {
            continue;
        }
        for (name, numbers) in names.iter().zip([&parameter.value, &parameter.first, &parameter.second]) {
            tensors.push(Named::f32(name, &shape, numbers));
        }
    }
    weights::write(path, &tensors)
}

/// Reads the checkpoint in `folder`: the state, those of the later layers of a cross-layer transcoder, and the record.
///
/// # Errors
/// A file that is missing, a tensor that is missing or has a different shape, with its name.
pub fn read(folder: &Path) -> Result<(TrainState, Vec<TrainState>, Record)> {
    let mut record: Record = storage::read_json(&folder.join(RECORD))?;
    if record.holds.whitening {
        record.statistics.whitening = Some(Arc::new(read_whitening(folder, record.d_in)?));
    }
    let layers = record.statistics.layers();
    let state = read_state(folder, 0, &record)?;
    let later = (1..layers).map(|layer| read_state(folder, layer, &record)).collect::<Result<_>>()?;
    Ok((state, later, record))
}

fn read_whitening(folder: &Path, d: usize) -> Result<Whitening> {
    let file = Weights::read(&folder.join(file_of(0)))?;
    let [mean, whiten, restore] = WHITENING;
    Ok(Whitening {
        mean: file.tensor(mean, &[d])?,
        whiten: file.tensor(whiten, &[d, d])?,
        restore: file.tensor(restore, &[d, d])?,
    })
}

fn read_state(folder: &Path, layer: usize, record: &Record) -> Result<TrainState> {
    let path = folder.join(file_of(layer));
    let file = Weights::read(&path)?;
    let (f, holds) = (record.d_sae, &record.holds);
    let d_out = (record.statistics.layers() - layer) * record.d_in;
    let shapes = shapes(f, (record.d_in, d_out), holds.own_parameters);
    let parameter = |i: usize| -> Result<Parameter> {
        let [value, first, second] = PARAMETERS[i];
        Ok(Parameter {
            value: file.tensor(value, &shapes[i])?,
            first: file.tensor(first, &shapes[i])?,
            second: file.tensor(second, &shapes[i])?,
        })
    };
    Ok(TrainState {
        d: record.d_in,
        d_out,
        features: record.d_sae,
        w_enc: parameter(0)?,
        b_enc: parameter(1)?,
        w_dec: parameter(2)?,
        b_dec: if layer == 0 { parameter(3)? } else { Parameter::new(Vec::new()) },
        skip: if holds.skip { parameter(5)? } else { Parameter::new(Vec::new()) },
        own: if holds.own_parameters > 0 { parameter(4)? } else { Parameter::new(Vec::new()) },
        since_fired: file.counts("tokens_since_fired", f)?,
        fired: if holds.fired { file.counts("fired", f)? } else { Vec::new() },
        rates: file.tensor("rates", &[f])?,
        expected_rates: if holds.expected_rates { file.tensor("expected_rates", &[f])? } else { Vec::new() },
        budgets: if holds.budgets { counts_u32(&file.counts("budgets", f)?, &path)? } else { Vec::new() },
        penalty_scale: file.tensor("penalty_scale", &[1])?[0],
        step: record.step,
    })
}

fn counts_u32(counts: &[u64], path: &Path) -> Result<Vec<u32>> {
    let small =
        |&m: &u64| u32::try_from(m).map_err(|_| Error::format(path, format!("holds a budget of {m} tokens")));
    counts.iter().map(small).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64) -> Record {
        Record {
            step,
            position: 77,
            left_out: 3,
            epoch_rows: 1000,
            d_in: 3,
            d_sae: 5,
            seconds: 1.5,
            counted_from: Some(2),
            exact_search: Some(ExactSearch { from_step: 9, recall: 0.1 + 0.2, reason: "recall".into() }),
            statistics: Statistics {
                input_scale: 0.1 + 0.2,
                input_variance: 2.0 / 3.0,
                norm_limit: Some(4.5),
                rms: vec![0.1, 0.7, 1.0 / 3.0],
                mean_ratio: 0.3,
                whitening: None,
                target: None,
                later: Vec::new(),
            },
            holds: Holds::default(),
        }
    }

    fn state(step: u64) -> TrainState {
        let mut state = TrainState::new(5, vec![0.25; 3], 9);
        state.w_dec.second[4] = 1e-30;
        state.since_fired[2] = u64::MAX / 3;
        state.step = step;
        state
    }

    /// What a machine has of a checkpoint that an object store has no longer.
    #[test]
    fn a_checkpoint_without_its_record_is_none() {
        let run = tempfile::tempdir().unwrap();
        write(run.path(), (&state(8), &[]), &record(8), 2).unwrap();
        let whole = newest(run.path()).unwrap();
        fs::create_dir(run.path().join("checkpoints/9")).unwrap();
        fs::copy(
            run.path().join("checkpoints/8/state.safetensors"),
            run.path().join("checkpoints/9/state.safetensors"),
        )
        .unwrap();
        assert_eq!(newest(run.path()).unwrap(), whole);
        assert!(whole.unwrap().ends_with("8"));
    }

    #[test]
    fn comes_back_to_the_bit_and_old_ones_go() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(newest(run.path()).unwrap(), None);
        for step in [8, 9, 10] {
            write(run.path(), (&state(step), &[]), &record(step), 2).unwrap();
        }
        let newest = newest(run.path()).unwrap().unwrap();
        assert!(newest.ends_with("10"), "by number, not by name");
        assert_eq!(read(&newest).unwrap(), (state(10), Vec::new(), record(10)));
        assert_eq!(steps(&run.path().join("checkpoints")).unwrap(), [9, 10]);
    }

    #[test]
    fn what_only_some_methods_have_comes_back_too() {
        let run = tempfile::tempdir().unwrap();
        let mut state = state(3);
        state.own = Parameter { value: vec![0.5; 10], first: vec![1e-20; 10], second: vec![2.0; 10] };
        (state.budgets, state.expected_rates) = (vec![7, 1, 9, 4, 2], vec![0.1; 5]);
        (state.rates[1], state.penalty_scale) = (0.3, 1.7);
        state.fired = vec![u64::MAX / 5, 0, 1, 2, 3];
        state.skip = Parameter { value: vec![0.1; 9], first: vec![-1e-9; 9], second: vec![3.0; 9] };
        let record = Record { holds: Holds::of(&state), ..record(3) };
        write(run.path(), (&state, &[]), &record, 1).unwrap();
        let newest = newest(run.path()).unwrap().unwrap();
        assert_eq!(read(&newest).unwrap(), (state, Vec::new(), record));
    }

    #[test]
    fn all_layers_of_a_cross_layer_transcoder_come_back() {
        let run = tempfile::tempdir().unwrap();
        let layer = |layer: usize, b_dec: Vec<f32>| {
            let mut state = TrainState::of_layer((layer, 3), 5, 3, b_dec, 9);
            state.w_dec.second[7] = 0.1 * layer as f32;
            state.step = 4;
            state
        };
        let (first, later) = (layer(0, vec![0.5; 9]), [layer(1, Vec::new()), layer(2, Vec::new())]);
        let mut record = record(4);
        record.statistics.later = vec![record.statistics.clone(); 2];
        write(run.path(), (&first, &later), &record, 1).unwrap();
        let folder = newest(run.path()).unwrap().unwrap();
        assert_eq!(read(&folder).unwrap(), (first, later.to_vec(), record));
        fs::remove_file(folder.join("state_2.safetensors")).unwrap();
        assert!(read(&folder).unwrap_err().to_string().contains("state_2.safetensors"));
    }

    #[test]
    fn half_a_checkpoint_is_none() {
        let run = tempfile::tempdir().unwrap();
        let half = run.path().join("checkpoints/.7.partial");
        fs::create_dir_all(&half).unwrap();
        fs::write(half.join(STATE), b"half").unwrap();
        assert_eq!(newest(run.path()).unwrap(), None);
        write(run.path(), (&state(7), &[]), &record(7), 1).unwrap();
        assert!(newest(run.path()).unwrap().is_some() && !half.exists());
    }

    #[test]
    fn damage_is_named() {
        let run = tempfile::tempdir().unwrap();
        write(run.path(), (&state(7), &[]), &record(7), 1).unwrap();
        let folder = newest(run.path()).unwrap().unwrap();
        let bytes = fs::read(folder.join(STATE)).unwrap();
        fs::write(folder.join(STATE), &bytes[..bytes.len() - 9]).unwrap();
        assert!(read(&folder).unwrap_err().to_string().contains(STATE));
    }
}
