//! A claim over many tokens: how long reading them and testing a rule take.
//!
//!     cargo bench -p sae --bench claims -- RUN [FEATURE]
//!
//! RUN is an indexed run; of one with 10 million tokens a test is to take at most 3 s on 2 cores.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::time::Instant;

use sae::Quiet;
use sae::explain::claims::{Evidence, EvidenceOptions, Rule};

const RULES: [&str; 6] = [
    "token /^ ?[a-m]/",
    "token /e$/ and not token /a/",
    "within 8 of the",
    "text /[a-z]+ing /",
    "position 0-100 or token /s$/",
    "not (token the or within 3 after of)",
];

fn main() -> sae::Result<()> {
    let mut given = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let Some(run) = given.next().map(PathBuf::from) else {
        eprintln!("usage: cargo bench -p sae --bench claims -- RUN [FEATURE]");
        return Ok(());
    };
    let feature = given.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let start = Instant::now();
    let evidence = Evidence::open(&run, &EvidenceOptions::default(), &mut Quiet)?;
    println!("{} tokens read in {:.2} s", evidence.tokens(), start.elapsed().as_secs_f64());
    for text in RULES {
        let Ok(rule) = Rule::parse(text) else {
            println!("{text}: not a rule");
            continue;
        };
        let (start, mut first) = (Instant::now(), None);
        let test = evidence.test(feature, &rule, &mut Quiet, &mut |_, _| {
            first.get_or_insert_with(|| start.elapsed());
        });
        match test {
            Ok(test) => println!(
                "{text}: {:.3} s, first scores after {:.3} s, {} hits, {} misses, {} false alarms",
                start.elapsed().as_secs_f64(),
                first.unwrap_or_else(|| start.elapsed()).as_secs_f64(),
                test.measured.hits + test.made.hits,
                test.measured.misses + test.made.misses,
                test.measured.false_alarms + test.made.false_alarms,
            ),
            Err(error) => println!("{text}: {error}"),
        }
    }
    Ok(())
}
