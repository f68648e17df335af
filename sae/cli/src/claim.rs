//! `sae claim`: a rule about a feature, tested over every activation in the data.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use sae::explain::claims::{self, Estimate, Evidence, EvidenceOptions, Figure, Line, Outcome, Rule, Tally};
use sae::{Error, Result};

/// Test a claim about where a feature fires over every activation in the data, and keep it
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
sae claim topk 34 'token synonyms opposite and not domain code'\n  \
sae claim topk 34 'within 5 after \"the\" or text /court(house)?s/' --keep --by ann\n  \
sae claim topk                          lists the claims that are kept\n  \
sae claim topk --merge bob/claims.json  adds somebody else's\n\n\
Conditions: token WORDS, after WORDS, before WORDS, within N of|after|before WORDS, domain NAMES, token /RE/, text /RE/, \
documents A-B, position A-B, start; joined by and, or, not and brackets. A word stands for every token that reads so whatever \
the case and the space around it; in quotation marks for exactly that token.")]
pub struct Command {
    /// Indexed run (see `sae index`)
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Number of the feature
    #[arg(value_name = "FEATURE", requires = "rule")]
    feature: Option<u32>,
    /// Where it is claimed to fire
    #[arg(value_name = "RULE")]
    rule: Option<String>,
    /// Dataset to test on [default: the one that was indexed]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Places to show of each kind: hits, misses and false alarms, from the documents that the claim is not measured on
    #[arg(long, default_value_t = 3, value_name = "N")]
    places: usize,
    /// Keep the claim with its scores in the run, for the window and for `sae explain`
    #[arg(long, requires = "rule")]
    keep: bool,
    /// Who claims it
    #[arg(long, value_name = "NAME", default_value = "", requires = "keep")]
    by: String,
    /// What it says, in words
    #[arg(long, value_name = "TEXT", default_value = "", requires = "keep")]
    text: String,
    /// Write the claim with its scores and places as a figure: .svg, .png or .md
    #[arg(long, value_name = "FILE", requires = "rule")]
    figure: Option<PathBuf>,
    /// Add the claims of a different claims.json; of two versions of a claim the newer one stays
    #[arg(long, value_name = "FILE", conflicts_with = "feature")]
    merge: Option<PathBuf>,
}

impl Command {
    /// Runs the command.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        sae::must_be_run(&self.run, "a claim")?;
        if let Some(file) = &self.merge {
            if !file.exists() {
                return Err(Error::request(format!("{} is not there", file.display())));
            }
            let merged = storage::claims::merge(&self.run, &storage::claims::read_file(file)?)?;
            return Ok(listed(&merged));
        }
        let (Some(feature), Some(rule)) = (self.feature, &self.rule) else {
            storage::Run::open(&self.run)?;
            return Ok(listed(&storage::claims::read(&self.run)?));
        };
        let rule = Rule::parse(rule)?;
        let options = EvidenceOptions { data: self.data.clone(), seed: session.seed.unwrap_or(0) };
        let evidence = Evidence::open(&self.run, &options, &mut session.progress)?;
        let test = evidence.test(feature, &rule, &mut session.progress, &mut |_, _| {})?;
        let lines = lines(&evidence, &test.places, self.places);
        let words = rule.words();
        let of = self.run.display().to_string();
        let figure = Figure { of: &of, words: &words, test: &test, lines: &lines, interventions: &[] };
        if let Some(file) = &self.figure {
            write(file, &figure)?;
        }
        let shown: Vec<_> = lines
            .iter()
            .map(|line| {
                serde_json::json!({
                    "document": line.document, "position": line.position, "activation": line.value,
                    "outcome": line.outcome, "text": line.text,
                })
            })
            .collect();
        let mut output = Output::new(serde_json::json!({
            "feature": feature, "rule": test.rule, "words": words, "seed": test.seed,
            "measured": test.measured, "made": test.made, "places": shown,
        }));
        output.row("claim", format!("feature {feature} fires {words}"));
        scored(&mut output, &test.measured);
        let f1 = test.made.scores.map_or_else(|| "–".to_owned(), |scores| format!("{:.3}", scores.f1.value));
        output.row("on the other half", format!("F1 {f1}; claims are made by looking at these documents"));
        for line in &lines {
            let [before, token, after] =
                line.text.each_ref().map(|text| text.replace(['\n', '\r', '\t'], " "));
            let value = if line.value > 0.0 { format!("{:.2} ", line.value) } else { String::new() };
            output.row(
                &format!("{} {}", line.outcome.sign(), line.outcome.name()),
                format!("{value}{} {}: {before}‹{token}›{after}", line.document, line.position),
            );
        }
        if self.keep {
            // What is shown here is of the half that claims are made from.
            claims::keep(&self.run, &test, &[], &self.by, &self.text, false)?;
            output.row("kept", self.run.join(storage::claims::FILE).display());
        }
        if let Some(file) = &self.figure {
            output.row("figure", file.display());
        }
        Ok(output)
    }
}

fn scored(output: &mut Output, tally: &Tally) {
    output.row(
        "measured on",
        format!(
            "{} tokens of {} documents: {} hits, {} misses, {} false alarms",
            tally.tokens, tally.documents, tally.hits, tally.misses, tally.false_alarms
        ),
    );
    let Some(scores) = tally.scores else {
        output.row("scores", "none: the claim applies to no token or to all, or the feature does not fire");
        return;
    };
    let mut row = |name: &str, score: Estimate| {
        output.row(name, format!("{:.3}  ({:.3} to {:.3})", score.value, score.low, score.high));
    };
    row("precision", scores.precision);
    row("recall", scores.recall);
    row("F1", scores.f1);
    row("correlation", scores.correlation);
}

/// The strongest hits and misses, and false alarms, of the half that claims are made from.
fn lines(evidence: &Evidence, places: &[claims::TestedPlace], each: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for outcome in [Outcome::Hit, Outcome::Miss, Outcome::FalseAlarm] {
        let mut of: Vec<_> = places.iter().filter(|p| p.outcome == outcome && !p.measured).collect();
        of.sort_by(|a, b| b.value.total_cmp(&a.value));
        lines.extend(of.into_iter().take(each).filter_map(|place| {
            Some(Line {
                document: format!("document {}", place.document),
                position: place.position,
                value: place.value,
                outcome,
                text: evidence.context(place.document, place.position, 12)?,
            })
        }));
    }
    lines
}

fn write(file: &std::path::Path, figure: &Figure<'_>) -> Result<()> {
    let content = match file.extension().and_then(|end| end.to_str()) {
        Some("svg") => figure.svg().into_bytes(),
        Some("png") => sae::picture::png(&figure.svg(), 2.0, "sae-workbench: claim")?.png,
        Some("md") => figure.markdown().into_bytes(),
        _ => {
            return Err(Error::request(format!("{}: a figure is a file .svg, .png or .md", file.display())));
        }
    };
    Ok(storage::atomic::write(file, &content)?)
}

fn listed(all: &[storage::claims::Claim]) -> Output {
    let mut output = Output::new(serde_json::json!({ "claims": all }));
    let standing = all.iter().filter(|claim| !claim.withdrawn);
    for claim in standing.clone() {
        let f1 = claim.scores.map_or_else(
            || "not scored".to_owned(),
            |s| format!("F1 {:.3} ({:.3} to {:.3})", s.f1[0], s.f1[1], s.f1[2]),
        );
        let by = if claim.by.is_empty() { String::new() } else { format!(", {}", claim.by) };
        output.row(&format!("feature {}", claim.feature), format!("{}  {f1}{by}", claim.rule));
    }
    if standing.count() == 0 {
        output.row("claims", "none");
    }
    output
}
