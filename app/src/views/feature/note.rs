//! What the person says about a feature: name, text, bookmark. Typed words are kept when the cursor leaves
//! the field, when another feature is shown, and after a second of rest.

use egui::{Role, TextEdit, Ui, WidgetInfo};

use crate::data::Notes;
use crate::data::notes::{Change, Edit};
use crate::theme::palette;

/// Seconds of rest after which typed words are kept.
const REST: f64 = 1.0;

/// Words that are being typed.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    feature: u32,
    label: Field,
    text: Field,
}

#[derive(Clone, Debug, Default)]
struct Field {
    words: String,
    /// When the last letter was typed; `None`: nothing new.
    typed: Option<f64>,
}

impl Field {
    /// What to keep now, if anything.
    fn take(&mut self, now: f64, at_once: bool) -> Option<String> {
        let due = self.typed.is_some_and(|typed| at_once || now - typed >= REST);
        if due {
            self.typed = None;
        }
        due.then(|| self.words.trim().to_owned())
    }

    /// Follows the notes while nothing is typed.
    fn follow(&mut self, words: &str, focused: bool) {
        if self.typed.is_none() && !focused && self.words != words {
            words.clone_into(&mut self.words);
        }
    }
}

impl Draft {
    /// Once per frame: what is to be kept. Words for another feature than `feature` are kept at once.
    pub fn take(&mut self, feature: u32, now: f64) -> Vec<Edit> {
        let at_once = self.feature != feature;
        let of = self.feature;
        let edits = [
            self.label.take(now, at_once).map(|words| Edit { feature: of, change: Change::Label(words) }),
            self.text.take(now, at_once).map(|words| Edit { feature: of, change: Change::Text(words) }),
        ];
        if at_once {
            *self = Self { feature, ..Self::default() };
        }
        edits.into_iter().flatten().collect()
    }

    /// Whether words wait to be kept.
    pub fn is_new(&self) -> bool {
        self.label.typed.is_some() || self.text.typed.is_some()
    }

    /// The field for the name; what the index calls the feature is its hint.
    pub fn label(&mut self, ui: &mut Ui, notes: &Notes, of_index: Option<&str>, now: f64) -> Option<Edit> {
        let p = palette(ui);
        let (hint, colour) = of_index.map_or(("Name this feature", p.weak), |label| (label, p.text));
        let field = TextEdit::singleline(&mut self.label.words)
            .id_salt(("label", self.feature))
            .hint_text(egui::RichText::new(hint).color(colour))
            .align(egui::Align2::LEFT_CENTER)
            .desired_width(ui.available_width().min(560.0))
            .char_limit(500);
        let response = ui.add(field);
        response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Label"));
        if response.changed() {
            self.label.typed = Some(now);
        }
        let left = response.lost_focus();
        self.label.follow(notes.label(self.feature).unwrap_or_default(), response.has_focus());
        let words = if left { self.label.take(now, true) } else { None };
        words.map(|words| Edit { feature: self.feature, change: Change::Label(words) })
    }

    /// The field for the text.
    pub fn text(&mut self, ui: &mut Ui, notes: &Notes, now: f64) -> Option<Edit> {
        let field = TextEdit::multiline(&mut self.text.words)
            .id_salt(("note", self.feature))
            .hint_text("Note")
            .desired_rows(2)
            .desired_width(f32::INFINITY)
            .char_limit(20_000);
        let response = ui.add(field);
        response.widget_info(|| WidgetInfo::labeled(Role::MultilineTextInput, true, "Note"));
        if response.changed() {
            self.text.typed = Some(now);
        }
        let left = response.lost_focus();
        let note = notes.get(self.feature).map_or("", |note| note.text.as_str());
        self.text.follow(note, response.has_focus());
        let words = if left { self.text.take(now, true) } else { None };
        words.map(|words| Edit { feature: self.feature, change: Change::Text(words) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_after_a_rest_or_when_another_feature_comes() {
        let mut draft = Draft::default();
        draft.label.words = " trees ".into();
        draft.label.typed = Some(10.0);
        assert_eq!(draft.take(0, 10.5), []);
        assert_eq!(draft.take(0, 11.0), [Edit { feature: 0, change: Change::Label("trees".into()) }]);
        assert_eq!(draft.take(0, 12.0), []);
        draft.text.words = "why".into();
        draft.text.typed = Some(12.0);
        assert_eq!(draft.take(5, 12.1), [Edit { feature: 0, change: Change::Text("why".into()) }]);
        assert!(draft.text.words.is_empty() && draft.feature == 5);
    }
}
