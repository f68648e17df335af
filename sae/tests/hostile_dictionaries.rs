//! Damaged and hostile dictionaries of other programs: opening one ends in a dictionary or an error, never in a panic and never in memory
//! that the file does not justify. See `hostile_models.rs`.
//!
//!     SAE_FUZZ_CASES=1000000 cargo test --test hostile_dictionaries -- --nocapture
//!     SAE_FUZZ_READER=ae.pt …        one reader alone: the file's name

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

#[path = "../lm/tests/common/mod.rs"]
mod common;
#[path = "dictionaries/mod.rs"]
mod golden;

use common::{Subject, cases, hostile};
use golden::{WEIGHTS, copied, source};
use sae::interop::dictionaries::open_path;

/// One test: memory is counted for the process.
#[test]
fn damaged_weights_end_in_an_error_or_a_dictionary() {
    for (path, file) in WEIGHTS {
        let (_home, folder) = copied(path);
        let (weights, source) = (folder.join(file), source(&folder, file));
        let whole = std::fs::read(&weights).unwrap();
        // Files of safetensors have their header at the front; a zip file's directory is at the end, so all of it is changed as much.
        let header = if file.ends_with(".safetensors") { 600 } else { whole.len() };
        let name = weights.file_name().unwrap().to_string_lossy().into_owned();
        let name = if name == "sae_weights.safetensors" { path.to_owned() } else { name };
        // A byte of a deflated member stands for at most 1,032, held twice while a vector grows.
        let subject = Subject { name: &name, whole: &[whole], header, fixed: 1 << 20, each: 4096 };
        hostile(&subject, cases(1500), |bytes| {
            std::fs::write(&weights, bytes).unwrap();
            open_path(&source).is_ok()
        });
    }
}
