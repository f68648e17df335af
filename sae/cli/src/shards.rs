//! `--shard I/N` and `--merge`: one job by several processes.

use clap::Args;

use super::Output;
use sae::shards::{Shard, Work};
use sae::{Error, Result};

/// Which part of the job is asked for.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Sharded {
    /// Do part i of n (counted from 0) of the job; when all n are done, the same command with --merge makes one result of them
    #[arg(long, value_name = "I/N", conflicts_with = "merge")]
    shard: Option<Shard>,
    /// Make the result of what the shards made: the same bytes as in one process
    #[arg(long)]
    merge: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// All of it, in this process.
    Whole,
    Shard(Shard),
    Merge,
}

impl Sharded {
    pub(super) fn part(self) -> Part {
        match self.shard {
            Some(shard) => Part::Shard(shard),
            None if self.merge => Part::Merge,
            None => Part::Whole,
        }
    }

    /// The same of a run; `made` if it is made first, which only one process can do.
    ///
    /// # Errors
    /// Shards of a run that is made first.
    pub(super) fn part_of_run(self, made: bool) -> Result<Part> {
        match self.part() {
            Part::Shard(_) | Part::Merge if made => {
                Err(Error::request("--shard and --merge take a run that is there, but --out makes one")
                    .with_remedy("make it first with `sae import dictionary`, then leave --out away"))
            }
            part => Ok(part),
        }
    }
}

/// A shard that is finished.
pub(super) fn finished(work: Work) -> Output {
    let name = format!("{}/{} of this {}", work.shard, work.of, work.job);
    let (status, pieces) = (work.status.name(), work.pieces.clone());
    let bytes: u64 = work.files.iter().map(|file| file.bytes).sum();
    let files = format!("{}, {} bytes", work.files.len(), super::progress::count(bytes as f64));
    let who = format!("process {} on {}, started {} times", work.process, work.host, work.starts);
    let mut output = Output::of(work);
    output.row("shard", name);
    pieces.iter().for_each(|piece| output.row("", piece));
    output.row("files", files);
    output.row("by", who);
    output.row("status", status);
    output
}
