//! Commands that have to be told something: fields, and a button that runs `sae` with what stands in them.

mod export;
mod probe;
mod trace;

pub use export::ExportForm;
pub use probe::ProbeForm;
pub use trace::{TraceForm, model_of, transcoders_of};

use std::path::{Component, Path, PathBuf};

use egui::{Button, ComboBox, RichText, Role, TextEdit, Ui, WidgetInfo};

use super::Scene;
use crate::data::Folder;
use crate::theme::{palette, space, tokens::size};
use crate::training::Job;

/// Fields that unfold below a button, and stay until something else is clicked.
pub fn fields_below(button: &egui::Response, fields: impl FnOnce(&mut Ui)) {
    let below = egui::Popup::from_toggle_button_response(button);
    let frame = egui::Frame::popup(&button.ctx.global_style()).inner_margin(space::M as i8);
    below
        .close_behavior(egui::PopupCloseBehavior::CloseOnClickOutside)
        .frame(frame)
        .width(380.0)
        .show(fields);
}

/// A field with its name above it, as wide as there is room.
fn field(ui: &mut Ui, name: &str, hint: &str, about: &str, text: &mut String) {
    ui.label(RichText::new(name).size(size::SMALL).color(palette(ui).weak)).on_hover_text(about);
    let room = ui.available_width().min(420.0);
    let field = ui.add(TextEdit::singleline(text).hint_text(hint).desired_width(room));
    field.widget_info(|| WidgetInfo {
        hint_text: Some(hint.to_owned()),
        ..WidgetInfo::labeled(Role::TextInput, true, name)
    });
    field.on_hover_text(about);
    ui.add_space(space::XS);
}

/// A choice among names, each with what it means.
fn choice(ui: &mut Ui, name: &str, all: &[(&'static str, &str)], chosen: &mut &'static str) {
    ui.label(RichText::new(name).size(size::SMALL).color(palette(ui).weak));
    let combo = ComboBox::from_id_salt(name).selected_text(*chosen).width(200.0).show_ui(ui, |ui| {
        for (value, about) in all {
            ui.selectable_value(chosen, value, *value).on_hover_text(*about);
        }
    });
    combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, name));
    ui.add_space(space::XS);
}

/// The button of a command that is complete, else why it is not.
fn offer(ui: &mut Ui, name: &'static str, job: Result<Job, String>, scene: &mut Scene<'_>) {
    match job {
        Ok(job) => scene.offer(ui, name, job),
        Err(why) => {
            ui.add_enabled(false, Button::new(name));
            ui.label(RichText::new(why).size(size::SMALL).color(palette(ui).weak));
        }
    }
}

/// A folder that is made inside the open one.
fn inside(folder: &Folder, typed: &str) -> Result<PathBuf, String> {
    let typed = typed.trim();
    let plain = |part| matches!(part, Component::Normal(_));
    if typed.is_empty() || !Path::new(typed).components().all(plain) {
        return Err("Enter the name of a folder inside the open one.".to_owned());
    }
    let out = folder.root.join(typed);
    if folder.run(&out).is_some() || folder.dataset(&out).is_some() {
        return Err("A run or dataset with that name exists already.".to_owned());
    }
    Ok(out)
}

/// The first of `stem`, `stem-2`, … that nothing in the folder is called.
fn free_name(folder: &Folder, stem: &str) -> String {
    let taken = |name: &str| {
        let path = folder.root.join(name);
        let graphs = folder.graphs.iter().map(|graph| &graph.path);
        let probes = folder.probes.iter().map(|probes| &probes.path);
        folder.run(&path).is_some()
            || folder.dataset(&path).is_some()
            || graphs.chain(probes).any(|other| *other == path)
    };
    let mut names = std::iter::once(stem.to_owned()).chain((2..).map(|n| format!("{stem}-{n}")));
    names.find(|name| !taken(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{RunEntry, RunInfo};

    #[test]
    #[allow(clippy::field_reassign_with_default, reason = "a field is private")]
    fn what_is_made_lies_inside_the_open_folder_under_a_free_name() {
        let run =
            |path: &str| RunEntry { path: path.into(), name: String::new(), info: Ok(RunInfo::default()) };
        let mut folder = Folder::default();
        folder.root = "/x".into();
        folder.runs = vec![run("/x/probes"), run("/x/probes-2")];
        assert_eq!(free_name(&folder, "probes"), "probes-3");
        assert_eq!(free_name(&folder, "graph"), "graph");
        assert_eq!(inside(&folder, " a/b "), Ok("/x/a/b".into()));
        for bad in ["", "  ", "../y", "/y", "probes"] {
            assert!(inside(&folder, bad).is_err(), "{bad}");
        }
    }
}
