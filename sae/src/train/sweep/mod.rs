//! Many runs from one file, over one pass of the data.
//!
//! ```text
//! sweep.toml ── file ──▶ runs ── plan ──▶ waves of runs that see the same batches ── train::runs::group ──▶ OUT/NAME/, OUT/sweep.parquet
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `file` | `sweep.toml`: a base, lists to be crossed, single runs; and what the runs are called |
//! | `plan` | which runs share a stream, and how many of them fit into memory at once |
//! | `memory` | what a run and a stream need |
//! | `duration` | how long runs take, from a few timed steps |
//! | `run` | training them, the table of what came out |
//! | `shards` | one sweep by several processes; one of what they trained |
//!
//! **Scheduling.** Runs with the same data, batch size, normalisation and order of rows (`data_seed`) see the same batches. Such a group
//! is trained together: a few batches are read, every run of the group does its steps with them in its turn, and so on. So the data
//! is read, decoded, permuted and scaled once for all of them, and the FVE of all runs can be watched and compared from the first
//! minute. The price is that all their states are in memory; a group that needs more than there is goes in waves, each a pass over the
//! data. Trained one after the other they would need the memory of one and a pass each, which is what the last resort of a wave of one
//! comes to. Running several at the same time on a part of the threads each would gain nothing: a step already uses all of them.

mod duration;
mod file;
mod memory;
mod plan;
mod run;
mod shards;

pub use file::{NamedConfig, is_sweep, read_file};
pub use plan::{Plan, PlannedRun, Wave};
pub use run::{SweepOutcome, SweptRun, read_out, run};
pub use shards::{merge, run_shard, share};

/// File in a sweep's folder that spells out every run; giving it back reproduces the sweep.
pub const SWEEP_FILE: &str = "sweep.toml";
/// File with a row per run.
pub const TABLE: &str = "sweep.parquet";

#[cfg(test)]
mod tests;
