//! `kill -9` at random moments.

use std::time::Duration;

use tests::Chance;

use crate::content::{content, differences, leftovers};
use crate::jobs::{Job, jobs};
use crate::world::World;

/// Kills of one attempt before it is left in peace.
const IN_A_ROW: usize = 4;

#[test]
fn killed_at_random_moments_every_job_ends_in_the_same_bits() {
    let world = World::new();
    let wanted = crate::long().unwrap_or(2);
    println!("{:<28} {:>6} {:>9} {:>8} {:>9}", "job", "kills", "attempts", "resumed", "same");
    for (number, job) in jobs() {
        let mut chance = Chance::new(number as u64 + 1);
        let (whole, mut time) = world.undisturbed(job);
        let (mut kills, mut attempts, mut resumed) = (0, 0, 0);
        while kills < wanted && attempts < 3 * wanted {
            attempts += 1;
            world.prepare(job);
            let hits = killed(&world, job, time, &mut chance, &whole);
            // The undisturbed run may have shared the machine with other tests, and be much longer than those after it.
            if hits == 0 {
                time /= 2;
            }
            kills += hits;
            let ended = world.end(job);
            resumed += usize::from(ended.stderr.contains("resuming"));
            let now = content(&world.out());
            assert_eq!(differences(&whole, &now), [""; 0], "{}: after {kills} kills in all", job.name);
            assert_eq!(leftovers(&world.out()), [""; 0], "{}: left after the end", job.name);
        }
        println!("{:<28} {kills:>6} {attempts:>9} {resumed:>8} {attempts:>5}/{attempts}", job.name);
        assert!(kills > 0, "{}: no kill hit", job.name);
    }
}

/// Starts and kills, up to [`IN_A_ROW`] times; the kills that hit.
fn killed(
    world: &World,
    job: &Job,
    time: Duration,
    chance: &mut Chance,
    whole: &crate::content::Content,
) -> usize {
    let mut kills = 0;
    for _ in 0..1 + (chance.unit() * IN_A_ROW as f64) as usize {
        let program = world.start(job, &[]);
        std::thread::sleep(time.mul_f64(chance.unit()));
        let ended = program.kill();
        world.check_nothing_half(job, whole, "killed");
        if !ended.killed() {
            break;
        }
        kills += 1;
    }
    kills
}
