//! `sae export`: a dictionary for other programs, its features as pages, one feature as a picture.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::{Output, Session};
use sae::Result;
use sae::export::{self, Choice, ExportOptions, Format};

/// Export a run to a different program's format, to pages for a browser, or one feature to a picture
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  sae export topk --to dictionary-learning --out topk-dl\n  sae export topk --to html --out pages\n  \
    sae export topk --to html --features 17,40-60 --out some.html\n  sae export topk --to card --features 17 --out 17.png"
)]
pub struct Command {
    /// The run; for formats that show features it must be indexed (see `sae index`)
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The format
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    to: Format,
    /// The folder to make; the file for a card (.svg or .png), or for pages if it ends in .html. An export is replaced, nothing else is
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Features to show, such as 1,2,17-40 [default: all]
    #[arg(long, value_name = "LIST", conflicts_with_all = ["top", "label"])]
    features: Option<String>,
    /// Show the N features that fire most often
    #[arg(long, value_name = "N", conflicts_with = "label")]
    top: Option<usize>,
    /// Show the features whose label, note or explanation contains TEXT
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Examples per feature: half the strongest, the rest of all strengths [default: 24 on pages, 6 on a card, all for
    /// neuronpedia]
    #[arg(long, value_name = "N")]
    examples: Option<usize>,
    /// sparsify: name of the module [default: from the hook, such as layers.2]
    #[arg(long, value_name = "NAME")]
    hookpoint: Option<String>,
    /// sparsify: keep the K largest per token of a dictionary that has thresholds
    #[arg(long, value_name = "K")]
    k: Option<usize>,
    /// neuronpedia: the model's id there [default: the model's name]
    #[arg(long, value_name = "ID")]
    model_id: Option<String>,
    /// neuronpedia: the source set's name [default: from hook and width]
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
}

fn formats() -> impl clap::builder::TypedValueParser<Value = Format> {
    let parser = PossibleValuesParser::new(Format::ALL.map(|(_, name)| name));
    parser.map(|name| {
        let found = Format::ALL.into_iter().find(|(_, known)| *known == name);
        found.map_or(Format::Saelens, |(format, _)| format)
    })
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A list of features that is not one; a run that cannot be read, or lacks what the format needs; files
    /// that cannot be written; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let choice = match (&self.features, self.top, self.label) {
            (Some(list), ..) => Choice::list(list)?,
            (_, Some(count), _) => Choice::Top(count),
            (.., Some(text)) => Choice::Labelled(text),
            _ => Choice::All,
        };
        let options = ExportOptions {
            choice,
            examples: self.examples,
            hookpoint: self.hookpoint,
            k: self.k,
            model_id: self.model_id,
            set: self.set,
            ..ExportOptions::new(self.to, self.out)
        };
        let exported = export::run(&self.run, &options, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!(exported));
        output.row("export", exported.path.display());
        output.row("features", exported.features);
        output.row("size", format!("{:.1} MB in {} files", exported.bytes as f64 / 1e6, exported.files));
        for note in &exported.notes {
            output.row("note", note);
        }
        Ok(output)
    }
}
