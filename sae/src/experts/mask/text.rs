//! The documents that a mask is measured on, and those that experts are chosen by.

use std::collections::BTreeSet;

use storage::schema::DOCUMENTS;

use crate::Result;
use crate::experts::rescore::documents;
use crate::experts::routing::Source;

/// Documents to measure.
#[derive(Debug, Clone, Default)]
pub struct Text {
    /// Their tokens.
    pub documents: Vec<(u32, Vec<u32>)>,
    /// Whether they are held out: every domain has held-out documents and others.
    pub held_out: bool,
    /// Held-out documents of the dataset.
    pub marked: BTreeSet<u32>,
    /// What is not measured, and why.
    pub gaps: Vec<String>,
}

/// The held-out documents if every domain has some and also others, up to `tokens` tokens per domain.
///
/// # Errors
/// Documents or tokens that cannot be read, a document without a domain.
pub fn text(source: &Source, tokens: u64) -> Result<Text> {
    let rows = storage::documents::read(&source.dataset().table(DOCUMENTS)?)?;
    let marked: BTreeSet<u32> = rows.iter().filter(|row| row.held_out).map(|row| row.document).collect();
    let all = documents(source)?;
    let domains = source.domains();
    // [marked, not marked] of every domain that has any tokens.
    let mut kinds = vec![[false; 2]; domains.len()];
    for (document, _) in &all {
        kinds[source.domain_of(*document)?][usize::from(!marked.contains(document))] = true;
    }
    let held_out = kinds.iter().filter(|of| of.contains(&true)).all(|of| of[0] && of[1]);
    let mut room = vec![tokens; domains.len()];
    let mut text = Text { held_out, marked, ..Text::default() };
    for (document, mut of) in all {
        let domain = source.domain_of(document)?;
        if (held_out && !text.marked.contains(&document)) || room[domain] == 0 {
            continue;
        }
        of.truncate(usize::try_from(room[domain]).unwrap_or(usize::MAX));
        room[domain] -= of.len() as u64;
        text.documents.push((document, of));
    }
    for (domain, _) in domains.iter().zip(&room).filter(|(_, left)| **left == tokens) {
        text.gaps.push(format!("domain {domain} has no tokens: not measured"));
    }
    if !held_out {
        text.gaps.push(
            "not every domain has held-out documents and others: experts are chosen by, and losses measured on, all documents"
                .into(),
        );
    }
    Ok(text)
}
