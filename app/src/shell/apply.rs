//! The one place where what was asked for is done.

use std::path::Path;

use egui::{Context, ViewportCommand};

use super::frame::whole;
use super::{App, Command};
use crate::address::Place;
use crate::theme::Choice;
use crate::views::Action;

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
                    self.say(match text.lines().count() {
                        0 | 1 => format!("Copied {text}"),
                        lines => format!("Copied {lines} lines"),
                    });
                    ctx.copy_text(text);
                }
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
            Command::CopyAddress => {
                if let Some(here) = self.here() {
                    self.actions.push(Action::Copy(here.to_string()));
                    ctx.request_repaint();
                }
            }
            Command::ShowRuns => self.go(&Place::Runs, ctx),
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

    /// The feature `by` places further in the order of the table.
    fn step(&mut self, by: i64, ctx: &Context) {
        if let Some(Place::Expert { dataset, layer, expert }) = self.here() {
            return self.step_expert(&dataset, layer, expert, by, ctx);
        }
        let Some(Place::Feature { run, feature }) = self.here() else { return };
        let Some(workspace) = &mut self.workspace else { return };
        let store = workspace.stores.run(&run);
        let all = store.columns.value().map_or(0, |c| c.len() as i64);
        let at = store.order.as_ref().and_then(|order| order.iter().position(|f| *f == feature));
        let next = match (&store.order, at) {
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

    fn random(&mut self, ctx: &Context) {
        let Some(Place::Features { run }) = self.features() else { return };
        let Some(workspace) = &mut self.workspace else { return };
        let Some(columns) = workspace.stores.run(&run).columns.value().cloned() else { return };
        let n = columns.len() as u64;
        if n == 0 {
            return;
        }
        // No more than surprise is needed: a step of a linear congruential generator, started from the clock.
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        let start =
            nanos.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33;
        let alive = (0..n).map(|i| ((start + i) % n) as u32).find(|f| !columns.dead(*f));
        if let Some(feature) = alive {
            self.go(&Place::Feature { run, feature }, ctx);
        }
    }
}
