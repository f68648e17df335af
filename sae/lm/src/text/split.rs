//! Which names of splits mean "not for training".

use std::path::Path;

const TRAIN: [&str; 2] = ["train", "training"];
const HELD_OUT: [&str; 11] = [
    "test",
    "testing",
    "valid",
    "validation",
    "val",
    "dev",
    "development",
    "eval",
    "evaluation",
    "heldout",
    "holdout",
];

/// Whether a split of this name is held out; None if the name is not a usual one.
///
/// ```
/// # use lm::text::held_out;
/// assert_eq!(held_out("Validation"), Some(true));
/// assert_eq!(held_out("held_out"), Some(true));
/// assert_eq!(held_out("train"), Some(false));
/// assert_eq!(held_out("random"), None);
/// ```
pub fn held_out(name: &str) -> Option<bool> {
    let plain: String =
        name.trim().to_lowercase().chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect();
    let known = |names: &[&str]| names.contains(&plain.as_str());
    if known(&TRAIN) {
        Some(false)
    } else if known(&HELD_OUT) {
        Some(true)
    } else {
        None
    }
}

/// What the name of a file says without its endings: `test.jsonl`, `validation-00000-of-00001.parquet`,
/// `wiki.test.txt`.
pub(super) fn of_file(path: &Path) -> Option<bool> {
    let name = path.file_name()?.to_string_lossy();
    let stem = name.split('.').collect::<Vec<_>>();
    let packed = stem.last().is_some_and(|end| matches!(*end, "gz" | "zst" | "zstd"));
    let endings = (1 + usize::from(packed)).min(stem.len() - 1);
    let stem = &stem[..stem.len() - endings];
    let parts: Vec<&str> = stem.iter().flat_map(|part| part.split(['-', '_', ' '])).collect();
    let [first, .., last] = parts.as_slice() else { return parts.first().and_then(|only| held_out(only)) };
    let two = |a: &str, b: &str| held_out(&format!("{a}{b}")).filter(|_| held_out(a).is_none());
    let [.., before, _] = parts.as_slice() else { return None };
    held_out(first).or_else(|| held_out(last)).or_else(|| two(first, parts[1])).or_else(|| two(before, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_is_known() {
        for name in [
            "test",
            "Testing",
            "val",
            "VALID",
            "validation",
            "dev",
            "eval",
            "held-out",
            "held_out",
            "hold out",
        ] {
            assert_eq!(held_out(name), Some(true), "{name}");
        }
        for name in ["train", "Training"] {
            assert_eq!(held_out(name), Some(false), "{name}");
        }
        for name in ["", "testament", "unseen", "0"] {
            assert_eq!(held_out(name), None, "{name}");
        }
    }

    #[test]
    fn names_of_files_say_it_first_or_last() {
        let of = |name: &str| of_file(Path::new(name));
        for name in [
            "test.jsonl",
            "validation-00000-of-00001.parquet",
            "wiki.test.txt",
            "c4_valid.jsonl.gz",
            "held_out.txt",
        ] {
            assert_eq!(of(name), Some(true), "{name}");
        }
        assert_eq!(of("train-00000-of-00004.parquet"), Some(false));
        for name in ["latest.txt", "my_test_notes.txt", "book.txt", "a-b.jsonl"] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
