//! Pictures of the window, and files that the person saves.

use egui::{Context, ViewportCommand};

use super::path_prompt::PathFor;
use super::{App, Picked};
use crate::action::{Action, Save};
use crate::load::{Lane, Problem};

impl App {
    /// Asks for a picture of the window and saves the part within `rect`.
    pub(super) fn picture(&mut self, ctx: &Context, name: String, rect: egui::Rect) {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let (wake, scale) = (ctx.clone(), ctx.pixels_per_point());
        let callback = egui::ScreenshotCallback::new(move |image: std::sync::Arc<egui::ColorImage>| {
            let whole = egui::vec2(image.width() as f32, image.height() as f32) / scale;
            let part = rect.intersect(egui::Rect::from_min_size(egui::Pos2::ZERO, whole));
            if part.is_positive() {
                let _ = sender.try_send(image.region(&part, Some(scale)));
            }
            wake.request_repaint();
        });
        ctx.send_viewport_cmd(ViewportCommand::Screenshot(callback));
        ctx.request_repaint();
        self.picture = Some((name, receiver));
    }

    /// The same for the pane in front.
    pub(super) fn picture_of_front(&mut self, ctx: &Context) {
        let rect = self.workspace.as_ref().and_then(|workspace| workspace.tabs.as_ref()?.front_rect());
        if let Some(rect) = rect {
            self.picture(ctx, "sae-workbench.png".to_owned(), rect);
        }
    }

    /// A picture that has been taken is saved like everything else.
    pub(super) fn take_picture(&mut self) {
        let Some((name, receiver)) = &self.picture else { return };
        let Ok(image) = receiver.try_recv() else { return };
        let name = name.clone();
        self.picture = None;
        self.actions.push(Action::Save(Save::new(name, move || png(&image))));
    }

    /// When the person has said where, the file is made and written on a worker.
    pub(super) fn save_files(&mut self) {
        match self.picker.poll_file() {
            Some(Picked::Chosen(path)) => self.save_to(path),
            Some(Picked::Cancelled) => self.saving = None,
            Some(Picked::NoDialog) => {
                if let Some(save) = &self.saving {
                    let proposed = self.folder_for_files().join(&save.name);
                    self.path_prompt.ask(PathFor::Save, &proposed);
                }
            }
            None => {}
        }
        if self.exported.poll(&self.workers) {
            match (self.exported.problem().cloned(), self.exported.value().cloned()) {
                (Some(problem), _) => self.problems.push(problem),
                (None, Some(path)) => self.say(format!("Saved {path}")),
                (None, None) => {}
            }
        }
    }

    /// Where files are proposed to be saved: at the run in front, else in the open folder.
    fn folder_for_files(&self) -> std::path::PathBuf {
        if self.workspace.as_ref().is_some_and(super::Workspace::is_remote) {
            // What is put into a copy is taken for a part of it.
            return std::env::current_dir().unwrap_or_default();
        }
        let run = self.here().and_then(|place| place.folder().map(std::path::Path::to_path_buf));
        let open = || self.workspace.as_ref().map(|workspace| workspace.root.clone());
        run.or_else(open).unwrap_or_default()
    }

    /// Makes the file that waits and writes it to `path`.
    pub(super) fn save_to(&mut self, path: std::path::PathBuf) {
        let Some(save) = self.saving.take() else { return };
        let shown = path.display().to_string();
        self.exported.ask(&self.workers, Lane::Settings, move || {
            let bytes = (save.make)()?;
            super::settings::write_beside(&path, &bytes).map_err(|e| {
                Problem::new(format!("Cannot save {}: {e}.", path.display()))
                    .with_remedy("Choose a different folder or make room on the disk.")
            })?;
            Ok(shown)
        });
    }
}

/// An image as PNG.
fn png(image: &egui::ColorImage) -> Result<Vec<u8>, Problem> {
    use eframe::icon_data::IconDataExt as _;
    let [width, height] = image.size.map(|n| n as u32);
    let rgba = image.pixels.iter().flat_map(egui::Color32::to_array).collect();
    let icon = egui::IconData { rgba, width, height };
    icon.to_png_bytes().map_err(|e| Problem::new(format!("The picture cannot be written as PNG: {e}.")))
}
