//! The features that are changed, a row each.

use egui::{
    Align, Button, ComboBox, DragValue, Label, Layout, Link, RichText, Role, Slider, TextEdit, Ui, WidgetInfo,
};

use crate::data::Columns;
use crate::prompt::{Change, Edit, Maximum, MaximumSource, Scope};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{facts, format};

/// Strengths that the slider reaches, in units of the feature's maximum.
const MOST: f32 = 4.0;

/// What is done to a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ablate,
    Clamp,
    Add,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Ablate, Self::Clamp, Self::Add];

    fn name(self) -> &'static str {
        match self {
            Self::Ablate => "ablate",
            Self::Clamp => "clamp",
            Self::Add => "add",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Ablate => "Take the feature out where it fires",
            Self::Clamp => "Hold its activation at this many times its maximum, whether it fires or not",
            Self::Add => "Add this many times its maximum to its activation",
        }
    }
}

#[derive(Clone, Debug)]
struct Row {
    feature: u32,
    kind: Kind,
    strength: f32,
    /// The one token that is changed; all when `None`.
    at: Option<usize>,
}

/// All rows.
#[derive(Debug, Default)]
pub struct Changes {
    rows: Vec<Row>,
    typed: String,
}

/// What the rows are shown with.
pub struct Panel<'a> {
    /// What a strength of 1 is, as far as the engine has said it.
    pub maxima: &'a [Maximum],
    /// The index.
    pub columns: Option<&'a Columns>,
    /// The token that is looked at.
    pub chosen: Option<usize>,
    /// Number of features.
    pub d_sae: usize,
    /// A feature in words.
    pub name: &'a dyn Fn(u32) -> String,
}

impl Changes {
    /// A row for `feature`, which adds its maximum once: a change that does nothing would only have to be changed again.
    pub fn add(&mut self, feature: u32) {
        if self.rows.iter().all(|row| row.feature != feature) {
            self.rows.push(Row { feature, kind: Kind::Add, strength: 1.0, at: None });
        }
    }

    /// A row that takes `feature` out, in place of all others.
    pub fn ablate_only(&mut self, feature: u32) {
        self.rows = vec![Row { feature, kind: Kind::Ablate, strength: 1.0, at: None }];
    }

    /// All rows change every token.
    pub fn everywhere(&mut self) {
        self.rows.iter_mut().for_each(|row| row.at = None);
    }

    /// What is done to a feature, in words.
    pub fn words(&self) -> String {
        let one = |row: &Row| {
            let strength = match row.kind {
                Kind::Ablate => String::new(),
                Kind::Clamp => format!(" at {:.2} × max", row.strength),
                Kind::Add => format!(" {:+.2} × max", row.strength).replace('-', "−"),
            };
            let place = row.at.map_or(String::new(), |_| ", one token".to_owned());
            format!("{} {}{strength}{place}", row.kind.name(), row.feature)
        };
        self.rows.iter().filter(|row| !row.is_idle()).map(one).collect::<Vec<_>>().join("; ")
    }

    /// Features with a row.
    pub fn features(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().map(|row| row.feature)
    }

    /// What the rows ask for; a row that adds nothing asks for nothing.
    pub fn active(&self) -> Vec<Change> {
        let change = |row: &Row| Change {
            feature: row.feature,
            edit: match row.kind {
                Kind::Ablate => Edit::Ablate,
                Kind::Clamp => Edit::Clamp(row.strength),
                Kind::Add => Edit::Add(row.strength),
            },
            at: row.at.map_or(Scope::Everywhere, |token| Scope::Tokens(vec![token])),
        };
        self.rows.iter().filter(|row| !row.is_idle()).map(change).collect()
    }

    /// Draws the rows; gives a feature whose page is wanted.
    pub fn show(&mut self, ui: &mut Ui, panel: &Panel<'_>) -> Option<u32> {
        facts::section(ui, "Changes");
        if self.rows.is_empty() {
            let how =
                "Change a feature to see its effect: enter its number here, or click + in a token's list.";
            ui.label(RichText::new(how).color(palette(ui).weak));
        }
        let (mut follow, mut gone) = (None, None);
        for (i, row) in self.rows.iter_mut().enumerate() {
            ui.push_id(("change", row.feature), |ui| {
                let (follows, removed) = row.show(ui, panel);
                follow = follow.or(follows.then_some(row.feature));
                if removed {
                    gone = Some(i);
                }
            });
            ui.add_space(space::S);
        }
        if let Some(i) = gone {
            self.rows.remove(i);
        }
        self.entry(ui, panel);
        follow
    }

    fn entry(&mut self, ui: &mut Ui, panel: &Panel<'_>) {
        ui.horizontal(|ui| {
            let field =
                TextEdit::singleline(&mut self.typed).hint_text("feature number").desired_width(150.0);
            let field = ui.add(field);
            field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Feature to change"));
            let entered = field.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter));
            let feature = self.typed.trim().parse::<u32>().ok().filter(|f| (*f as usize) < panel.d_sae);
            let button = ui.add_enabled(feature.is_some(), Button::new("Add"));
            button.widget_info(|| {
                WidgetInfo::labeled(Role::Button, feature.is_some(), "Add a change of this feature")
            });
            if let (true, Some(feature)) = (entered || button.clicked(), feature) {
                self.add(feature);
                self.typed.clear();
            }
            if feature.is_none() && !self.typed.trim().is_empty() {
                let range = format!("0 to {}", panel.d_sae.saturating_sub(1));
                ui.label(RichText::new(range).size(size::SMALL).color(palette(ui).error));
            }
        });
    }
}

impl Row {
    /// Whether it asks for nothing.
    fn is_idle(&self) -> bool {
        self.kind == Kind::Add && self.strength == 0.0
    }

    /// Whether its page is wanted, and whether the row is to go.
    fn show(&mut self, ui: &mut Ui, panel: &Panel<'_>) -> (bool, bool) {
        let p = palette(ui);
        let feature = self.feature;
        let (mut follow, mut gone) = (false, false);
        ui.horizontal(|ui| {
            let link = ui.add(Link::new(RichText::new(format!("{feature}")).strong()));
            link.widget_info(|| {
                WidgetInfo::labeled(Role::Link, true, format!("Page of changed feature {feature}"))
            });
            follow = link.on_hover_text("To the feature's page").clicked();
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let remove = ui.small_button("✕");
                remove.widget_info(|| {
                    WidgetInfo::labeled(Role::Button, true, format!("Remove the change of feature {feature}"))
                });
                gone = remove.on_hover_text("Remove this change").clicked();
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    let about = RichText::new((panel.name)(feature)).size(size::SMALL).color(p.weak);
                    ui.add(Label::new(about).truncate());
                });
            });
        });
        ui.horizontal(|ui| {
            for kind in Kind::ALL {
                let button = ui.add(Button::selectable(self.kind == kind, kind.name()));
                let name = format!("{} feature {feature}", kind.name());
                button
                    .widget_info(|| WidgetInfo::selected(Role::RadioButton, true, self.kind == kind, &name));
                if button.on_hover_text(kind.about()).clicked() {
                    self.kind = kind;
                }
            }
            self.place(ui, panel.chosen);
        });
        if self.kind != Kind::Ablate {
            ui.horizontal(|ui| {
                let slider = Slider::new(&mut self.strength, -MOST..=MOST).step_by(0.05).show_value(false);
                let slider = ui.add(slider);
                slider.widget_info(|| {
                    WidgetInfo::slider(
                        true,
                        f64::from(self.strength),
                        format!("Strength of feature {feature}"),
                    )
                });
                let number = DragValue::new(&mut self.strength).speed(0.01).max_decimals(2).suffix(" × max");
                let number = ui.add(number);
                number.widget_info(|| {
                    WidgetInfo::labeled(
                        Role::SpinButton,
                        true,
                        format!("Strength of feature {feature} as a number"),
                    )
                });
            });
            facts::caption(ui, self.unit(panel));
        }
        (follow, gone)
    }

    fn place(&mut self, ui: &mut Ui, chosen: Option<usize>) {
        let name = self.at.map_or_else(|| "all tokens".to_owned(), |token| format!("token {token}"));
        let combo = ComboBox::from_id_salt("at").selected_text(name).width(100.0);
        let shown = combo.show_ui(ui, |ui| {
            ui.selectable_value(&mut self.at, None, "all tokens");
            let one = self.at.or(chosen);
            for token in [one, chosen.filter(|_| chosen != one)].into_iter().flatten() {
                ui.selectable_value(&mut self.at, Some(token), format!("token {token}"));
            }
            if one.is_none() {
                ui.label(RichText::new("select a token to change it alone").color(palette(ui).weak));
            }
        });
        let name = format!("Where feature {} is changed", self.feature);
        shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, &name));
    }

    /// What a strength of 1 is.
    fn unit(&self, panel: &Panel<'_>) -> String {
        let said = panel.maxima.iter().find(|maximum| maximum.feature == self.feature);
        let indexed =
            panel.columns.and_then(|c| c.numbers.max.get(self.feature as usize)).filter(|max| **max > 0.0);
        match (said, indexed) {
            (Some(Maximum { value, of: MaximumSource::Text, .. }), _) => {
                format!(
                    "1 is {}, its maximum on this text, as the run has no index",
                    format::value(f64::from(*value))
                )
            }
            (Some(Maximum { value, .. }), _) | (None, Some(value)) => {
                format!("1 is {}, its maximum in the index", format::value(f64::from(*value)))
            }
            (None, None) => "1 is its maximum".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_asks_for_what_it_says() {
        let mut changes = Changes::default();
        changes.add(3);
        changes.add(3);
        assert_eq!(changes.features().collect::<Vec<_>>(), [3]);
        assert_eq!(changes.active()[0].edit, Edit::Add(1.0), "a new row does something at once");
        changes.rows[0].strength = 0.0;
        assert_eq!((changes.active(), changes.words()), (vec![], String::new()));
        changes.rows[0].strength = 1.5;
        changes.rows[0].at = Some(2);
        let change = Change { feature: 3, edit: Edit::Add(1.5), at: Scope::Tokens(vec![2]) };
        assert_eq!(changes.active(), [change]);
        assert_eq!(changes.words(), "add 3 +1.50 × max, one token");
        changes.everywhere();
        assert_eq!(changes.active()[0].at, Scope::Everywhere);
        changes.rows[0].kind = Kind::Ablate;
        changes.rows[0].at = None;
        assert_eq!(changes.active(), [Change { feature: 3, edit: Edit::Ablate, at: Scope::Everywhere }]);
        changes.rows[0].kind = Kind::Clamp;
        changes.rows[0].strength = 0.0;
        assert_eq!(changes.active()[0].edit, Edit::Clamp(0.0), "held at nothing is a change");
    }
}
