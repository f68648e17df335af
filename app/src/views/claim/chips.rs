//! A rule as chips that are edited, and as the text that they stand for.

use egui::{Button, Frame, Margin, Popup, PopupCloseBehavior, RichText, Role, TextEdit, Ui, WidgetInfo};

use crate::claims::{Condition, Rule};
use crate::theme::{palette, space, tokens::RADIUS, tokens::size};
use crate::widgets::rule;

/// Conditions that can be begun from the menu: what it says, and what is written.
const CONDITIONS: [(&str, &str); 9] = [
    ("is one of the tokens…", "token "),
    ("comes directly after…", "after "),
    ("comes directly before…", "before "),
    ("within 5 tokens of…", "within 5 of "),
    ("in a text of the domain…", "domain "),
    ("token matches a regular expression…", "token /"),
    ("text matches a regular expression…", "text /"),
    ("in the documents…", "documents 0-"),
    ("at the positions…", "position 0-"),
];

/// A claim that is being edited.
#[derive(Debug, Default)]
pub struct Editor {
    /// The rule as it is typed.
    pub text: String,
    /// What it reads as, of the text that was read last.
    read: Option<(String, Result<Rule, String>)>,
    /// The condition that is edited in a chip, as it is typed.
    chip: Option<(usize, String)>,
    /// Whether the cursor is to be put into the field.
    focus: bool,
}

impl Editor {
    /// What the text reads as; the error says where it is not a rule.
    pub fn rule(&mut self) -> Result<&Rule, &str> {
        if self.read.as_ref().is_none_or(|(text, _)| *text != self.text) {
            let rule = Rule::parse(&self.text).map_err(|error| match error.remedy() {
                Some(remedy) => error.to_string().trim_end_matches(remedy).trim_end_matches("; ").to_owned(),
                None => error.to_string(),
            });
            self.read = Some((self.text.clone(), rule));
        }
        match &self.read {
            Some((_, Ok(rule))) => Ok(rule),
            Some((_, Err(error))) => Err(error),
            None => Err(""),
        }
    }

    /// Adds a condition to the rule: by `or` for one more case, by `and` for one more demand.
    pub fn add(&mut self, or: bool, condition: &str) {
        let word = if or { " or " } else { " and " };
        let all = match self.rule() {
            // What is there stays together.
            Ok(rule) => {
                let bracketed = match (rule, or) {
                    (Rule::Any(_), false) => format!("({rule})"),
                    _ => rule.to_string(),
                };
                format!("{bracketed}{word}{condition}")
            }
            Err(_) => condition.to_owned(),
        };
        self.text = all;
    }

    /// Draws chips and text.
    pub fn show(&mut self, ui: &mut Ui) {
        let p = palette(ui);
        Frame::new()
            .fill(p.well)
            .stroke(egui::Stroke::new(1.0, p.line))
            .corner_radius(RADIUS)
            .inner_margin(Margin::symmetric(space::M as i8, space::S as i8))
            .show(ui, |ui| {
                ui.set_width(ui.available_width());
                self.chips(ui);
                self.field(ui);
            });
    }

    fn chips(&mut self, ui: &mut Ui) {
        let Ok(rule) = self.rule().cloned() else { return };
        let Some((or, conditions)) = rule.flat() else {
            ui.horizontal_wrapped(|ui| rule::show(ui, &rule.words(), size::BODY));
            return;
        };
        let mut conditions: Vec<(bool, Condition)> =
            conditions.into_iter().map(|(not, condition)| (not, condition.clone())).collect();
        let (mut joined_by_or, mut changed) = (or, false);
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = egui::vec2(space::XS, space::XS);
            let mut at = 0;
            while at < conditions.len() {
                if at > 0 {
                    let word = RichText::new(if or { "or" } else { "and" }).color(palette(ui).weak);
                    let button = ui.add(Button::new(word).frame(false));
                    let name = format!(
                        "{}: change to {}",
                        if or { "or" } else { "and" },
                        if or { "and" } else { "or" }
                    );
                    button.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
                    if button.on_hover_text("Click to change between `and` and `or`").clicked() {
                        (joined_by_or, changed) = (!or, true);
                    }
                }
                match self.chip(ui, at, &mut conditions[at]) {
                    Edited::No => at += 1,
                    Edited::Changed => {
                        changed = true;
                        at += 1;
                    }
                    Edited::Removed => {
                        conditions.remove(at);
                        changed = true;
                    }
                }
            }
            self.menu(ui);
        });
        if changed {
            self.text = Rule::of(joined_by_or, conditions).map(|rule| rule.to_string()).unwrap_or_default();
            self.chip = None;
        }
    }

    fn chip(&mut self, ui: &mut Ui, at: usize, of: &mut (bool, Condition)) -> Edited {
        let p = palette(ui);
        let words = format!("{}{}", if of.0 { "not " } else { "" }, of.1.words());
        let mut edited = Edited::No;
        ui.push_id(("chip", at), |ui| {
            let shown = rule::short(&words, 60);
            let color = if of.0 { p.warning } else { p.strong };
            let chip = ui.add(Button::new(RichText::new(shown).color(color)).fill(p.control));
            chip.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Condition: {words}")));
            Popup::menu(&chip).close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
                ui.set_min_width(260.0);
                if self.chip.as_ref().is_none_or(|(of, _)| *of != at) {
                    self.chip = Some((at, of.1.to_string()));
                }
                let Some((_, text)) = &mut self.chip else { return };
                let field = ui.add(TextEdit::singleline(text).font(egui::TextStyle::Monospace));
                field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Condition"));
                match Rule::parse(text) {
                    Ok(Rule::Is(condition)) if condition != of.1 => {
                        if ui.button("Apply").clicked() || ui.input(|i| i.key_pressed(egui::Key::Enter)) {
                            of.1 = condition;
                            edited = Edited::Changed;
                            ui.close();
                        }
                    }
                    Ok(Rule::Is(_)) => {}
                    _ => {
                        ui.label(RichText::new("not one condition").color(p.error));
                    }
                }
                if ui.checkbox(&mut of.0, "not").changed() {
                    edited = Edited::Changed;
                }
                if ui.button("Remove").clicked() {
                    edited = Edited::Removed;
                    ui.close();
                }
            });
            let remove = ui.add(Button::new(RichText::new("×").color(p.weak)).frame(false));
            remove.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Remove {words}")));
            if remove.on_hover_text("Remove this condition").clicked() {
                edited = Edited::Removed;
            }
        });
        edited
    }

    /// The menu of conditions; what is chosen is begun in the field.
    fn menu(&mut self, ui: &mut Ui) {
        let more = ui.button("+ condition");
        Popup::menu(&more).show(|ui| {
            for (name, begun) in CONDITIONS {
                if ui.button(name).clicked() {
                    if !self.text.trim().is_empty() {
                        self.text.push_str(" and ");
                    }
                    self.text.push_str(begun);
                    self.focus = true;
                    ui.close();
                }
            }
        });
    }

    fn field(&mut self, ui: &mut Ui) {
        let p = palette(ui);
        let field = TextEdit::singleline(&mut self.text)
            .font(egui::TextStyle::Monospace)
            .desired_width(f32::INFINITY)
            .hint_text("token court and not after the");
        let output = field.show(ui);
        output.response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Rule of the claim"));
        if std::mem::take(&mut self.focus) {
            output.response.request_focus();
            let mut state = output.state;
            let end = egui::text::CCursor::new(self.text.chars().count());
            state.cursor.set_char_range(Some(egui::text::CCursorRange::one(end)));
            state.store(ui.ctx(), output.response.id);
        }
        if self.text.trim().is_empty() {
            let hint = "A claim: where does this feature fire? Every edit is tested over all tokens.";
            ui.label(RichText::new(hint).size(size::SMALL).color(p.weak));
        } else if let Err(error) = self.rule() {
            ui.label(RichText::new(error).size(size::SMALL).color(p.error));
        }
    }
}

enum Edited {
    No,
    Changed,
    Removed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_added_to_the_whole_rule() {
        let mut editor = Editor::default();
        editor.add(false, "token a");
        assert_eq!(editor.text, "token a");
        editor.add(true, "token b");
        editor.add(false, "not after c");
        assert_eq!(editor.text, "(token a or token b) and not after c");
        assert!(editor.rule().is_ok());
        editor.text.push_str(" and");
        assert!(editor.rule().unwrap_err().contains("character 41"), "{:?}", editor.rule());
    }
}
