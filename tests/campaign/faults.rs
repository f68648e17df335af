//! Every call that writes fails once, in turn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::content::{Content, content, differences, leftovers};
use crate::jobs::{Job, jobs};
use crate::world::World;

/// What a call may fail with, as `fault.c` knows it, and what the program must say.
const FAULTS: [(&str, &str); 6] = [
    ("ENOSPC", "No space left on device"),
    ("EIO", "Input/output error"),
    ("EDQUOT", "quota exceeded"),
    ("EROFS", "Read-only file system"),
    ("EINTR", ""),
    ("SHORT", ""),
];

/// Calls of each job that fail in the short form.
const FEW: usize = 4;
/// Asked for as many or more, all of them fail with every error.
const ALL: usize = 1000;

/// How a disturbed job ended.
#[derive(Default)]
struct Tally {
    faults: usize,
    refused: usize,
    went_through: usize,
}

#[test]
fn every_call_that_writes_fails_once() {
    let world = World::new();
    let Some(shim) = shim(world.at()) else {
        fixtures::skip("faults of calls that write", "gcc is not installed");
        return;
    };
    println!("{:<28} {:>6} {:>7} {:>8} {:>13}", "job", "calls", "faults", "refused", "went through");
    let mut noticed = 0;
    for (number, job) in jobs() {
        let (whole, _) = world.undisturbed(job);
        let calls = calls(&world, job, &shim);
        // From 1,000 on every call gets every error, below each a different one.
        let all = crate::long().is_some_and(|calls| calls >= ALL);
        let step = if all { 1 } else { calls.len().div_ceil(crate::long().unwrap_or(FEW)).max(1) };
        let mut tally = Tally::default();
        for at in (0..calls.len()).step_by(step) {
            let round = at / step;
            for (n, fault) in FAULTS.iter().enumerate() {
                if all || n == (round + number) % FAULTS.len() {
                    fail(&world, job, (&shim, at, &calls[at]), *fault, &whole, &mut tally);
                }
            }
        }
        let Tally { faults, refused, went_through } = tally;
        println!("{:<28} {:>6} {faults:>7} {refused:>8} {went_through:>13}", job.name, calls.len());
        noticed += refused;
    }
    assert!(noticed > 0, "no fault was noticed");
}

/// Compiles the shim; none without a compiler.
pub fn shim(at: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("campaign/fault.c");
    let library = at.join("fault.so");
    let mut compile = Command::new("gcc");
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
    let status = compile.status().ok()?;
    assert!(status.success(), "fault.c does not compile");
    Some(library)
}

/// What an undisturbed job calls, in order: `write`, then the path.
fn calls(world: &World, job: &Job, shim: &Path) -> Vec<String> {
    world.prepare(job);
    let log = world.at().join("calls");
    let _ = fs::remove_file(&log);
    let (out, shim, path) = (text(&world.out()), text(shim), text(&log));
    world.start(job, &[("LD_PRELOAD", &shim), ("FAULT_ROOT", &out), ("FAULT_LOG", &path)]).end().ok();
    let text = fs::read_to_string(&log).expect("the shim was loaded");
    text.lines().map(str::to_owned).collect()
}

pub fn text(path: &Path) -> String {
    path.display().to_string()
}

fn fail(
    world: &World,
    job: &Job,
    (shim, at, call): (&Path, usize, &str),
    (kind, message): (&str, &str),
    whole: &Content,
    tally: &mut Tally,
) {
    world.prepare(job);
    let (out, shim, number) = (text(&world.out()), text(shim), (at + 1).to_string());
    let environment =
        [("LD_PRELOAD", &*shim), ("FAULT_ROOT", &*out), ("FAULT_AT", &*number), ("FAULT_KIND", kind)];
    let ended = world.start(job, &environment).end();
    let when = format!("{kind} of call {number} ({call})");
    tally.faults += 1;
    world.check_nothing_half(job, whole, &when);
    match ended.code() {
        // What may fail without harm (the number of the process in the lock), or what is tried again.
        Some(0) => {
            let now = content(&world.out());
            assert_eq!(differences(whole, &now), [""; 0], "{}, {when}: a failure was passed over", job.name);
            tally.went_through += 1;
        }
        Some(1) => {
            assert!(
                !["EINTR", "SHORT"].contains(&kind) || !call.starts_with("write"),
                "{}, {when}: {ended}",
                job.name
            );
            // The folder itself is synced, too: `out: No space left on device`.
            let names = ["out/", "out: "].iter().any(|name| ended.stderr.contains(name));
            let told = ended.stderr.contains(message) && names;
            assert!(told, "{}, {when}: the error names no file or no cause: {ended}", job.name);
            tally.refused += 1;
        }
        _ => panic!("{}, {when}: {ended}", job.name),
    }
    // The same command again, with nothing in its way.
    let again = world.end(job);
    let now = content(&world.out());
    assert_eq!(differences(whole, &now), [""; 0], "{}, {when}, and then again: {again}", job.name);
    // What could not be removed stays when the job was whole before, and harms nobody: the content is the same.
    if !call.starts_with("remove") {
        assert_eq!(leftovers(&world.out()), [""; 0], "{}, {when}: left after the end", job.name);
    }
}
