//! The jobs of the campaign, and what they work on.

use std::fs;
use std::path::{Path, PathBuf};

use storage::sweep::SweepRow;
use storage::{Dataset, RunRecord, RunStatus, Scan};
use tests::{Ended, Started, sae, small_text, start_with};

use crate::content::{Content, content};

/// A job as a user starts it, and starts again.
pub struct Job {
    pub name: &'static str,
    /// What lies in the job's folder before: copies of the world's folders.
    before: &'static [(&'static str, &'static str)],
    /// The command. It works in `out/`.
    command: &'static str,
    /// A file by which a job that can be resumed is known to have begun, and the command from then on.
    resume: Option<(&'static str, &'static str)>,
    /// Whether what is there would pass for whole.
    whole: fn(&Path) -> bool,
}

const TRAIN: &str =
    "--data data --d-sae 48 --batch 64 --tokens 6000 --checkpoint-every 15 --log-every 5 --out out/run";

macro_rules! train {
    ($name:literal, $options:literal) => {
        Job {
            name: $name,
            before: &[],
            command: concat!("train ", $options),
            resume: Some(("run/run.json", "train --out out/run --resume")),
            whole: finished_run,
        }
    };
}

static JOBS: [Job; 21] = [
    Job {
        name: "harvest",
        before: &[],
        command: "harvest --text text --hook blocks.1.hook_resid_post --routing --gradients --batch-rows 1 --tokens 1500 --out out/data",
        resume: None,
        whole: finished_dataset,
    },
    Job {
        name: "harvest, two hooks",
        before: &[],
        command: "harvest --text text --hook blocks.0.hook_resid_post --hook blocks.2.hook_resid_post --routing --batch-rows 1 --tokens 900 --out out/data",
        resume: None,
        whole: |out| {
            let names = ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post", "routing"];
            names.iter().all(|name| Dataset::open(&out.join("data").join(name)).is_ok())
        },
    },
    Job {
        name: "harvest --merge",
        before: &[("shards", "data")],
        command: "harvest --merge --out out/data",
        resume: None,
        whole: finished_dataset,
    },
    Job {
        name: "import",
        before: &[],
        command: "import acts.npy --out out/data",
        resume: None,
        whole: finished_dataset,
    },
    train!("train topk", "--method topk --k 6"),
    train!("train batch-topk", "--method batch-topk --k 6"),
    train!("train feature-choice", "--method feature-choice --k 6 --aux-rho 0.5"),
    train!("train gradient", "--method gradient --k 6"),
    train!("train relu", "--method relu --sparsity-coefficient 0.5"),
    train!("train p-anneal", "--method p-anneal --sparsity-coefficient 0.5"),
    train!("train jumprelu", "--method jumprelu --sparsity-coefficient 0.5"),
    train!("train gated", "--method gated --sparsity-coefficient 0.5"),
    train!("train matryoshka", "--method matryoshka --k 6 --widths 16,48"),
    Job {
        name: "sweep",
        before: &[],
        command: "train --config sweep.toml --out out/sweep",
        resume: Some(("sweep/sweep.toml", "train --out out/sweep --resume")),
        // Its table, which is written after each run, says when all of it is there.
        whole: |out| {
            let Ok(table) = storage::row::open::<SweepRow>(&out.join("sweep/sweep.parquet")) else {
                return false;
            };
            let rows = storage::row::read::<SweepRow>(&table, Scan::default()).unwrap_or_default();
            rows.len() == 3 && rows.iter().all(|row| row.status == "finished")
        },
    },
    Job {
        name: "index",
        before: &[("run", "run")],
        command: "index out/run",
        resume: None,
        whole: |out| out.join("run/features").exists(),
    },
    Job {
        name: "index, again",
        before: &[("indexed", "run")],
        command: "index out/run",
        resume: None,
        // The one that was there is whole as well, and the same.
        whole: |out| out.join("run/features").exists(),
    },
    Job {
        name: "explain",
        before: &[("indexed", "run")],
        command: "explain out/run",
        resume: None,
        whole: |out| out.join("run/explanations/rules.parquet").exists(),
    },
    Job {
        name: "evaluate",
        before: &[("run", "run")],
        command: "evaluate out/run --all-documents",
        resume: None,
        whole: |out| out.join("run/evaluation/core.json").exists(),
    },
    Job {
        name: "export html",
        before: &[],
        command: "export indexed --to html --out out/pages",
        resume: None,
        whole: |out| out.join("pages").exists(),
    },
    Job {
        name: "export dictionary-learning",
        before: &[("exported", "dl")],
        command: "export indexed --to dictionary-learning --out out/dl",
        resume: None,
        whole: |out| out.join("dl").exists(),
    },
    Job {
        name: "pretrain",
        before: &[],
        command: "pretrain --config pretrain.toml --out out/model",
        resume: Some((
            "model/checkpoint.safetensors",
            "pretrain --config pretrain.toml --out out/model --resume",
        )),
        whole: |out| out.join("model/pretrain.json").exists(),
    },
];

/// The jobs of the short form: one of every kind, the quick ones.
const SHORT: [&str; 6] = [
    "harvest",
    "harvest --merge",
    "train batch-topk",
    "index, again",
    "export dictionary-learning",
    "pretrain",
];

/// What a test goes through: all jobs in the long form.
pub fn jobs() -> impl Iterator<Item = (usize, &'static Job)> {
    let all = crate::long().is_some();
    JOBS.iter().enumerate().filter(move |(_, job)| all || SHORT.contains(&job.name))
}

const SWEEP: &str = "
[base]
data = \"data\"
d_sae = 48
batch = 64
tokens = 3000
data_seed = 5
checkpoint_every = 15
log_every = 5
[cross]
k = [4, 6]
[[run]]
name = \"relu\"
method = \"relu\"
sparsity_coefficient = 0.5
";

const PRETRAIN: &str = "
text = [\"text\"]
tokens = 3000
vocab_size = 512
d_model = 16
layers = 1
heads = 2
experts = 4
expert_width = 8
context_length = 64
batch_rows = 4
checkpoint_every = 3
";

/// What the jobs read.
const INPUTS: [&str; 9] =
    ["text", "data", "shards", "run", "indexed", "exported", "acts.npy", "sweep.toml", "pretrain.toml"];

fn finished_dataset(out: &Path) -> bool {
    Dataset::open(&out.join("data")).is_ok()
}

fn finished_run(out: &Path) -> bool {
    is_finished(&out.join("run"))
}

fn is_finished(run: &Path) -> bool {
    RunRecord::read(run).is_ok_and(|record| record.status == RunStatus::Finished)
}

/// A folder with what the jobs read, and `out/`, which they write.
pub struct World {
    folder: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        small_text(&at.join("text"), 24);
        fs::write(at.join("sweep.toml"), SWEEP).unwrap();
        fs::write(at.join("pretrain.toml"), PRETRAIN).unwrap();
        fs::write(at.join("acts.npy"), npy(3000, 16)).unwrap();
        let harvest = "harvest --text text --hook blocks.1.hook_resid_post --routing --tokens 1500";
        sae(at, &format!("{harvest} --gradients --out data")).ok();
        for shard in ["0/3", "1/3", "2/3"] {
            sae(at, &format!("{harvest} --shard {shard} --out shards")).ok();
        }
        for run in ["run", "indexed"] {
            sae(at, &format!("train --data data --d-sae 48 --k 6 --batch 64 --tokens 6000 --out {run}")).ok();
        }
        sae(at, "index indexed").ok();
        sae(at, "export indexed --to dictionary-learning --out exported").ok();
        let world = Self { folder };
        for input in INPUTS {
            copy(&world.at().join(input), &world.at().join("kept").join(input));
        }
        world
    }

    /// Puts back what the jobs read.
    pub fn restore(&self) {
        for input in INPUTS {
            copy(&self.at().join("kept").join(input), &self.at().join(input));
        }
    }

    pub fn at(&self) -> &Path {
        self.folder.path()
    }

    pub fn out(&self) -> PathBuf {
        self.at().join("out")
    }

    /// Puts `out/` into the state that `job` begins in.
    pub fn prepare(&self, job: &Job) {
        let out = self.out();
        if out.exists() {
            fs::remove_dir_all(&out).unwrap();
        }
        fs::create_dir(&out).unwrap();
        for (from, to) in job.before {
            copy(&self.at().join(from), &out.join(to));
        }
    }

    /// Starts `job`, or resumes what of it is there.
    pub fn start(&self, job: &Job, environment: &[(&str, &str)]) -> Started {
        let command = match job.resume {
            Some((file, command)) if self.out().join(file).exists() => command.to_owned(),
            _ if job.name.starts_with("train ") => format!("{} {TRAIN}", job.command),
            _ => job.command.to_owned(),
        };
        start_with(self.at(), &command, environment)
    }

    /// Gives the job's command again, with nothing in its way: it ends well, or says that everything is finished already.
    pub fn end(&self, job: &Job) -> Ended {
        let ended = self.start(job, &[]).end();
        let finished =
            ended.stderr.contains("already finished") || ended.stderr.contains("no folders shard-I-of-N");
        if finished && (job.whole)(&self.out()) { ended } else { ended.ok() }
    }

    /// What `job` gives undisturbed, and the time it takes.
    pub fn undisturbed(&self, job: &Job) -> (Content, std::time::Duration) {
        self.prepare(job);
        let began = std::time::Instant::now();
        self.start(job, &[]).end().ok();
        let time = began.elapsed();
        assert!((job.whole)(&self.out()), "{}: an undisturbed job is whole", job.name);
        (content(&self.out()), time)
    }

    /// What would pass for whole after a disturbance must be whole.
    pub fn check_nothing_half(&self, job: &Job, whole: &Content, when: &str) {
        if !(job.whole)(&self.out()) {
            return;
        }
        let now = content(&self.out());
        let differs: Vec<String> = crate::content::differences(whole, &now);
        // A job that comes before another's end adds to what is there: what it adds is not yet there, nothing else differs.
        let only_more =
            |name: &String| !now.contains_key(name) && job.resume.is_none() && !job.before.is_empty();
        // What is removed last: shards that are merged, snapshots that are in the history.
        let goes = |name: &String| {
            name.contains("/shard-") || name.ends_with("merged.json") || name.ends_with("/history/")
        };
        let wrong: Vec<&String> = differs.iter().filter(|name| !only_more(name) && !goes(name)).collect();
        assert!(wrong.is_empty(), "{}, {when}: half-written passes for whole: {wrong:?}", job.name);
    }
}

/// Copies a file or a folder.
fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        copy(&path, &to.join(path.file_name().unwrap()));
    }
}

/// Numbers as NumPy saves them.
fn npy(rows: usize, width: usize) -> Vec<u8> {
    let mut chance = tests::Chance::new(7);
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    let pad = 64 - (10 + header.len() + 1) % 64;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len() + pad + 1).unwrap().to_le_bytes());
    bytes.extend(header.bytes().chain(std::iter::repeat_n(b' ', pad)).chain([b'\n']));
    bytes.extend((0..rows * width).flat_map(|_| (chance.unit() as f32).to_le_bytes()));
    bytes
}
