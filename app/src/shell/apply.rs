//! The one place where what was asked for is done.

use std::path::Path;

use egui::{Context, ViewportCommand};

use super::frame::whole;
use super::{App, Command};
use crate::address::Place;
use crate::data::notes::{Change, Edit};
use crate::load::{Lane, Problem};
use crate::theme::Choice;
use crate::views::{Action, Save};

/// Steps of the zoom.
const ZOOM: f32 = 1.1;

impl App {
    /// Does everything that views, menus, keys and the palette asked for.
    pub(super) fn apply(&mut self, ctx: &Context) {
        // What is asked for while applying comes with the next frame.
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Go(place) => self.go(&place, ctx),
                Action::Do(command) => self.command(command, ctx),
                Action::Open(folder) => self.open(&folder, None),
                Action::Copy(text) => {
                    // A whole page is too long to be said.
                    let lines = text.lines().count();
                    let short: String = text.chars().take(80).collect();
                    let cut = if short.len() < text.len() { "…" } else { "" };
                    self.say(if lines > 1 {
                        format!("Copied {lines} lines")
                    } else {
                        format!("Copied {}{cut}", short.trim_end())
                    });
                    ctx.copy_text(text);
                }
                Action::Save(save) => {
                    self.picker.ask_file(ctx, &save.name);
                    self.saving = Some(save);
                }
                Action::Picture(name, rect) => self.picture(ctx, name, rect),
                Action::Report(problem) => self.problems.push(problem),
            }
        }
    }

    fn go(&mut self, place: &Place, ctx: &Context) {
        let known = |path: &Path| {
            let folder = self.workspace.as_ref().and_then(|w| w.folder.value());
            folder.is_some_and(|f| f.run(path).is_some() || f.dataset(path).is_some())
        };
        if let Some(typed) = place.folder()
            && !known(typed)
        {
            // Typed, and perhaps relative to where the program was started; or of another folder.
            let folder = whole(typed);
            if !known(&folder) {
                return self.open(typed, Some(place.clone()));
            }
            return self.go(&place.clone().below(&folder), ctx);
        }
        let Some(workspace) = &mut self.workspace else { return };
        let Some(tabs) = &mut workspace.tabs else { return };
        tabs.go(place);
        workspace.history.visit(place.clone());
        self.keep_layout();
        ctx.request_repaint();
    }

    /// To a place of the history, which stays as it is.
    fn revisit(&mut self, place: Option<Place>) {
        if let (Some(place), Some(tabs)) = (place, self.workspace.as_mut().and_then(|w| w.tabs.as_mut())) {
            tabs.go(&place);
        }
    }

    fn command(&mut self, command: Command, ctx: &Context) {
        match command {
            Command::OpenFolder => self.picker.ask(ctx),
            Command::Reload => {
                if let Some(workspace) = &mut self.workspace {
                    workspace.reload(&self.workers);
                }
            }
            Command::Quit => ctx.send_viewport_cmd(ViewportCommand::Close),
            Command::Palette => self.palette.toggle(),
            Command::Back => {
                let place = self.workspace.as_mut().and_then(|w| w.history.back());
                self.revisit(place);
            }
            Command::Forward => {
                let place = self.workspace.as_mut().and_then(|w| w.history.forward());
                self.revisit(place);
            }
            Command::Search => self.search(ctx),
            Command::NextFeature => self.step(1, ctx),
            Command::PreviousFeature => self.step(-1, ctx),
            Command::RandomFeature => self.random(ctx),
            Command::Bookmark => self.bookmark(),
            Command::ShowMap => {
                let run = self.features().and_then(|place| place.folder().map(Path::to_owned));
                if let Some(run) = run {
                    self.go(&Place::Map { run }, ctx);
                }
            }
            Command::ShowPrompt => {
                if let Some(place) = self.prompt() {
                    self.go(&place, ctx);
                }
            }
            Command::SavePicture => {
                if let Some(rect) = self.workspace.as_ref().and_then(|w| w.tabs.as_ref()?.front_rect()) {
                    self.picture(ctx, "sae-workbench.png".to_owned(), rect);
                }
            }
            Command::SplitRight => {
                if let Some(tabs) = self.workspace.as_mut().and_then(|w| w.tabs.as_mut()) {
                    tabs.split_right();
                }
                self.keep_layout();
            }
            Command::NextTab => self.turn_tab(1),
            Command::PreviousTab => self.turn_tab(-1),
            Command::CopyAddress => {
                if let Some(here) = self.here() {
                    self.actions.push(Action::Copy(here.to_string()));
                    ctx.request_repaint();
                }
            }
            Command::ShowRuns => self.go(&Place::Runs, ctx),
            Command::Train => {
                if let Some(workspace) = &mut self.workspace {
                    workspace.stores.train = true;
                    self.go(&Place::Runs, ctx);
                }
            }
            Command::ShowFeatures => {
                if let Some(place) = self.features() {
                    self.go(&place, ctx);
                }
            }
            Command::CloseTab => {
                if let Some(tabs) = self.workspace.as_mut().and_then(|w| w.tabs.as_mut()) {
                    tabs.close_front();
                }
                self.keep_layout();
            }
            Command::ResetLayout => {
                if let Some(workspace) = &mut self.workspace {
                    workspace.reset_tabs();
                }
                self.keep_layout();
            }
            Command::ToggleTree => {
                self.settings.tree = !self.settings.tree;
                self.save();
            }
            Command::ToggleTheme => {
                self.settings.theme = if self.dark { Choice::Light } else { Choice::Dark };
                ctx.set_theme(self.settings.theme.preference());
                self.save();
            }
            Command::ZoomIn => self.zoom(ctx, ZOOM),
            Command::ZoomOut => self.zoom(ctx, 1.0 / ZOOM),
            Command::ZoomReset => self.zoom(ctx, 1.0 / self.settings.zoom),
        }
    }

    fn zoom(&mut self, ctx: &Context, factor: f32) {
        let zoom = (self.settings.zoom * factor).clamp(0.5, 3.0);
        self.settings.zoom = (zoom * 100.0).round() / 100.0;
        ctx.set_zoom_factor(self.settings.zoom);
        self.save();
    }

    fn search(&mut self, ctx: &Context) {
        let features = self.features();
        let can =
            self.workspace.as_mut().and_then(|w| w.tabs.as_mut()).is_some_and(super::tabs::Tabs::search);
        if let (false, Some(place)) = (can, features) {
            self.go(&place, ctx);
            if let Some(tabs) = self.workspace.as_mut().and_then(|w| w.tabs.as_mut()) {
                tabs.search();
            }
        }
    }

    /// The feature table of the run in front, or of the first that has one.
    fn features(&self) -> Option<Place> {
        let folder = self.workspace.as_ref()?.folder.value()?;
        let has =
            |path: &Path| folder.run(path)?.info.as_ref().ok().filter(|i| i.indexed).map(|_| path.to_owned());
        let here = self.here().and_then(|here| has(here.folder()?));
        let run = here.or_else(|| folder.runs.iter().find_map(|r| has(&r.path)))?;
        Some(Place::Features { run })
    }

    /// The prompt of the run in front, with the feature in front, or of the first run that can be read.
    fn prompt(&self) -> Option<Place> {
        let folder = self.workspace.as_ref()?.folder.value()?;
        let here = self.here();
        if let Some(Place::Feature { run, feature } | Place::Example { run, feature, .. }) = here {
            return Some(Place::Prompt { run, feature: Some(feature) });
        }
        let readable =
            |path: &Path| folder.run(path).filter(|run| run.info.is_ok()).map(|run| run.path.clone());
        let run = here.and_then(|here| readable(here.folder()?));
        let run =
            run.or_else(|| folder.runs.iter().find(|run| run.info.is_ok()).map(|run| run.path.clone()))?;
        Some(Place::Prompt { run, feature: None })
    }

    /// The feature `by` places further in the order of the table.
    fn step(&mut self, by: i64, ctx: &Context) {
        if let Some(Place::Expert { dataset, layer, expert }) = self.here() {
            return self.step_expert(&dataset, layer, expert, by, ctx);
        }
        let Some(Place::Feature { run, feature } | Place::Example { run, feature, .. }) = self.here() else {
            return;
        };
        let Some(workspace) = &mut self.workspace else { return };
        let store = workspace.stores.run(&run);
        let order = store.order.as_ref().map(|order| &order.rows);
        let all = store.columns.value().map_or(0, |c| c.len() as i64);
        let at = order.and_then(|order| order.iter().position(|f| *f == feature));
        let next = match (order, at) {
            (Some(order), Some(at)) => {
                let next = at as i64 + by;
                usize::try_from(next).ok().and_then(|next| order.get(next)).copied()
            }
            // The filter of the table leaves this feature out: by number then.
            _ => Some(i64::from(feature) + by)
                .filter(|f| (0..all).contains(f))
                .and_then(|f| u32::try_from(f).ok()),
        };
        match next {
            Some(feature) => self.go(&Place::Feature { run, feature }, ctx),
            None => self.say(
                if by > 0 { "This is the last feature" } else { "This is the first feature" }.to_owned(),
            ),
        }
    }

    /// The expert `by` places further in its layer.
    fn step_expert(&mut self, dataset: &Path, layer: u16, expert: u16, by: i64, ctx: &Context) {
        let Some(workspace) = &mut self.workspace else { return };
        let usage = workspace.stores.dataset(dataset).experts.value();
        let experts = usage.and_then(|usage| usage.layer(layer)).map_or(0, |layer| layer.experts() as i64);
        let next = i64::from(expert) + by;
        match u16::try_from(next).ok().filter(|_| next < experts) {
            Some(expert) => self.go(&Place::Expert { dataset: dataset.to_owned(), layer, expert }, ctx),
            None => {
                let which = if by > 0 { "last" } else { "first" };
                self.say(format!("This is the {which} expert of layer {layer}"));
            }
        }
    }

    fn bookmark(&mut self) {
        let Some(workspace) = &mut self.workspace else { return };
        let feature = workspace.tabs.as_ref().and_then(|tabs| tabs.feature());
        let Some((run, feature)) = feature else {
            return self.say("Select a feature to bookmark it".to_owned());
        };
        let notes = &mut workspace.stores.run(&run).notes;
        let on = !notes.notes().bookmarked(feature);
        notes.change(Edit { feature, change: Change::Bookmarked(on) });
        self.say(if on {
            format!("Bookmarked feature {feature}")
        } else {
            format!("Forgot the bookmark of feature {feature}")
        });
    }

    fn turn_tab(&mut self, by: i64) {
        let Some(workspace) = &mut self.workspace else { return };
        let Some(tabs) = &mut workspace.tabs else { return };
        tabs.turn(by);
        if let Some(here) = tabs.here() {
            workspace.history.visit(here);
        }
        self.keep_layout();
    }

    /// Asks for a picture of the window and saves the part within `rect`.
    fn picture(&mut self, ctx: &Context, name: String, rect: egui::Rect) {
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
        if let Some(path) = self.picker.poll_file()
            && let (Some(path), Some(save)) = (path, self.saving.take())
        {
            let shown = path.display().to_string();
            self.exported.ask(&self.workers, Lane::Settings, move || {
                let bytes = (save.make)()?;
                super::settings::write_beside(&path, &bytes).map_err(|e| {
                    Problem::new(format!("Cannot save {}: {e}.", path.display()))
                        .with_remedy("Choose another folder or make room on the disk.")
                })?;
                Ok(shown)
            });
        }
        if self.exported.poll(&self.workers) {
            match (self.exported.problem().cloned(), self.exported.value().cloned()) {
                (Some(problem), _) => self.problems.push(problem),
                (None, Some(path)) => self.say(format!("Saved {path}")),
                (None, None) => {}
            }
        }
    }

    fn random(&mut self, ctx: &Context) {
        let Some(Place::Features { run }) = self.features() else { return };
        let Some(workspace) = &mut self.workspace else { return };
        let Some(columns) = workspace.stores.run(&run).columns.value().cloned() else { return };
        let order = workspace.stores.run(&run).order.clone();
        // Of what the table shows, or of all where it shows nothing.
        let rows = order.as_ref().map(|order| order.rows.as_slice()).filter(|rows| !rows.is_empty());
        let n = rows.map_or(columns.len(), <[u32]>::len) as u64;
        if n == 0 {
            return;
        }
        // No more than surprise is needed: a step of a linear congruential generator, started from the clock.
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        let start =
            nanos.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33;
        let at = |i: u64| ((start + i) % n) as u32;
        let feature = |i: u64| rows.map_or(at(i), |rows| rows[at(i) as usize]);
        let alive = (0..n).map(feature).find(|f| !columns.dead(*f));
        if let Some(feature) = alive {
            self.go(&Place::Feature { run, feature }, ctx);
        }
    }
}

/// An image as PNG.
fn png(image: &egui::ColorImage) -> Result<Vec<u8>, Problem> {
    use eframe::icon_data::IconDataExt as _;
    let [width, height] = image.size.map(|n| n as u32);
    let rgba = image.pixels.iter().flat_map(egui::Color32::to_array).collect();
    let icon = egui::IconData { rgba, width, height };
    icon.to_png_bytes().map_err(|e| Problem::new(format!("The picture can not be written as PNG: {e}.")))
}
