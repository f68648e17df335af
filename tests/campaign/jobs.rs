//! The jobs of the campaign.

use std::path::Path;

use storage::sweep::SweepRow;
use storage::work::{Work, WorkStatus};
use storage::{Dataset, RunRecord, RunStatus, Scan};

/// A job as a user starts it, and starts again.
pub struct Job {
    pub name: &'static str,
    /// What lies in the job's folder before: copies of the world's folders.
    pub before: &'static [(&'static str, &'static str)],
    /// The command. It works in `out/`.
    pub command: &'static str,
    /// A file by which a job that can be resumed is known to have begun, and the command from then on.
    pub resume: Option<(&'static str, &'static str)>,
    /// Whether what is there would pass for whole.
    pub whole: fn(&Path) -> bool,
}

/// What every training is told.
pub const TRAIN: &str =
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

static JOBS: [Job; 57] = [
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
    train!("train block-choice", "--method block-choice --k 6 --blocks 3"),
    train!("train gradient", "--method gradient --k 6"),
    train!("train gradient-mutual", "--method gradient-mutual --k 6"),
    train!("train gradient-feature", "--method gradient-feature --k 6"),
    train!("train relu", "--method relu --sparsity-coefficient 0.5"),
    train!("train p-anneal", "--method p-anneal --sparsity-coefficient 0.5"),
    train!("train jumprelu", "--method jumprelu --sparsity-coefficient 0.5"),
    train!("train gated", "--method gated --sparsity-coefficient 0.5"),
    train!("train shrinkage", "--method shrinkage --sparsity-coefficient 0.5"),
    train!("train matryoshka", "--method matryoshka --k 6 --widths 16,48"),
    train!("train abs-topk", "--method abs-topk --k 6"),
    train!("train cosine", "--method cosine --k 6"),
    train!("train cosine-mutual", "--method cosine-mutual --k 6 --cosine-alpha shared"),
    train!("train matching-pursuit", "--method matching-pursuit --k 6"),
    train!("train aligned", "--method batch-topk --k 6 --align-encoder"),
    train!(
        "train recipe",
        "--method matryoshka --k 6 --widths 16,48 --detach-widths --sort-widths --k-start 12 --tilt 0.002 --lista-step 0.3"
    ),
    train!("train whitened", "--method batch-topk --k 6 --input-normalisation whiten"),
    Job {
        name: "import dictionary",
        before: &[],
        command: "import dictionary run --data data --prune --out out/run",
        // It comes as a whole, and is not made again where it is.
        resume: Some(("run/run.json", "inspect out/run")),
        whole: finished_run,
    },
    Job {
        name: "transcoder",
        before: &[],
        command: "train --data hooks/blocks.0.hook_mlp_in --target hooks/blocks.0.hook_mlp_out --d-sae 48 --k 6 --skip --batch 64 --tokens 6000 --checkpoint-every 15 --log-every 5 --out out/run",
        resume: Some(("run/run.json", "train --out out/run --resume")),
        whole: finished_run,
    },
    Job {
        name: "latent",
        before: &[],
        command: "latent --model bsc --data world-data --latents 8 --rows 1000 --iterations 6 --out out/run",
        resume: None,
        whole: finished_run,
    },
    Job {
        name: "sparse-code",
        before: &[],
        command: "sparse-code --penalty hard --data world-data --units 24 --l0 4 --steps 30 --batch 64 --iterations 10 --out out/run",
        resume: None,
        whole: finished_run,
    },
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
    // One batch of rows and one chunk of features: all of it is the last shard's.
    Job {
        name: "index --shard",
        before: &[("run", "run")],
        command: "index out/run --shard 2/3",
        resume: None,
        whole: |out| is_done(&out.join("run/shards/index/shard-00002-of-00003")),
    },
    Job {
        name: "index --merge",
        before: &[("indexed-parts", "run")],
        command: "index out/run --merge",
        resume: None,
        whole: |out| out.join("run/features").exists(),
    },
    Job {
        name: "explain --shard",
        before: &[("indexed", "run")],
        command: "explain out/run --shard 1/3",
        resume: None,
        whole: |out| is_done(&out.join("run/shards/explain/shard-00001-of-00003")),
    },
    Job {
        name: "explain --merge",
        before: &[("explained-parts", "run")],
        command: "explain out/run --merge",
        resume: None,
        whole: |out| out.join("run/explanations/rules.parquet").exists(),
    },
    Job {
        name: "probe",
        before: &[],
        command: "probe run --sets sets --k 1,5 --out out/probes",
        resume: None,
        whole: |out| out.join("probes/probes.parquet").exists(),
    },
    Job {
        name: "probe --shard",
        before: &[],
        command: "probe run --sets sets --k 1,5 --out out/probes --shard 1/2",
        resume: None,
        whole: |out| is_done(&out.join("probes/shards/shard-00001-of-00002")),
    },
    Job {
        name: "probe --merge",
        before: &[("probed-parts", "probes")],
        command: "probe run --sets sets --k 1,5 --out out/probes --merge",
        resume: None,
        whole: |out| out.join("probes/probes.parquet").exists(),
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
    Job {
        name: "synth make",
        before: &[],
        command: "synth make --features 64 --d-model 16 --roots 4 --branching 2 --depth 1 --orthogonal-steps 5 --out out/world",
        resume: None,
        whole: |out| out.join("world/synthetic_model_config.json").exists(),
    },
    Job {
        name: "synth rows",
        before: &[],
        command: "synth rows world --rows 3000 --out out/data",
        resume: None,
        whole: finished_dataset,
    },
    Job {
        name: "synth rows --shard",
        before: &[],
        command: "synth rows world --rows 3000 --out out/data --shard 1/2",
        resume: None,
        whole: |out| is_done(&out.join("data/shards/shard-00001-of-00002")),
    },
    Job {
        name: "synth rows --merge",
        before: &[("rows-parts", "data")],
        command: "synth rows world --rows 3000 --out out/data --merge",
        resume: None,
        whole: finished_dataset,
    },
    Job {
        name: "synth score, again",
        before: &[("made", "run")],
        command: "synth score out/run --rows 2000",
        resume: None,
        whole: |out| out.join("run/truth/truth.json").exists(),
    },
    Job {
        name: "audit, again",
        before: &[("made", "run")],
        command: "audit out/run --tokens 200 --iterations 5 --all-documents",
        resume: None,
        whole: |out| out.join("run/audit/audit.json").exists(),
    },
    Job {
        name: "evaluate --cett",
        before: &[("run", "run")],
        command: "evaluate out/run --cett --all-documents",
        resume: None,
        whole: |out| out.join("run/evaluation/cett.json").exists(),
    },
    Job {
        name: "evaluate --task",
        before: &[("run", "run")],
        command: "evaluate out/run --task ioi --task-prompts 8 8",
        resume: None,
        whole: |out| out.join("run/evaluation/task-ioi.json").exists(),
    },
    Job {
        name: "experts",
        before: &[("data", "data")],
        command: "experts out/data",
        resume: None,
        whole: |out| out.join("data/experts/kinds.parquet").exists(),
    },
    Job {
        name: "match, again",
        before: &[("made", "run")],
        command: "match out/run world-run --name other",
        resume: None,
        whole: |out| out.join("run/matching/other/matching.json").exists(),
    },
    Job {
        name: "lens",
        before: &[],
        command: "lens default --hook blocks.2.hook_resid_post --text text --prompts 2 --context 24 --skip 2 --out out/lens",
        resume: None,
        whole: |out| out.join("lens/lens.json").exists(),
    },
    Job {
        name: "join",
        before: &[],
        command: "join hooks/blocks.0.hook_mlp_in hooks/blocks.0.hook_mlp_out --out out/data",
        resume: None,
        whole: finished_dataset,
    },
    Job {
        name: "diff, again",
        before: &[("crosscoder", "run")],
        command: "diff out/run --all-documents",
        resume: None,
        whole: |out| out.join("run/difference/difference.json").exists(),
    },
    Job {
        name: "trace, again",
        before: &[("graph", "graph")],
        command: "trace --transcoders transcoder --text The-court-held-that --out out/graph",
        resume: None,
        whole: |out| out.join("graph/graph.json").exists(),
    },
];

/// The jobs of the short form: one of every kind, the quick ones.
const SHORT: [&str; 10] = [
    "harvest",
    "harvest --merge",
    "train batch-topk",
    "index, again",
    "index --shard",
    "index --merge",
    "export dictionary-learning",
    "pretrain",
    "synth make",
    "audit, again",
];

/// What a test goes through: in the long form all jobs, or those whose names contain `SAE_CAMPAIGN_JOBS`.
pub fn jobs() -> impl Iterator<Item = (usize, &'static Job)> {
    let all = crate::long().is_some();
    let wanted = std::env::var("SAE_CAMPAIGN_JOBS").unwrap_or_default();
    let is_wanted = move |name: &str| if all { name.contains(&wanted) } else { SHORT.contains(&name) };
    JOBS.iter().enumerate().filter(move |(_, job)| is_wanted(job.name))
}

fn finished_dataset(out: &Path) -> bool {
    Dataset::open(&out.join("data")).is_ok()
}

fn finished_run(out: &Path) -> bool {
    is_finished(&out.join("run"))
}

fn is_done(shard: &Path) -> bool {
    Work::read(shard).is_ok_and(|work| work.is_some_and(|work| work.status == WorkStatus::Done))
}

fn is_finished(run: &Path) -> bool {
    RunRecord::read(run).is_ok_and(|record| record.status == RunStatus::Finished)
}
