//! What names of repositories and folders say about a dictionary that no file in them says.

use std::path::{Component, Path};

/// Folders of a path that may mean something.
const DEEP: usize = 8;

/// The name of a source: the end of its path, with the hub's cache written as the hub writes it, parts separated by `/`.
pub(super) fn origin(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut parts: Vec<String> = whole
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    if let Some(at) = parts.iter().rposition(|part| part.starts_with("models--")) {
        let repository = parts[at]["models--".len()..].replace("--", "/");
        let inside = if parts.get(at + 1).is_some_and(|part| part == "snapshots") { at + 3 } else { at + 1 };
        let inside: Vec<String> = parts.drain(inside.min(parts.len())..).collect();
        parts = repository.split('/').map(str::to_owned).chain(inside).collect();
    }
    let first = parts.len().saturating_sub(DEEP);
    parts[first..].join("/")
}

/// The number after the last occurrence of `word` that has one: `number_after("layer_12/width_16k", "layer_")` is 12.
pub(super) fn number_after(text: &str, word: &str) -> Option<usize> {
    text.rmatch_indices(word).find_map(|(at, _)| {
        let rest = &text[at + word.len()..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest[..digits].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_read_as_the_hub_writes_it() {
        let path = Path::new(
            "/home/a/.cache/huggingface/hub/models--google--gemma-scope-2b-pt-res/snapshots/0123ab/layer_3/x",
        );
        assert_eq!(origin(path), "google/gemma-scope-2b-pt-res/layer_3/x");
        assert_eq!(origin(Path::new("/a/b")), "a/b");
    }

    #[test]
    fn numbers_are_found_behind_words() {
        assert_eq!(number_after("layer_12/width_16k/average_l0_82", "layer_"), Some(12));
        assert_eq!(number_after("layer_12/average_l0_82", "average_l0_"), Some(82));
        assert_eq!(number_after("embedding/width_4k", "layer_"), None);
        assert_eq!(number_after("player_of_layer_7", "layer_"), Some(7));
    }
}
