//! Dictionaries of other programs, brought into one form ([`Dictionary`]): SAEs, transcoders, cross-layer transcoders.
//!
//! ```text
//! SOURCE ─ fetch ─▶ folder or file ─ recognise ─▶ format ─ its reader ─▶ Dictionary + Reading: what was inferred, and why
//! ```
//!
//! A format is recognised by its files, tensor names and configuration; nobody is asked for it. What no file says (a layer in a folder's
//! name, an orientation) is inferred, and every inference is a [`Decision`]. `docs/dictionaries.md` has the formats and their traps.

mod names;
mod reading;
mod recognise;
mod saelens;
mod source;
mod tensors;

use std::path::Path;

pub use reading::{Alternative, Content, Decision, Format, Opened, Reading};
pub use recognise::recognise;
pub use source::DictionarySource;

use crate::dictionary::Dictionary;
use crate::{Error, Progress, Result};
use recognise::Place;

/// Reads a source; one of the hub is fetched first if it is not in the cache.
///
/// # Errors
/// A source that is not there or not of a format that is read; files that are damaged, incomplete or hold what no dictionary can: file,
/// tensor, expectation and remedy.
pub fn open(source: &DictionarySource, progress: &mut dyn Progress) -> Result<Opened> {
    open_path(&source.fetch(progress)?)
}

/// Reads a folder or file of this machine.
///
/// # Errors
/// As [`open`].
pub fn open_path(path: &Path) -> Result<Opened> {
    let place = Place::of(path)?;
    let opened = match place.format {
        Format::Run | Format::SaeLens6 => saelens::version_6(&place),
        Format::SaeLens5 => saelens::version_5(&place),
        format => {
            Err(Error::format(&place.folder, format!("is of the format {format}, which is not read yet")))
        }
    }?;
    check(&place, &opened)?;
    Ok(opened)
}

/// What every reader must have seen to: shapes that agree.
fn check(place: &Place, opened: &Opened) -> Result<()> {
    let whole = |dictionary: &Dictionary| {
        let (d, f, d_out) = (dictionary.d_in, dictionary.d_sae, dictionary.d_out());
        dictionary.w_enc.len() == d * f
            && dictionary.b_enc.len() == f
            && dictionary.w_dec.len() == f * d_out
            && dictionary.b_dec.len() == d_out
    };
    let all = match &opened.content {
        Content::Dictionary(dictionary) => whole(dictionary),
        Content::Set(set) => set.iter().all(|(_, dictionary)| whole(dictionary)),
        Content::CrossLayer(transcoder) => transcoder.layers.iter().all(whole),
    };
    match all {
        true => Ok(()),
        false => Err(Error::format(&place.folder, "holds tensors whose shapes do not agree")),
    }
}
