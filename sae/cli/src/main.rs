//! The terminal program: one file per command; each parses, calls the library and hands back what to print.
//!
//! Progress goes to stderr, the result to stdout as a short table or, with `--json`, as one JSON object. Exit status: 0, 1 (failed),
//! 2 (the request makes no sense).

#![forbid(unsafe_code)]

mod audit;
mod bench;
mod buckets;
mod check;
mod claim;
mod compare;
mod demo;
mod diff;
mod evaluate;
mod experts;
mod explain;
mod export;
mod fields;
mod find;
mod graph;
mod harvest;
mod heads;
mod import;
mod import_dictionary;
mod index;
mod inputs;
mod inspect;
mod join;
mod kept;
mod latent;
mod lens;
mod logits;
mod map;
mod matching;
mod output;
mod pretrain;
mod probe;
mod progress;
mod prompt;
mod score;
mod shards;
mod similar;
mod sparse_code;
mod sweep;
mod synth;
mod trace;
mod train;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Parser, Subcommand};

use buckets::Mirrors;
use lm::model::ModelSource;
use output::Output;
use progress::Terminal;
use sae::interop::dictionaries::{self, DictionarySource, Opened};
use sae::{Error, Result};
use storage::bucket::readable;

/// Sparse autoencoders for language models: harvest, train, evaluate, index
#[derive(Debug, Parser)]
#[command(name = "sae", version, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Begin with `sae demo`: it does the main job on an embedded model and text. `sae COMMAND --help` has examples.\nEvery path may be s3://BUCKET/PREFIX, or to be read https://HOST/FOLDER, gs:// or az://: docs/scale-out.md."
)]
struct Program {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// Print the result as one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// No progress on stderr
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Seed of everything random
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// Threads to compute with; all cores if not given. The result does not depend on it
    #[arg(long, global = true)]
    threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Command {
    // As the help lists them: in the order of the work.
    Demo(demo::Command),
    // A model and its activations.
    Inspect(inspect::Command),
    Score(score::Command),
    Harvest(harvest::Command),
    Import(Box<import::Command>),
    Join(join::Command),
    // Dictionaries, and how good they are.
    Train(Box<train::Command>),
    Latent(latent::Command),
    SparseCode(sparse_code::Command),
    Check(check::Command),
    Evaluate(evaluate::Command),
    Compare(compare::Command),
    Audit(audit::Command),
    Probe(Box<probe::Command>),
    // What features are.
    Index(index::Command),
    Explain(explain::Command),
    Find(find::Command),
    Similar(similar::Command),
    Fields(fields::Command),
    Claim(claim::Command),
    Prompt(Box<prompt::Command>),
    Map(map::Command),
    Match(matching::Command),
    Experts(experts::Command),
    // What leads to what.
    Heads(heads::Command),
    Lens(lens::Command),
    Trace(trace::Command),
    Graph(graph::Command),
    Diff(diff::Command),
    // Worlds, models, files.
    Synth(synth::Command),
    Pretrain(pretrain::Command),
    Export(export::Command),
    Logits(logits::Command),
    Bench(bench::Command),
}

/// What every command is given.
pub struct Session {
    /// Where progress goes.
    pub progress: Terminal,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--threads`.
    pub threads: Option<usize>,
}

impl Session {
    /// The model of that name; one of the hub is fetched if it is not in the cache.
    fn model(&mut self, name: &str) -> Result<ModelSource> {
        let source = ModelSource::parse(name);
        source.fetch(&mut self.progress)?;
        Ok(source)
    }

    /// Where the run or foreign dictionary of that name is; one of the hub is fetched if it is not in the cache.
    fn source(&mut self, name: &str) -> Result<PathBuf> {
        // Whoever opens a run reports that it is missing; it is not looked for on the hub.
        match DictionarySource::parse(name) {
            source @ DictionarySource::Hub { .. } => source.fetch(&mut self.progress),
            DictionarySource::Path(path) => Ok(path),
        }
    }

    /// The dictionary of that name.
    fn open_dictionary(&mut self, name: &str) -> Result<Opened> {
        dictionaries::open_path(&self.source(name)?)
    }
}

/// Parses the command line, runs the command, prints, and says with what status to exit.
fn main() -> ExitCode {
    kernels::memory::keep_freed_pages();
    let args: Vec<OsString> = std::env::args_os().collect();
    let program = Program::parse_from(&args);
    let json = program.common.json;
    match run(program, &args) {
        Ok(output) => {
            let printed = print(&readable(&output.text(json)));
            let Some(failure) = output.failure() else { return printed };
            report(&Error::data(failure), false);
            ExitCode::FAILURE
        }
        Err(error) => {
            report(&error, json);
            ExitCode::from(if matches!(error, Error::Request(_)) { 2 } else { 1 })
        }
    }
}

fn run(program: Program, args: &[OsString]) -> Result<Output> {
    let common = program.common;
    if let Some(threads) = common.threads {
        // Fails only if the pool exists already; nothing ran before.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    // Without a handler Ctrl-C still ends the program; whole parts on disk stay whole.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    let mut session =
        Session { progress: Terminal::new(common.quiet, stop), seed: common.seed, threads: common.threads };
    let Some(mirrors) = Mirrors::open(args, &mut session.progress)? else {
        return dispatch(program.command, &mut session);
    };
    if let Some(output) = mirrors.finish(&mut session.progress)? {
        return Ok(output);
    }
    // The same command, with paths in place of addresses.
    let output = dispatch(Program::parse_from(mirrors.args()).command, &mut session)?;
    mirrors.close(&output, &mut session.progress)?;
    Ok(output)
}

fn dispatch(command: Command, session: &mut Session) -> Result<Output> {
    match command {
        Command::Demo(command) => command.run(session),
        Command::Inspect(command) => command.run(session),
        Command::Score(command) => command.run(session),
        Command::Harvest(command) => command.run(session),
        Command::Import(command) => command.run(session),
        Command::Join(command) => command.run(session),
        Command::Train(command) => command.run(session),
        Command::Latent(command) => command.run(session),
        Command::SparseCode(command) => command.run(session),
        Command::Check(command) => command.run(session),
        Command::Evaluate(command) => command.run(session),
        Command::Compare(command) => command.run(session),
        Command::Audit(command) => command.run(session),
        Command::Probe(command) => command.run(session),
        Command::Index(command) => command.run(session),
        Command::Explain(command) => command.run(session),
        Command::Find(command) => command.run(session),
        Command::Similar(command) => command.run(session),
        Command::Fields(command) => command.run(session),
        Command::Claim(command) => command.run(session),
        Command::Prompt(command) => command.run(session),
        Command::Map(command) => command.run(session),
        Command::Match(command) => command.run(session),
        Command::Experts(command) => command.run(session),
        Command::Heads(command) => command.run(session),
        Command::Lens(command) => command.run(session),
        Command::Trace(command) => command.run(session),
        Command::Graph(command) => command.run(session),
        Command::Diff(command) => command.run(session),
        Command::Synth(command) => command.run(session),
        Command::Pretrain(command) => command.run(session),
        Command::Export(command) => command.run(session),
        Command::Logits(command) => command.run(session),
        Command::Bench(command) => command.run(session),
    }
}

#[allow(clippy::print_stdout)]
fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader went away (`sae … | head`): nobody to tell.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
    }
}

#[allow(clippy::print_stderr, clippy::print_stdout)]
fn report(error: &Error, json: bool) {
    if json {
        let remedy = error.remedy().map(readable);
        println!("{:#}", serde_json::json!({"error": readable(&error.to_string()), "remedy": remedy}));
    }
    eprintln!("sae: {}", readable(&error.to_string()));
}
