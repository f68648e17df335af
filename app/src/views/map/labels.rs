//! Words at the points of a map, where few enough are in view to be read.

use egui::{Align2, FontId, Pos2, Rect, Ui, vec2};

use crate::data::Points;
use crate::stores::RunStore;
use crate::theme::{palette, tokens::size};
use crate::views::features::name_of;
use crate::widgets::{rule, text};

/// Characters of a name.
const LONG: usize = 28;
/// Tokens that stand for a feature without a name.
const TOKENS: usize = 3;

/// What a feature is called, else the tokens that it fires on most, else its number.
fn words(store: &RunStore, feature: u32) -> String {
    if let Some(name) = name_of(store, feature) {
        return rule::short(&name, LONG);
    }
    let (Some(lists), Some(vocabulary)) = (store.tokens.value(), store.vocabulary.value()) else {
        return feature.to_string();
    };
    let tokens = lists.fires_on.get(feature).iter().take(TOKENS);
    let tokens: Vec<String> = tokens.map(|token| text::in_list(&vocabulary.show(*token))).collect();
    if tokens.is_empty() { feature.to_string() } else { tokens.join(" ") }
}

/// Draws them inside `rect`; one that would lie over another is left out.
pub fn show(ui: &Ui, rect: Rect, few: &[(usize, Pos2)], points: &Points, store: &RunStore) {
    let p = palette(ui);
    let painter = ui.painter().with_clip_rect(rect);
    let mut taken: Vec<Rect> =
        few.iter().map(|(_, at)| Rect::from_center_size(*at, vec2(6.0, 6.0))).collect();
    for (i, at) in few {
        let Some(feature) = points.features.get(*i) else { continue };
        let font = FontId::proportional(size::SMALL);
        let galley = painter.layout_no_wrap(words(store, *feature), font, p.text);
        let place = Align2::LEFT_CENTER.anchor_size(*at + vec2(7.0, 0.0), galley.size());
        let own = Rect::from_center_size(*at, vec2(6.0, 6.0));
        if taken.iter().any(|other| *other != own && other.intersects(place)) {
            continue;
        }
        painter.galley(place.min, galley, p.text);
        taken.push(place);
    }
}
