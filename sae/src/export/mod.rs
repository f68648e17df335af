//! A dictionary and its features for other programs, for a browser, for a paper.
//!
//! ```text
//! dictionary ─▶ saelens, sparsify, dictionary-learning      the weights, in the layout of the other program
//! index      ─▶ neuronpedia                                 the batch files of its importer
//! index      ─▶ html                                        pages that open from the disk
//! index      ─▶ card                                        one feature as a picture (SVG or PNG)
//! ```
//!
//! An export is made next to its place and moved there when it is whole. It holds [`place::RECORD`], by which a later export knows
//! that it may replace it; nothing else is ever replaced. The same run gives the same bytes: what an export calls its time is the
//! time of the run. `docs/export.md` lists what each format holds and which program has read it back.

mod card;
mod circuit_tracer;
mod dictionary_learning;
mod html;
mod indexed;
mod neuronpedia;
mod number;
mod options;
mod place;
mod saelens;
mod sparsify;
pub(crate) mod text;
mod torch_file;
mod weights;

use std::path::Path;

use serde::Serialize;

pub use options::{Choice, ExportOptions, Format};

use crate::{Progress, Result};
use place::{Place, PlacedFile};
use weights::Subject;

/// What was exported.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exported {
    /// The format.
    pub to: Format,
    /// The folder or file that was written.
    pub path: std::path::PathBuf,
    /// Number of files.
    pub files: u64,
    /// Their size together, in bytes.
    pub bytes: u64,
    /// Features in it.
    pub features: u64,
    /// What the other program has to be told, or does differently.
    pub notes: Vec<String>,
}

/// Exports the run in `run`.
///
/// # Errors
/// A run that cannot be read or, for formats that show features, has no index of its present weights; a dictionary that the format
/// cannot express; a destination that holds something else; [`crate::Error::Stopped`].
pub fn run(run: &Path, options: &ExportOptions, progress: &mut dyn Progress) -> Result<Exported> {
    options.check()?;
    match options.to {
        Format::Card => return file(run, options, progress, card::write),
        Format::Html if options.is_one_file() => return file(run, options, progress, html::write_one_file),
        _ => {}
    }
    let subject = Subject::read(run, options.to)?;
    let place = Place::begin(&options.out)?;
    let mut job = Job { folder: place.folder(), options, notes: Vec::new() };
    let features = match options.to {
        Format::Saelens => saelens::write(&subject, &mut job)?,
        Format::Sparsify => sparsify::write(&subject, &mut job)?,
        Format::DictionaryLearning => dictionary_learning::write(&subject, &mut job)?,
        Format::CircuitTracer => circuit_tracer::write(&subject, &mut job)?,
        Format::Neuronpedia => neuronpedia::write(&subject, &mut job, progress)?,
        Format::Html | Format::Card => html::write_folder(&subject, &mut job, progress)?,
    };
    let notes = job.notes;
    let (files, bytes) = place.publish(subject.provenance(options.to)?)?;
    Ok(Exported { to: options.to, path: options.out.clone(), files, bytes, features, notes })
}

/// What a format is given to work with.
struct Job<'a> {
    /// The folder to write into.
    folder: &'a Path,
    options: &'a ExportOptions,
    notes: Vec<String>,
}

fn file(
    run: &Path,
    options: &ExportOptions,
    progress: &mut dyn Progress,
    make: impl FnOnce(&Subject, &ExportOptions, &mut dyn Progress) -> Result<(String, u64)>,
) -> Result<Exported> {
    let place = PlacedFile::begin(&options.out)?;
    let (text, features) = make(&Subject::read(run, options.to)?, options, progress)?;
    let mut notes = Vec::new();
    let content = if options.is_png() { drawn(&text, &mut notes)? } else { text.into_bytes() };
    place.write(&content)?;
    let (path, bytes) = (options.out.clone(), content.len() as u64);
    Ok(Exported { to: options.to, path, files: 1, bytes, features, notes })
}

/// Points per unit of a card: sharp in a paper and on a fine screen.
const SCALE: f32 = 2.0;

fn drawn(svg: &str, notes: &mut Vec<String>) -> Result<Vec<u8>> {
    let picture = crate::picture::png(svg, SCALE, &format!("{}: card", place::MARK))?;
    if !picture.without_font.is_empty() {
        notes.push(format!(
            "no font of this machine has {}: drawn as boxes; SVG leaves the choice to the reader's fonts",
            picture.without_font
        ));
    }
    Ok(picture.png)
}
