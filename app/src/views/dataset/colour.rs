//! How the text is coloured: by the expert that each token goes to, or by features.

use std::collections::HashMap;
use std::path::PathBuf;

use egui::{Button, Color32, ComboBox, RichText, Role, TextEdit, Ui, WidgetInfo};

use super::page::Page;
use crate::data::codes::TokenCodes;
use crate::data::{Columns, LayerRouting};
use crate::theme::{Palette, palette, space, tokens::size};
use crate::widgets::{facts, format};

/// Features that can colour the text at once: as many as there are colours for them.
const MOST: usize = 8;
/// Experts of the page that the legend names.
const NAMED: usize = 14;

/// What the colours say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColourSource {
    /// Nothing.
    #[default]
    Nothing,
    /// The strongest expert of each token, as strong as its weight.
    Experts,
    /// The chosen features.
    Features,
}

/// The choice of colours.
#[derive(Clone, Debug, Default)]
pub struct Colour {
    /// What they say.
    pub by: ColourSource,
    /// The block, for experts; the first there is when `None`.
    pub layer: Option<u16>,
    /// One expert alone, by its weight.
    pub only: Option<u32>,
    /// The run whose features are shown; the first that was indexed on this dataset when `None`.
    pub run: Option<PathBuf>,
    /// The chosen features.
    pub features: Vec<u32>,
    typed: String,
}

impl Colour {
    /// Takes a feature among those that colour the text, or out of them.
    pub fn toggle(&mut self, feature: u32) {
        if let Some(at) = self.features.iter().position(|f| *f == feature) {
            self.features.remove(at);
        } else {
            self.features.push(feature);
            let surplus = self.features.len().saturating_sub(MOST);
            self.features.drain(..surplus);
            self.by = ColourSource::Features;
        }
    }

    /// The choice between experts and features.
    pub fn choose(&mut self, ui: &mut Ui, has_routing: bool, has_runs: bool) {
        facts::caption(ui, "colour by");
        for (by, name, can, why) in [
            (ColourSource::Nothing, "nothing", true, ""),
            (
                ColourSource::Experts,
                "experts",
                has_routing,
                "This dataset has no routing table: harvest with --routing",
            ),
            (
                ColourSource::Features,
                "features",
                has_runs,
                "No run of this folder was indexed on this dataset",
            ),
        ] {
            let button = ui.add_enabled(can, Button::selectable(self.by == by, name));
            button.widget_info(|| {
                WidgetInfo::selected(Role::RadioButton, can, self.by == by, format!("Colour by {name}"))
            });
            let button = if can { button } else { button.on_disabled_hover_text(why) };
            if button.clicked() {
                self.by = by;
            }
        }
    }

    /// The line below the choice: which layer and experts, or which features. Gives an expert to open.
    pub fn details(
        &mut self,
        ui: &mut Ui,
        page: &Page,
        names: &dyn Fn(u32) -> Option<String>,
    ) -> Option<(u16, u32)> {
        match self.by {
            ColourSource::Nothing => None,
            ColourSource::Experts => self.experts(ui, page),
            ColourSource::Features => {
                self.feature_chips(ui, names);
                None
            }
        }
    }

    fn experts(&mut self, ui: &mut Ui, page: &Page) -> Option<(u16, u32)> {
        let routing = page.routing()?.ok()?;
        let layer =
            self.layer.filter(|l| routing.layer(*l).is_some()).or(routing.layers.first().map(|l| l.layer))?;
        let mut open = None;
        ui.horizontal_wrapped(|ui| {
            let combo = ComboBox::from_id_salt("layer").selected_text(format!("layer {layer}")).width(84.0);
            let shown = combo.show_ui(ui, |ui| {
                for one in &routing.layers {
                    ui.selectable_value(&mut self.layer, Some(one.layer), format!("layer {}", one.layer));
                }
            });
            shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Layer of the colours"));
            let Some(choices) = routing.layer(layer) else { return };
            let mut counts: Vec<(u32, usize)> =
                (0u32..).zip(choices.firsts()).filter(|(_, count)| *count > 0).collect();
            counts.sort_by_key(|(expert, count)| (std::cmp::Reverse(*count), *expert));
            let more = counts.len().saturating_sub(NAMED);
            for (expert, count) in counts.into_iter().take(NAMED) {
                self.expert_chip(ui, layer, expert, count, choices.len());
            }
            if more > 0 {
                facts::caption(ui, format!("and {more} more"));
            }
            if let Some(expert) = self.only {
                if ui.link(format!("Open expert {layer}:{expert}")).clicked() {
                    open = Some((layer, expert));
                }
                if ui.small_button("All experts").clicked() {
                    self.only = None;
                }
            }
        });
        open
    }

    fn expert_chip(&mut self, ui: &mut Ui, layer: u16, expert: u32, count: usize, of: usize) {
        let p = palette(ui);
        let alone = self.only == Some(expert);
        let strength = if self.only.is_none() || alone { 1.0 } else { 0.1 };
        let text = RichText::new(expert.to_string()).size(size::SMALL).color(p.strong);
        let chip = Button::new(text).fill(p.kind(expert as usize, strength)).min_size(egui::vec2(28.0, 20.0));
        let response = ui.add(chip);
        response.widget_info(|| {
            WidgetInfo::selected(Role::Button, true, alone, format!("Expert {layer}:{expert} alone"))
        });
        let share = format::percent(count as f64 / of.max(1) as f64);
        let hover = format!(
            "Expert {expert} is the strongest for {} of {} tokens of this page, {share}.\nClick to see it alone.",
            format::grouped(count as u64),
            format::grouped(of as u64)
        );
        if response.on_hover_text(hover).clicked() {
            self.only = if alone { None } else { Some(expert) };
        }
    }

    fn feature_chips(&mut self, ui: &mut Ui, names: &dyn Fn(u32) -> Option<String>) {
        let p = palette(ui);
        ui.horizontal_wrapped(|ui| {
            let mut removed = None;
            for (i, feature) in self.features.iter().enumerate() {
                let text = RichText::new(format!("{feature} ×")).size(size::SMALL).color(p.strong);
                let chip = ui.add(Button::new(text).fill(p.kind(i, 1.0)));
                chip.widget_info(|| {
                    WidgetInfo::labeled(Role::Button, true, format!("Remove colour of feature {feature}"))
                });
                let hover = names(*feature).unwrap_or_else(|| format!("feature {feature}"));
                if chip.on_hover_text(format!("{hover}\nClick to take it away.")).clicked() {
                    removed = Some(*feature);
                }
            }
            if let Some(feature) = removed {
                self.toggle(feature);
            }
            let field = ui
                .add(TextEdit::singleline(&mut self.typed).hint_text("feature number").desired_width(108.0));
            field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Add a feature to the colours"));
            if field.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter)) {
                let typed = std::mem::take(&mut self.typed);
                for number in typed.split([',', ' ', ';']).filter_map(|n| n.trim().parse().ok()) {
                    if !self.features.contains(&number) {
                        self.toggle(number);
                    }
                }
            }
            if self.features.is_empty() {
                ui.add_space(space::XS);
                facts::caption(ui, "or click a token and tick its features at the right");
            }
        });
    }

    /// The grounds of the tokens from position `start` on.
    pub fn grounds(
        &self,
        p: &Palette,
        page: &Page,
        start: u32,
        tokens: usize,
        columns: Option<&Columns>,
    ) -> Vec<Color32> {
        match self.by {
            ColourSource::Nothing => Vec::new(),
            ColourSource::Experts => {
                let routing = page.routing().and_then(Result::ok);
                let layer = routing
                    .as_ref()
                    .and_then(|r| self.layer.and_then(|layer| r.layer(layer)).or_else(|| r.layers.first()));
                layer.map_or_else(Vec::new, |layer| by_expert(p, layer, self.only, tokens))
            }
            ColourSource::Features => {
                let codes = page.codes().and_then(Result::ok);
                let grounds =
                    codes.map(|codes| by_feature(p, &codes, &self.features, start, tokens, columns));
                grounds.unwrap_or_default()
            }
        }
    }
}

fn by_expert(p: &Palette, layer: &LayerRouting, only: Option<u32>, tokens: usize) -> Vec<Color32> {
    (0..tokens)
        .map(|i| {
            let (experts, weights) = layer.at(i);
            let place = match only {
                Some(expert) => experts.iter().position(|e| *e == expert),
                None => (!experts.is_empty()).then_some(0),
            };
            place.map_or(Color32::TRANSPARENT, |at| p.kind(experts[at] as usize, weights[at]))
        })
        .collect()
}

/// Where several of them fire on a token, the one that is strongest against its own maximum colours it.
fn by_feature(
    p: &Palette,
    codes: &TokenCodes,
    features: &[u32],
    start: u32,
    tokens: usize,
    columns: Option<&Columns>,
) -> Vec<Color32> {
    let places: HashMap<u32, usize> = features.iter().copied().zip(0..).collect();
    // Without the table's maxima, the largest value of the page is full.
    let largest = |feature: u32| {
        let of_all =
            columns.and_then(|c| c.numbers.max.get(feature as usize)).copied().filter(|max| *max > 0.0);
        of_all.unwrap_or_else(|| {
            let own = codes.features.iter().zip(&codes.values).filter(|(f, _)| **f == feature);
            own.map(|(_, value)| *value).fold(f32::MIN_POSITIVE, f32::max)
        })
    };
    let largest: Vec<f32> = features.iter().map(|f| largest(*f)).collect();
    (start..start + tokens as u32)
        .map(|position| {
            let Some((firing, values)) = codes.at(position) else { return Color32::TRANSPARENT };
            let chosen = firing.iter().zip(values).filter_map(|(f, v)| {
                let place = *places.get(f)?;
                Some((place, v / largest[place]))
            });
            let best = chosen.max_by(|a, b| a.1.total_cmp(&b.1));
            best.map_or(Color32::TRANSPARENT, |(place, share)| p.kind(place, share.sqrt()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::tokens::of;

    #[test]
    fn the_strongest_of_the_chosen_features_colours_a_token() {
        let p = of(egui::Theme::Dark);
        let codes = TokenCodes {
            positions: vec![5, 6, 8],
            ends: vec![2, 2, 3],
            features: vec![1, 4, 4],
            values: vec![1.0, 3.0, 4.0],
        };
        let max = vec![0.0, 2.0, 0.0, 0.0, 4.0];
        let numbers = crate::data::FeatureColumns { max, ..Default::default() };
        let columns = Columns { numbers, ..Columns::default() };
        let grounds = by_feature(p, &codes, &[4, 1], 5, 4, Some(&columns));
        // 4 has three quarters of its maximum, 1 half of its own.
        assert_eq!(grounds[0], p.kind(0, 0.75f32.sqrt()));
        assert_eq!(grounds[1..3], [Color32::TRANSPARENT; 2]);
        assert_eq!(grounds[3], p.kind(0, 1.0));
        assert_eq!(by_feature(p, &codes, &[1], 5, 1, None), [p.kind(0, 1.0)]);
    }

    #[test]
    fn experts_colour_by_their_weight_and_alone_when_asked() {
        let p = of(egui::Theme::Light);
        let mut layer = LayerRouting::default();
        layer.push(&[3, 1], &[0.75, 0.25]);
        layer.push(&[], &[]);
        assert_eq!(by_expert(p, &layer, None, 2), [p.kind(3, 0.75), Color32::TRANSPARENT]);
        assert_eq!(by_expert(p, &layer, Some(1), 2), [p.kind(1, 0.25), Color32::TRANSPARENT]);
        assert_eq!(by_expert(p, &layer, Some(2), 1), [Color32::TRANSPARENT]);
    }

    #[test]
    fn features_are_taken_in_and_out_and_the_oldest_makes_room() {
        let mut colour = Colour::default();
        (0..9).for_each(|f| colour.toggle(f));
        assert_eq!((colour.features.len(), colour.features[0], colour.by), (8, 1, ColourSource::Features));
        colour.toggle(4);
        assert!(!colour.features.contains(&4));
    }
}
