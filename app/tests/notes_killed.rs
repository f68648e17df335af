//! `kill -9` while the window writes notes: what it showed as written is in the file, and the file is whole.
//!
//! `SAE_CAMPAIGN=100 cargo test --test notes_killed -- --nocapture` kills that often.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use app::data::Notes;
use app::data::notes::{Change, Edit};
use app::load::Workers;
use app::stores::Notebook;

/// The folder of the process that writes, which begins with the number of its first feature.
const FOLDER: &str = "SAE_NOTES_FOLDER";
const FIRST: &str = "SAE_NOTES_FIRST";
/// What it prints of a note that the window shows as written.
const WRITTEN: &str = "written ";

/// A process of its own, which the test below starts and kills.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let first: u32 = std::env::var(FIRST).unwrap().parse().unwrap();
    let workers = Workers::start(&egui::Context::default()).unwrap();
    let mut book: Notebook<Notes> = Notebook::new(Path::new(&folder));
    for feature in first.. {
        book.change(Edit { feature, change: Change::Label(format!("feature {feature}")) });
        let seen = book.version();
        while book.version() == seen {
            book.poll(&workers);
            assert!(book.problem().is_none(), "{:?}", book.problem());
            std::thread::sleep(Duration::from_micros(200));
        }
        println!("{WRITTEN}{feature}");
        std::io::stdout().flush().unwrap();
    }
}

fn start(folder: &Path, first: u32) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["writer", "--exact", "--nocapture"]).env(FOLDER, folder).env(FIRST, first.to_string());
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// Waits for the first note, lets it write for `time`, kills it; the numbers that it showed as written.
fn killed(mut child: Child, time: Duration) -> Vec<u32> {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut lines = Vec::new();
    let number =
        |line: &str| line.trim().split_once(WRITTEN).and_then(|(_, number)| number.parse::<u32>().ok());
    while lines.is_empty() {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "the writer ended");
        lines.extend(number(&line));
    }
    std::thread::sleep(time);
    child.kill().unwrap();
    child.wait().unwrap();
    lines.extend(output.lines().map_while(Result::ok).filter_map(|line| number(&line)));
    lines
}

#[test]
fn notes_survive_a_kill_at_any_moment() {
    let kills = std::env::var("SAE_CAMPAIGN").map_or(5, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (mut written, mut first, began) = (BTreeSet::new(), 0, Instant::now());
    for kill in 0..kills {
        // Moments that share nothing with the rhythm of the writing.
        let time = Duration::from_micros((kill * 7919) % 30_011);
        written.extend(killed(start(folder.path(), first), time));
        let there: BTreeSet<u32> =
            storage::notes::read(folder.path()).unwrap().iter().map(|note| note.feature).collect();
        let lost: Vec<_> = written.difference(&there).collect();
        assert!(lost.is_empty(), "kill {kill}: lost {lost:?}");
        // One may have reached the file, and the kill came before it was shown.
        let more: Vec<_> = there.difference(&written).copied().collect();
        assert!(more.len() <= 1, "kill {kill}: {more:?}");
        written.extend(more);
        first = written.last().map_or(0, |last| last + 1);
    }
    println!("{kills} kills, {} notes, none lost, {:.0} s", written.len(), began.elapsed().as_secs_f64());
}
