//! Pages that open from the disk: a table of features with search, and a page per feature.
//!
//! ```text
//! index.html           what is below, loaded by <script src>, as fetch() does not read file://
//! style.css app.js
//! data/index.js        the run, and one line per feature
//! data/shard-N.js      64 features with their examples, loaded when one of them is opened
//! export.json
//! ```
//!
//! Where the path ends in `.html`, everything is in that one file. Nothing comes from outside either way. Text of tokens reaches the page
//! as text (`textContent`), never as markup.

mod data;

use std::path::Path;

use serde_json::{Value, json};

use super::indexed::{Indexed, pick};
use super::number::grouped;
use super::options::{EXAMPLES, ExportOptions};
use super::text::escaped;
use super::weights::Subject;
use super::{Format, Job};
use crate::{Error, Progress, Result};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("app.js");

/// Features of a shard: about 300 kB, which a browser reads in a few milliseconds.
const SHARD: usize = 64;
/// Features that one file may hold. Beyond, a browser takes seconds to open it.
const ONE_FILE: usize = 2048;

/// Writes a folder of pages.
pub(super) fn write_folder(subject: &Subject, job: &mut Job<'_>, progress: &mut dyn Progress) -> Result<u64> {
    let indexed = Indexed::open(subject)?;
    let chosen = indexed.chosen(&job.options.choice)?;
    let folder = job.folder.join("data");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let mut index = data::Index::default();
    let mut shard = data::Shard::default();
    let count = job.options.examples.unwrap_or(EXAMPLES);
    let put = |shard: &mut data::Shard| -> Result<()> {
        if shard.is_empty() {
            return Ok(());
        }
        let path = folder.join(format!("shard-{}.js", shard.number));
        write(&path, &format!("dictionary.shard({});\n", script_json(&shard.take())?))
    };
    indexed.for_each(&chosen, progress, |mut feature| {
        feature.examples = pick(feature.examples, count);
        index.add(&feature, &indexed.words);
        shard.add(&feature, &indexed.words);
        if shard.len() == SHARD { put(&mut shard) } else { Ok(()) }
    })?;
    put(&mut shard)?;
    let run = about(subject, &indexed, chosen.len())?;
    let text = script_json(&index.value(&run, SHARD))?;
    write(&folder.join("index.js"), &format!("dictionary.index({text});\n"))?;
    write(&job.folder.join("style.css"), STYLE)?;
    write(&job.folder.join("app.js"), SCRIPT)?;
    let head = r#"<link rel="stylesheet" href="style.css">"#;
    let body = r#"<script src="app.js"></script><script src="data/index.js"></script>"#;
    write(&job.folder.join("index.html"), &page(subject, head, body))?;
    Ok(chosen.len() as u64)
}

/// One file with everything.
pub(super) fn write_one_file(
    subject: &Subject,
    options: &ExportOptions,
    progress: &mut dyn Progress,
) -> Result<(String, u64)> {
    let indexed = Indexed::open(subject)?;
    let chosen = indexed.chosen(&options.choice)?;
    if chosen.len() > ONE_FILE {
        return Err(Error::request(format!(
            "{} features in one file would take a browser long to open; at most {ONE_FILE} are put in one",
            chosen.len()
        ))
        .with_remedy("give a folder's name to --out, or choose features"));
    }
    let mut index = data::Index::default();
    let mut shard = data::Shard::default();
    let count = options.examples.unwrap_or(EXAMPLES);
    indexed.for_each(&chosen, progress, |mut feature| {
        feature.examples = pick(feature.examples, count);
        index.add(&feature, &indexed.words);
        shard.add(&feature, &indexed.words);
        Ok(())
    })?;
    let run = about(subject, &indexed, chosen.len())?;
    let index = script_json(&index.value(&run, ONE_FILE))?;
    let shard = script_json(&shard.take())?;
    let head = format!("<style>\n{STYLE}</style>");
    let body = format!(
        "<script>\n{SCRIPT}</script>\n<script>dictionary.shard({shard});dictionary.index({index});</script>"
    );
    Ok((page(subject, &head, &body), chosen.len() as u64))
}

fn page(subject: &Subject, head: &str, body: &str) -> String {
    let title = format!("{} · {}", subject.name(), subject.hook().unwrap_or("features"));
    // Each place occurs once, and what is put in is not looked through again: names may hold anything.
    let (before, rest) = PAGE.split_once("{{title}}").unwrap_or((PAGE, ""));
    let (middle, rest) = rest.split_once("{{head}}").unwrap_or((rest, ""));
    let (after, end) = rest.split_once("{{body}}").unwrap_or((rest, ""));
    [before, &escaped(&title), middle, head, after, body, end].concat()
}

/// What the pages say about where they come from.
fn about(subject: &Subject, indexed: &Indexed, shown: usize) -> Result<Value> {
    let provenance = subject.provenance(Format::Html)?;
    let record = subject.record();
    let evaluation = subject.run()?.evaluation()?;
    let mut facts: Vec<(&str, String)> = vec![
        ("model", subject.model().unwrap_or("unknown").to_owned()),
        ("hook", subject.hook().unwrap_or("unknown").to_owned()),
        ("method", record.map_or_else(String::new, |record| record.method.clone())),
        ("features", grouped(indexed.record.features)),
        ("width of activations", subject.dictionary.d_in.to_string()),
        ("trained on", record.map_or_else(String::new, |r| format!("{} tokens", grouped(r.tokens_done)))),
        (
            "indexed",
            format!(
                "{} {} of {} documents",
                grouped(indexed.record.tokens),
                unit(indexed),
                grouped(indexed.record.documents)
            ),
        ),
        ("dead over these", grouped(indexed.record.dead)),
    ];
    if let Some(evaluation) = evaluation {
        if let Some(fve) = evaluation.fve {
            facts.push((
                "FVE",
                format!("{fve:.3} on {} {} tokens", grouped(evaluation.tokens), evaluation.split),
            ));
        }
        facts.push(("L0", format!("{:.1}", evaluation.l0)));
        if let Some(recovered) = evaluation.loss_recovered {
            facts.push(("loss recovered", format!("{recovered:.3}")));
        }
    }
    facts.push(("logits", indexed.record.logits.clone()));
    facts.push(("weights, SHA-256", provenance.dictionary_sha256));
    facts.push(("made by", provenance.by));
    facts.retain(|(_, value)| !value.is_empty());
    Ok(json!({
        "name": subject.name(),
        "hook": subject.hook(),
        "model": subject.model(),
        "tokens": indexed.record.tokens,
        "unit": unit(indexed),
        "all": indexed.record.features,
        "shown": shown,
        "facts": facts,
    }))
}

fn unit(indexed: &Indexed) -> &'static str {
    match indexed.record.rows_are {
        storage::RowsAre::Tokens => "tokens",
        storage::RowsAre::Rows => "rows",
        storage::RowsAre::Patches => "patches",
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    Ok(storage::atomic::write(path, text.as_bytes())?)
}

/// JSON that cannot end a script element: `<` is written as an escape.
fn script_json(value: &Value) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|e| Error::data(format!("a page's data: {e}")))?;
    Ok(text.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"))
}
