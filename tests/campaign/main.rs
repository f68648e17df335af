//! Under fire: every long job is killed at random moments, every call that writes fails once, files vanish and change while they are
//! read, two processes want one folder. What comes out must be what an undisturbed job gives, and nothing half-written may pass for whole.
//!
//! A short form runs with the other tests: some jobs, few faults. The long form's figures are in `docs/reliability.md`:
//!
//! ```text
//! SAE_CAMPAIGN=100 cargo test --test campaign -- --nocapture --test-threads 1
//! ```
//!
//! goes through all jobs, kills each as many times, and fails as many calls of each, each with one of the errors in turn. 600 are all calls that
//! any job makes; from 1,000 on every call fails with every error. `SAE_CAMPAIGN_JOBS=synth` takes the jobs alone whose names contain that.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod content;
mod faults;
mod jobs;
mod kills;
mod readers;
mod together;
mod world;

/// Kills of each job, and calls of it that fail; `None` for the short form.
fn long() -> Option<usize> {
    std::env::var("SAE_CAMPAIGN").ok().map(|text| text.parse().expect("SAE_CAMPAIGN is a number of kills"))
}
