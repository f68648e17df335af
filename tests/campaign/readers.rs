//! Files that vanish, shrink or change while they are read, reads that fail or are short.

use std::fs;
use std::path::Path;

use tests::Chance;

use crate::content::{content, differences};
use crate::faults::{shim, text};
use crate::jobs::{Job, jobs};
use crate::world::World;

const FAULTS: [&str; 6] = ["VANISH", "SHRINK", "CHANGE", "EIO", "EINTR", "SHORT"];
/// Faults of each kind and job in the short form.
const FEW: usize = 1;

#[test]
fn files_change_under_the_reader() {
    let world = World::new();
    let Some(shim) = shim(world.at()) else {
        fixtures::skip("faults of calls that read", "gcc is not installed");
        return;
    };
    let each = crate::long().map_or(FEW, |kills| kills.div_ceil(4));
    println!("{:<28} {:>6} {:>7} {:>8} {:>13}", "job", "reads", "faults", "refused", "went through");
    for (number, job) in jobs() {
        let mut chance = Chance::new(number as u64 + 100);
        let (whole, _) = world.undisturbed(job);
        let reads = reads(&world, job, &shim);
        let (mut faults, mut refused, mut went_through) = (0, 0, 0);
        let each = if reads.is_empty() { 0 } else { each };
        for kind in FAULTS.iter().flat_map(|kind| std::iter::repeat_n(*kind, each)) {
            world.prepare(job);
            let at = (chance.unit() * reads.len() as f64) as usize + 1;
            let read = format!("{kind} of read {at} ({})", reads[at - 1]);
            let (root, number) = (text(world.at()), at.to_string());
            let environment = [
                ("LD_PRELOAD", &*text(&shim)),
                ("FAULT_CALLS", "read"),
                ("FAULT_ROOT", &*root),
                ("FAULT_AT", &*number),
                ("FAULT_KIND", kind),
            ];
            // What the fault itself takes from a result that the job reads again is not the job's doing.
            let path = reads[at - 1].split_once('\t').map_or("", |(_, path)| path);
            let own = ["VANISH", "SHRINK"].contains(&kind) && Path::new(path).starts_with(world.out());
            let ended = world.start(job, &environment).end();
            faults += 1;
            match (ended.code(), kind) {
                // What the file says now may be as good a file as before: there is nothing to notice.
                (Some(0), "CHANGE") => went_through += 1,
                (Some(0), _) if own => went_through += 1,
                (Some(0), _) => {
                    let differs = differences(&whole, &content(&world.out()));
                    assert!(
                        differs.is_empty() || kind == "SHRINK" || kind == "VANISH",
                        "{}, {read}: {differs:?}",
                        job.name
                    );
                    went_through += 1;
                }
                (Some(1 | 2), _) => {
                    assert!(!["EINTR", "SHORT"].contains(&kind), "{}, {read}: {ended}", job.name);
                    refused += 1;
                }
                _ => panic!("{}, {read}: {ended}", job.name),
            }
            if kind != "CHANGE" && !own {
                world.check_nothing_half(job, &whole, &read);
            }
            world.restore();
        }
        println!("{:<28} {:>6} {faults:>7} {refused:>8} {went_through:>13}", job.name, reads.len());
    }
}

/// The calls that read, as the shim notes them.
fn reads(world: &World, job: &Job, shim: &Path) -> Vec<String> {
    world.prepare(job);
    let log = world.at().parent().unwrap().join(format!("reads-{}", std::process::id()));
    let (root, shim, path) = (text(world.at()), text(shim), text(&log));
    let environment =
        [("LD_PRELOAD", &*shim), ("FAULT_CALLS", "read"), ("FAULT_ROOT", &*root), ("FAULT_LOG", &*path)];
    world.start(job, &environment).end().ok();
    // Without a log nothing was read: a world is made of numbers alone.
    let Ok(lines) = fs::read_to_string(&log) else { return Vec::new() };
    fs::remove_file(&log).unwrap();
    lines.lines().map(str::to_owned).collect()
}
