//! Two processes want one folder; the clock jumps.

use crate::content::{content, differences, leftovers};
use crate::faults::{shim, text};
use crate::jobs::jobs;
use crate::world::{FINISHED, World};

#[test]
fn two_processes_want_one_folder() {
    let world = World::new();
    let rounds = crate::long().map_or(1, |kills| kills.div_ceil(4));
    println!("{:<28} {:>6} {:>8} {:>6}", "job", "pairs", "refused", "both");
    for (_, job) in jobs() {
        let (whole, _) = world.undisturbed(job);
        let (mut refused, mut both) = (0, 0);
        for _ in 0..rounds {
            world.prepare(job);
            let (one, other) = (world.start(job, &[]), world.start(job, &[]));
            let ended = [one.end(), other.end()];
            let failed: Vec<_> = ended.iter().filter(|ended| ended.code() != Some(0)).collect();
            assert!(failed.len() < 2, "{}: neither got its way: {} {}", job.name, failed[0], failed[1]);
            for ended in failed {
                let words = ["another process", "already holds", "holds a run already"];
                let told = words.iter().chain(&FINISHED).any(|words| ended.stderr.contains(words));
                assert!(told, "{}: {ended}", job.name);
                refused += 1;
            }
            both += usize::from(ended.iter().all(|ended| ended.code() == Some(0)));
            let now = content(&world.out());
            assert_eq!(differences(&whole, &now), [""; 0], "{}: two at a time", job.name);
            assert_eq!(leftovers(&world.out()), [""; 0], "{}: left after the end", job.name);
        }
        println!("{:<28} {rounds:>6} {refused:>8} {both:>6}", job.name);
    }
}

#[test]
fn the_clock_jumps() {
    let world = World::new();
    let Some(shim) = shim(world.at()) else {
        fixtures::skip("a clock that jumps", "gcc is not installed");
        return;
    };
    for (_, job) in jobs() {
        let (whole, _) = world.undisturbed(job);
        world.prepare(job);
        world.start(job, &[("LD_PRELOAD", &text(&shim)), ("FAULT_CLOCK", "1")]).end().ok();
        assert_eq!(differences(&whole, &content(&world.out())), [""; 0], "{}", job.name);
    }
}
