//! What the features that were surrounded have in common.

use std::collections::HashMap;
use std::sync::Arc;

use egui::{RichText, Ui};

use crate::data::{Columns, Number, TokenLists, Vocabulary};
use crate::theme::{palette, tokens::size};
use crate::widgets::{format, text};

/// Tokens that are said.
const SAID: usize = 6;
/// Tokens of each feature that count.
const OF_EACH: usize = 3;

/// A selection in a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Its features.
    pub features: usize,
    /// Those that never fired.
    pub dead: usize,
    /// The tokens that most of them fire on, with how many do.
    pub tokens: Vec<(u32, usize)>,
    /// The median density of those that fire.
    pub density: Option<f32>,
}

/// Sums up `features`.
pub fn sum_up(features: &[u32], columns: &Columns, lists: Option<&TokenLists>) -> Summary {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for feature in features.iter().filter(|f| !columns.dead(**f)) {
        for token in lists.map_or(&[][..], |lists| lists.fires_on.get(*feature)).iter().take(OF_EACH) {
            *counts.entry(*token).or_default() += 1;
        }
    }
    // What only one fires on is not in common.
    let mut tokens: Vec<(u32, usize)> = counts.into_iter().filter(|(_, n)| *n > 1).collect();
    tokens.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    tokens.truncate(SAID);
    let alive = features.iter().filter(|f| !columns.dead(**f));
    let mut densities: Vec<f32> = alive.map(|f| columns.get(Number::Density, *f)).collect();
    densities.sort_by(f32::total_cmp);
    Summary {
        features: features.len(),
        dead: features.len() - densities.len(),
        tokens,
        density: densities.get(densities.len() / 2).copied(),
    }
}

/// Draws the line.
pub fn show(ui: &mut Ui, summary: &Summary, vocabulary: Option<&Arc<Vocabulary>>) {
    let p = palette(ui);
    ui.horizontal_wrapped(|ui| {
        let mut words = format!("{} selected", format::grouped(summary.features as u64));
        if summary.dead > 0 {
            words += &format!(", {} dead", format::grouped(summary.dead as u64));
        }
        if let Some(density) = summary.density {
            words += &format!(", median density {}", format::percent(f64::from(density)));
        }
        if !summary.tokens.is_empty() {
            words += "; several fire most on";
        }
        ui.label(RichText::new(words).size(size::SMALL).color(p.text));
        for (token, features) in &summary.tokens {
            let shown = vocabulary.map_or_else(|| format!("‹{token}›"), |v| text::in_list(&v.show(*token)));
            let chip = RichText::new(shown).monospace().size(size::SMALL).color(p.strong);
            ui.label(chip.background_color(p.well)).on_hover_text(format!("{features} of them"));
            ui.label(RichText::new(features.to_string()).size(size::SMALL).color(p.weak));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::FeatureColumns;

    #[test]
    fn what_several_fire_on_is_in_common() {
        let mut lists = TokenLists::default();
        for tokens in [vec![5, 6, 7, 8], vec![6, 8], vec![9], vec![6, 5]] {
            lists.fires_on.push(tokens);
        }
        let numbers = FeatureColumns {
            count: vec![3, 1, 0, 2],
            density: vec![0.3, 0.1, 0.0, 0.2],
            ..FeatureColumns::default()
        };
        let columns = Columns { numbers, ..Columns::default() };
        let summary = sum_up(&[0, 1, 2, 3], &columns, Some(&lists));
        // Token 8 is the fourth of feature 0, and only three of each count.
        assert_eq!(summary.tokens, [(6, 3), (5, 2)]);
        assert_eq!((summary.features, summary.dead, summary.density), (4, 1, Some(0.2)));
        assert_eq!(sum_up(&[], &columns, None), Summary::default());
    }
}
