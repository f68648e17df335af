//! A path that is typed, for desktops without a file dialog: over ssh, under a bare window manager.

use std::path::{Path, PathBuf};

use egui::{Context, Key, Modal, RichText, Role, TextEdit, WidgetInfo};

use crate::theme::{palette, space, tokens::size};

/// For what a path is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFor {
    /// A folder to open.
    Open,
    /// A folder of a store to open, by its address.
    Address,
    /// A file to save.
    Save,
}

/// The field; `None` inside while nothing is asked.
#[derive(Debug, Default)]
pub struct PathPrompt(Option<(PathFor, String)>);

/// An answer of the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathAnswer {
    /// This path.
    Path(PathFor, PathBuf),
    /// None after all.
    Cancelled(PathFor),
}

impl PathPrompt {
    /// Asks, and proposes `path`.
    pub fn ask(&mut self, what: PathFor, path: &Path) {
        self.0 = Some((what, path.display().to_string()));
    }

    /// Whether something is asked.
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Draws it; gives the answer once.
    pub fn show(&mut self, ctx: &Context) -> Option<PathAnswer> {
        let (what, text) = self.0.as_mut()?;
        let what = *what;
        let (title, button) = match what {
            PathFor::Open => ("Open folder", "Open"),
            PathFor::Address => ("Open address", "Open"),
            PathFor::Save => ("Save as", "Save"),
        };
        let (mut done, mut cancelled) = (false, false);
        let modal = Modal::new(egui::Id::unique("path prompt")).show(ctx, |ui| {
            ui.set_width(560.0);
            ui.label(RichText::new(title).size(size::HEADING).color(palette(ui).strong));
            let why = match what {
                PathFor::Address => {
                    "s3://BUCKET/PREFIX; to be read only: https://HOST/FOLDER, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX. Credentials come \
                     from the environment (docs/scale-out.md)."
                }
                PathFor::Open | PathFor::Save => {
                    "This desktop has no file dialog (it needs a portal or zenity), so type the path."
                }
            };
            ui.label(RichText::new(why).size(size::SMALL).color(palette(ui).weak));
            ui.add_space(space::S);
            let field = ui.add(TextEdit::singleline(text).desired_width(f32::INFINITY));
            field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Path"));
            if !field.has_focus() && !field.lost_focus() {
                field.request_focus();
            }
            done = field.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
            ui.add_space(space::S);
            ui.horizontal(|ui| {
                done |= ui.add_enabled(!text.trim().is_empty(), egui::Button::new(button)).clicked();
                cancelled = ui.button("Cancel").clicked();
            });
        });
        cancelled |= modal.should_close();
        let path = PathBuf::from(text.trim());
        if done && !text.trim().is_empty() {
            self.0 = None;
            return Some(PathAnswer::Path(what, path));
        }
        if cancelled {
            self.0 = None;
            return Some(PathAnswer::Cancelled(what));
        }
        None
    }
}
