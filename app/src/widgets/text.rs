//! How tokens are written, in lists and in running text.

/// What a token without text shows as.
pub const NOTHING: &str = "∅";

/// A token in a list: spaces at its ends and control characters made visible.
pub fn in_list(text: &str) -> String {
    if text.is_empty() {
        return NOTHING.to_owned();
    }
    let visible = in_line(text);
    let inner = visible.trim_matches(' ');
    if inner.is_empty() {
        return "·".repeat(visible.chars().count());
    }
    let before = visible.len() - visible.trim_start_matches(' ').len();
    let after = visible.len() - visible.trim_end_matches(' ').len();
    format!("{}{inner}{}", "·".repeat(before), "·".repeat(after))
}

/// A token in running text: line ends and tabs as signs, other control characters as boxes.
pub fn in_line(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => '↵',
            '\r' => '←',
            '\t' => '→',
            c if c.is_control() || is_format(c) => '·',
            c => c,
        })
        .collect()
}

/// What stands next to text that egui cannot set as its readers write it.
pub const RIGHT_TO_LEFT: &str =
    "Right-to-left text: tokens stand in their order, from left to right, and Arabic letters are not joined.";

/// Whether a text has letters of scripts that are written from right to left.
pub fn is_right_to_left(text: &str) -> bool {
    text.chars().any(|c| {
        matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
    })
}

/// Characters that turn or hide their surroundings; shown, so that text cannot lie about itself.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_from_right_to_left_are_known() {
        assert!(is_right_to_left("say שלום") && is_right_to_left("سلام"));
        assert!(!is_right_to_left("Grüße, 世界, привет, ∀x ∈ ℝ") && !is_right_to_left(""));
    }

    #[test]
    fn spaces_and_control_characters_are_seen() {
        assert_eq!(in_list(" the"), "·the");
        assert_eq!(in_list("  "), "··");
        assert_eq!(in_list("a b "), "a b·");
        assert_eq!(in_list(""), "∅");
        assert_eq!(in_line("x\n\ty"), "x↵→y");
        assert_eq!(in_line("a\u{202e}b\0"), "a·b·");
    }
}
