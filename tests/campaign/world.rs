//! What the jobs work on, and how they are started.

use std::fs;
use std::path::{Path, PathBuf};

use tests::{Ended, Started, sae, small_text, start_with};

use crate::content::{Content, content};
use crate::jobs::{Job, TRAIN};

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
const INPUTS: [&str; 23] = [
    "text",
    "data",
    "shards",
    "run",
    "indexed",
    "indexed-parts",
    "explained-parts",
    "sets",
    "probed-parts",
    "rows-parts",
    "exported",
    "acts.npy",
    "sweep.toml",
    "pretrain.toml",
    "world",
    "world-data",
    "made",
    "world-run",
    "hooks",
    "joined",
    "crosscoder",
    "transcoder",
    "graph",
];

/// What a command says that finds its work done.
pub const FINISHED: [&str; 6] = [
    "already finished",
    "no folders shard-I-of-N",
    "holds a world already",
    "holds a lens already",
    "holds a finished model",
    "is there already",
];

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
        made_worlds(at);
        in_shards(at);
        if crate::long().is_some() {
            circuits(at);
        }
        let world = Self { folder };
        for input in INPUTS.into_iter().filter(|input| world.at().join(input).exists()) {
            copy(&world.at().join(input), &world.at().join("kept").join(input));
        }
        world
    }

    /// Puts back what the jobs read.
    pub fn restore(&self) {
        for input in INPUTS.into_iter().filter(|input| self.at().join("kept").join(input).exists()) {
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
        let finished = FINISHED.iter().any(|words| ended.stderr.contains(words));
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

/// What the merges take: the shards of an index, in the long form also of explanations, probes and made rows. They name their run's
/// folder or their own: those in which the job finds them.
fn in_shards(at: &Path) {
    let all =
        |line: &str, n: usize| (0..n).for_each(|i| drop(sae(at, &format!("{line} --shard {i}/{n}")).ok()));
    let within_out = |from: Option<&str>, name: &str, to: &str, line: &str, n: usize| {
        fs::create_dir(at.join("out")).unwrap();
        if let Some(from) = from {
            copy(&at.join(from), &at.join("out").join(name));
        }
        all(line, n);
        fs::rename(at.join("out").join(name), at.join(to)).unwrap();
        fs::remove_dir(at.join("out")).unwrap();
    };
    within_out(Some("run"), "run", "indexed-parts", "index out/run", 3);
    if crate::long().is_some() {
        within_out(Some("indexed"), "run", "explained-parts", "explain out/run", 3);
        labelled(&at.join("sets"));
        within_out(None, "probes", "probed-parts", "probe run --sets sets --k 1,5 --out out/probes", 2);
        within_out(None, "data", "rows-parts", "synth rows world --rows 3000 --out out/data", 2);
    }
}

/// Three small sets of labelled prompts.
fn labelled(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for set in 0..3 {
        let row = |i: usize| match i % 2 {
            0 => format!("let x{i} = f({set}) + {i};,code\n"),
            _ => format!("They came home at {i} and ate {set} apples.,prose\n"),
        };
        let text: String = (0..60).map(row).collect();
        fs::write(folder.join(format!("{set}_kind.csv")), format!("prompt,target\n{text}")).unwrap();
    }
}

/// A world whose features are known, two dictionaries of it, of which `made` has its score, its audit and a matching.
fn made_worlds(at: &Path) {
    sae(at, "synth make --features 64 --d-model 16 --roots 0 --orthogonal-steps 5 --out world").ok();
    sae(at, "synth rows world --rows 4000 --out world-data").ok();
    for (run, seed) in [("made", 1), ("world-run", 2)] {
        let options = "--d-sae 48 --k 4 --batch 64 --tokens 3000";
        sae(at, &format!("train --data world-data {options} --seed {seed} --out {run}")).ok();
    }
    sae(at, "synth score made --rows 2000").ok();
    sae(at, "audit made --tokens 200 --iterations 5 --all-documents").ok();
    // A matching names its run's folder: that in which the job finds it.
    fs::create_dir(at.join("out")).unwrap();
    fs::rename(at.join("made"), at.join("out/run")).unwrap();
    sae(at, "match out/run world-run --name other").ok();
    fs::rename(at.join("out/run"), at.join("made")).unwrap();
    fs::remove_dir(at.join("out")).unwrap();
}

/// What an MLP reads and what it writes, a crosscoder and a transcoder of it, a graph.
fn circuits(at: &Path) {
    let hooks = "--hook blocks.0.hook_mlp_in --hook blocks.0.hook_mlp_out";
    sae(at, &format!("harvest --text text {hooks} --tokens 1500 --dtype f32 --out hooks")).ok();
    let (from, to) = ("hooks/blocks.0.hook_mlp_in", "hooks/blocks.0.hook_mlp_out");
    sae(at, &format!("join {from} {to} --out joined")).ok();
    let options = "--d-sae 48 --k 6 --batch 64 --tokens 3000";
    sae(at, &format!("train --data joined {options} --method batch-topk --out crosscoder")).ok();
    sae(at, "diff crosscoder --all-documents").ok();
    sae(at, &format!("train --data {from} --target {to} {options} --out transcoder")).ok();
    sae(at, "trace --transcoders transcoder --text The-court-held-that --out graph").ok();
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
