//! Damaged and hostile files of graphs, lenses, tasks, worlds and labelled prompts: reading one ends in what it holds or an error, never
//! in a panic and never in memory that the file does not justify. See `hostile_models.rs`.
//!
//!     SAE_FUZZ_CASES=1000000 cargo test --test hostile_folders -- --nocapture
//!     SAE_FUZZ_READER=graph …        one reader alone: graph, lens.json, lens.safetensors, task, prompts.csv, …

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

#[path = "../lm/tests/common/mod.rs"]
mod common;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use common::{Subject, cases, hostile, only_own_panics, wanted};
use lm::model::{LanguageModel, ModelSource};
use sae::Quiet;
use sae::lens::{Lens, LensOptions};
use sae::probe::read_sets;
use sae::synth::{HierarchyOptions, World, WorldOptions};
use sae::task::TaskFile;
use sae::trace::import;

/// Memory is disk enough for small files.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Damages `folder/name`, which `read` then reads; it is whole again afterwards.
fn file(folder: &Path, name: &str, [fixed, each]: [usize; 2], mut read: impl FnMut() -> bool + Send) {
    let path = folder.join(name);
    let whole = std::fs::read(&path).unwrap();
    // The header of safetensors is at the front; text is changed everywhere.
    let header = if name.ends_with(".safetensors") { 600 } else { whole.len() };
    hostile(
        &Subject { name, whole: std::slice::from_ref(&whole), header, fixed, each },
        cases(1000),
        |bytes| {
            std::fs::write(&path, bytes).unwrap();
            read()
        },
    );
    std::fs::write(&path, whole).unwrap();
}

/// A graph file that circuit-tracer wrote.
fn graphs(folder: &Path) {
    let whole = [std::fs::read(here("tests/graphs/clt/graph_files/toy-clt.json")).unwrap()];
    let (path, out) = (folder.join("graph.json"), folder.join("graph"));
    // Tables are written with buffers of their own.
    let subject = Subject { name: "graph", whole: &whole, header: 1 << 20, fixed: 16 << 20, each: 256 };
    hostile(&subject, cases(600), |bytes| {
        std::fs::write(&path, bytes).unwrap();
        let read = import(&path, &out).is_ok();
        assert_eq!(read, out.exists(), "nothing is written of what is refused");
        let _ = std::fs::remove_dir_all(&out);
        read
    });
}

/// A lens of the embedded model.
fn lenses(folder: &Path) {
    if !["lens.json", "lens.safetensors"].into_iter().any(wanted) {
        return;
    }
    let text = folder.join("text.txt");
    std::fs::write(&text, &lm::embedded::CORPUS[0].1[..4000]).unwrap();
    let options = LensOptions {
        hooks: vec!["blocks.3.hook_resid_post".parse().unwrap()],
        text: vec![text],
        prompts: 1,
        context_length: 12,
        skip: 4,
        rows: 1,
        seed: 0,
    };
    let out = folder.join("lens");
    sae::lens::run(&LanguageModel::load(&ModelSource::Default).unwrap(), &options, &out, &mut Quiet).unwrap();
    for name in ["lens.json", "lens.safetensors"] {
        file(&out, name, [1 << 20, 16], || Lens::load(&out).is_ok());
    }
}

/// The task that the program brings.
fn tasks(folder: &Path) {
    let path = folder.join("task.toml");
    let whole = [std::fs::read(here("src/task/ioi.toml")).unwrap()];
    let subject = Subject { name: "task", whole: &whole, header: 1 << 20, fixed: 1 << 20, each: 256 };
    hostile(&subject, cases(1000), |bytes| {
        std::fs::write(&path, bytes).unwrap();
        TaskFile::open(&path.to_string_lossy()).is_ok()
    });
}

/// A small world, and rows of it.
fn worlds(folder: &Path) {
    let options = WorldOptions {
        features: 64,
        d: 8,
        rank: 3,
        hierarchy: Some(HierarchyOptions { roots: 2, branching: 2, depth: 2 }),
        orthogonal_steps: 2,
        ..WorldOptions::small()
    };
    let world = folder.join("world");
    World::make(&options, &mut Quiet).unwrap().write(&world).unwrap();
    for name in ["synthetic_model_config.json", "synthetic_model.safetensors", "hierarchy.json"] {
        file(&world, name, [1 << 20, 256], || {
            let Ok(world) = World::read(&world) else { return false };
            let rows = world.rows(1, 0..4);
            drop(std::hint::black_box((rows, world.levels(), world.mean_largest_cosine())));
            true
        });
    }
}

/// Tables of labelled prompts, plain and packed.
fn prompts(folder: &Path) {
    let quoted =
        |i: u32| format!("\"prompt {i}, said \"\"so\"\"\nand on\",{}\n", ["yes", "no"][i as usize % 2]);
    let csv: String = std::iter::once("prompt,target\n".to_owned()).chain((0..12).map(quoted)).collect();
    let line = |i: u32| format!("{{\"text\": \"prompt {i} \\u00e9\", \"label\": {}}}\n", i % 2);
    let lines: String = (0..12).map(line).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(lines.as_bytes()).unwrap();
    let files = [
        ("prompts.csv", csv.clone().into_bytes(), 256),
        ("prompts.jsonl", lines.into_bytes(), 256),
        // A byte may stand for a thousand where it is compressed, or for many more.
        ("prompts.jsonl.gz", gzip.finish().unwrap(), 16_384),
        ("prompts.csv.zst", zstd::encode_all(csv.as_bytes(), 3).unwrap(), 400_000),
    ];
    for (name, whole, each) in files {
        let sets = folder.join(format!("sets of {name}"));
        std::fs::create_dir(&sets).unwrap();
        std::fs::write(sets.join(name), whole).unwrap();
        file(&sets, name, [1 << 20, each], || read_sets(&sets, &[], &mut Quiet).is_ok());
    }
}

/// One test: memory is counted for the process.
#[test]
fn damaged_files_are_refused_or_read() {
    only_own_panics();
    let folder = folder();
    graphs(folder.path());
    lenses(folder.path());
    tasks(folder.path());
    worlds(folder.path());
    prompts(folder.path());
}
