//! Dictionaries of other programs, brought into one form ([`Dictionary`]): SAEs, transcoders, cross-layer transcoders.
//!
//! ```text
//! SOURCE ─ locate ─▶ folder or file ─ recognise ─▶ format ─ its reader ─▶ Dictionary + Reading: what was inferred, and why
//! ```
//!
//! A format is recognised by its files, tensor names and configuration; nobody is asked for it. What no file says (a layer in a folder's
//! name, an orientation) is inferred, and every inference is a [`Decision`]. `docs/dictionaries.md` has the formats and their traps.

mod circuit_tracer;
mod dictionary_learning;
mod gemma_scope;
mod gemma_scope2;
mod hub;
mod llama_scope;
mod names;
mod npz;
mod parts;
mod pickle;
mod qwen_scope;
mod reading;
mod recognise;
mod saelens;
mod single_file;
mod source;
mod sparsify;
mod tensors;
mod zip;

use std::path::Path;

pub use reading::{Alternative, Content, Decision, Format, Opened, Reading};
pub use recognise::recognise;
pub use source::DictionarySource;

use crate::dictionary::Dictionary;
use crate::{Error, Result};
use recognise::Place;

/// Reads a source; one of the hub is looked for in Hugging Face's cache and not fetched ([`DictionarySource::fetch`] does that).
///
/// # Errors
/// A source that is not there or not of a format that is read; files that are damaged, incomplete or hold what no dictionary can: file,
/// tensor, expectation and remedy.
pub fn open(source: &DictionarySource) -> Result<Opened> {
    open_path(&source.locate()?)
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
        Format::GemmaScope => gemma_scope::read(&place),
        Format::GemmaScope2 => gemma_scope2::read(&place),
        Format::LlamaScope | Format::LlamaScopeR1 => llama_scope::read(&place),
        Format::QwenScope => qwen_scope::read(&place),
        Format::DictionaryLearning => dictionary_learning::read(&place),
        Format::Sparsify => sparsify::read(&place),
        Format::OpenAi | Format::Goodfire => single_file::read(&place),
        Format::TranscoderSet => circuit_tracer::read_set(&place),
        Format::CrossLayer => circuit_tracer::read_cross_layer(&place),
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
