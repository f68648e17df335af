//! Claims about features that people kept: `RUN/claims.json`. Like the notes they lie next to `features/`, which `sae index` replaces.
//!
//! A claim is one person's rule about one feature; the three together are its key. Files of several people merge: of two versions
//! of a claim the one that was changed last stays, and a withdrawn claim stays as withdrawn, so that merging does not bring it back.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::lock::wait_for_turn;
use crate::record::record;

/// The file's name.
pub const FILE: &str = "claims.json";
/// `format` of the file.
pub const FORMAT: &str = "sae-workbench claims";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;

record! {
    /// A rule that a person kept about a feature, and how it did. Feature, rule and author together tell claims apart.
    #[derive(Default)]
    Claim {
        /// Which feature.
        feature: u32,
        /// Where it is to fire, in the language of `sae claim`.
        rule: String,
        /// Who claims it; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        by: String,
        /// Any text.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
        /// How it did when it was kept; null where it applies to no token or to all.
        #[serde(default)]
        scores: Option<ClaimScores>,
        /// Places that speak against it: the strongest misses, then false alarms.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        counterexamples: Vec<ClaimPlace>,
        /// What changing features at places of the data did to the model.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        interventions: Vec<ClaimIntervention>,
        /// Whether its author looked at the documents that it was measured on before it was kept.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        looked: bool,
        /// Whether its author withdrew it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        withdrawn: bool,
        /// When it was changed last, seconds since 1970.
        #[serde(default)]
        changed: u64,
    }
}

record! {
    /// Scores of a claim on the documents that it was not made from.
    #[derive(Default, Copy)]
    ClaimScores {
        /// Documents that it was measured on.
        documents: u64,
        /// Tokens of these.
        tokens: u64,
        /// Seed of the choice of these documents.
        seed: u64,
        /// Tokens that the claim applies to and the feature fires on.
        hits: u64,
        /// Tokens that the feature fires on and the claim does not apply to.
        misses: u64,
        /// Tokens that the claim applies to and the feature does not fire on.
        false_alarms: u64,
        /// Share of the tokens it applies to that the feature fires on: value, lower and upper end of its 95 % interval.
        precision: [f64; 3],
        /// Share of the tokens the feature fires on that it applies to, likewise.
        recall: [f64; 3],
        /// 2 · precision · recall / (precision + recall), likewise.
        f1: [f64; 3],
        /// Pearson's correlation of the activation with what the claim predicts, likewise.
        correlation: [f64; 3],
    }
}

record! {
    /// A place that speaks against a claim.
    #[derive(Default, Copy)]
    ClaimPlace {
        /// Number of the document.
        document: u32,
        /// Position of the token in it.
        position: u32,
        /// The feature's activation there; 0 for a false alarm.
        value: f32,
    }
}

record! {
    /// A change of features at a place of the data, and what it did to the model's predictions there.
    #[derive(Default)]
    ClaimIntervention {
        /// Number of the document.
        document: u32,
        /// Position of the token that it is about.
        position: u32,
        /// What was done, in words: `ablate 34`.
        change: String,
        /// Tokens of the context that the model read.
        tokens: u64,
        /// KL(unchanged ‖ changed) of the predictions, nats per token, mean over the context.
        kl: f64,
        /// The same of random directions of the same length: mean, least and largest of the draws; null without draws.
        #[serde(default)]
        random_kl: Option<[f64; 3]>,
        /// Cross-entropy without and with the change, nats per token; null in a context of one token.
        #[serde(default)]
        loss: Option<[f64; 2]>,
        /// Cross-entropy with random directions: mean, least and largest.
        #[serde(default)]
        random_loss: Option<[f64; 3]>,
        /// Draws of random directions.
        draws: u64,
    }
}

impl Claim {
    /// What tells it apart from other claims.
    pub fn key(&self) -> (u32, &str, &str) {
        (self.feature, &self.rule, &self.by)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    format: String,
    version: u64,
    claims: Vec<Claim>,
}

/// The claims in the file at `path`, withdrawn ones included, by feature; none when there is no file.
///
/// # Errors
/// A file that cannot be read, does not hold claims, or is of a newer version.
pub fn read_file(path: &Path) -> Result<Vec<Claim>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut claims = read_versioned::<Claims>(path, FORMAT, VERSION)?.claims;
    claims.sort_by(|a, b| a.key().cmp(&b.key()));
    Ok(claims)
}

/// The claims of the run in `dir`, withdrawn ones included, by feature; none when there is no file.
///
/// # Errors
/// As [`read_file`].
pub fn read(dir: &Path) -> Result<Vec<Claim>> {
    read_file(&dir.join(FILE))
}

/// Keeps `claims` in the run in `dir`, next to those that are there, and gives back all. Of two versions of a claim the one that was
/// changed last stays.
///
/// # Errors
/// As [`read`]; a file that cannot be locked or written. A file that cannot be read is left as it is.
pub fn merge(dir: &Path, claims: &[Claim]) -> Result<Vec<Claim>> {
    let _lock = wait_for_turn(&dir.join(".claims.lock"))?;
    let mut all = read(dir)?;
    for claim in claims {
        match all.binary_search_by(|kept| kept.key().cmp(&claim.key())) {
            Ok(at) if newer(claim, &all[at]) => all[at] = claim.clone(),
            Ok(_) => {}
            Err(at) => all.insert(at, claim.clone()),
        }
    }
    let file = Claims { format: FORMAT.to_owned(), version: VERSION, claims: all };
    atomic::write_json(&dir.join(FILE), &file)?;
    Ok(file.claims)
}

/// Of claims that were changed in the same second, the withdrawn one counts as newer: the order of merging then does not matter.
fn newer(a: &Claim, b: &Claim) -> bool {
    (a.changed, a.withdrawn) > (b.changed, b.withdrawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(feature: u32, rule: &str, by: &str, changed: u64) -> Claim {
        Claim { feature, rule: rule.into(), by: by.into(), changed, ..Claim::default() }
    }

    #[test]
    fn claims_of_several_people_merge_in_any_order() {
        let ours = [claim(3, "token a", "ann", 5), claim(1, "token b", "ann", 5)];
        let gone = Claim { withdrawn: true, ..claim(3, "token a", "ann", 9) };
        let theirs = [gone.clone(), claim(3, "token a", "bob", 2)];
        let merged = |order: [&[Claim]; 2]| {
            let dir = tempfile::tempdir().unwrap();
            order.iter().for_each(|claims| drop(merge(dir.path(), claims).unwrap()));
            read(dir.path()).unwrap()
        };
        let expected = vec![claim(1, "token b", "ann", 5), gone, claim(3, "token a", "bob", 2)];
        assert_eq!(merged([&ours, &theirs]), expected);
        assert_eq!(merged([&theirs, &ours]), expected);
        assert_eq!(merged([&theirs, &theirs]).len(), 2, "merging a file twice changes nothing");
    }

    #[test]
    fn a_damaged_file_is_named_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, "{\"format\": \"sae-workbench claims\", \"version\": 1, \"claims\": [{")
            .unwrap();
        let error = merge(dir.path(), &[claim(1, "token a", "", 1)]).unwrap_err().to_string();
        assert!(error.contains("claims.json"), "{error}");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("[{"));
    }
}
