//! The one place where what was asked for is done.

use std::path::Path;

use egui::{Context, ViewportCommand};

use super::path_prompt::PathFor;
use super::{App, Tabs};
use crate::action::{Action, Command};
use crate::address::Place;
use crate::data::notes::{Change, Edit};
use crate::theme::Choice;
use crate::views::ViewCommand;
use crate::words;

/// By how much one step of the zoom enlarges everything.
const ZOOM: f32 = 1.1;

impl App {
    /// Does everything that views, menus, keys and the palette asked for.
    pub(super) fn apply(&mut self, ctx: &Context) {
        // What is asked for while applying has its turn the next time.
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Go(place) => self.go(&place, ctx),
                Action::Do(command) => self.command(command, ctx),
                Action::Open(folder) => self.open(&folder, None),
                Action::Copy(text) => self.copy(&text, ctx),
                Action::Save(save) => {
                    self.picker.ask_file(ctx, &save.name);
                    self.saving = Some(save);
                }
                Action::Picture(name, rect) => self.picture(ctx, name, rect),
                Action::Prompt { run, feature, text } => {
                    self.go(&Place::Prompt { run, feature }, ctx);
                    self.perform(ViewCommand::ReadText(text));
                }
                Action::Prefer(choice) => {
                    self.settings.preferences.set(choice);
                    self.save();
                }
                Action::Run(job) => self.run_job(job, ctx),
                Action::CancelJob(id) => self.jobs.cancel(id),
                Action::DismissJob(id) => self.jobs.dismiss(id),
                Action::ShowJob(id) => self.show_job(id),
                action => self.change_stores(action, ctx),
            }
        }
    }

    /// Does what changes the loaded data of the open folder and the trainings; without a folder there is
    /// nothing to change.
    fn change_stores(&mut self, action: Action, ctx: &Context) {
        let Some(workspace) = &mut self.workspace else { return };
        let stores = &mut workspace.stores;
        match action {
            Action::Load(need) => stores.load(&need, false, &self.workers),
            Action::Retry(need) => stores.load(&need, true, &self.workers),
            Action::Note { run, edit } => stores.run_mut(&run).notes.change(edit),
            Action::Mark { graph, edit } => stores.marks_mut(&graph).change(edit),
            Action::Select { run, features } => stores.run_mut(&run).selection.set(features),
            Action::Order { run, features } => stores.run_mut(&run).order = Some(features),
            Action::Train(job) => stores.trainings.start(job, ctx),
            Action::PauseTraining { run, process: None } => stores.trainings.pause(&run),
            Action::PauseTraining { run, process: Some(process) } => {
                stores.trainings.pause_other(&run, process, ctx);
            }
            Action::DismissTraining(run) => stores.trainings.dismiss(&run),
            // `apply` has done these.
            Action::Go(_)
            | Action::Do(_)
            | Action::Open(_)
            | Action::Copy(_)
            | Action::Save(_)
            | Action::Picture(..)
            | Action::Prompt { .. }
            | Action::Prefer(_)
            | Action::Run(_)
            | Action::CancelJob(_)
            | Action::DismissJob(_)
            | Action::ShowJob(_) => {}
        }
    }

    fn command(&mut self, command: Command, ctx: &Context) {
        match command {
            Command::OpenFolder => self.picker.ask(ctx),
            Command::OpenAddress => self.path_prompt.ask(PathFor::Address, Path::new("s3://")),
            Command::Reload => self.reload(),
            Command::Quit => ctx.send_viewport_cmd(ViewportCommand::Close),
            Command::Palette => self.palette.toggle(),
            Command::Back => self.back(),
            Command::Forward => self.forward(),
            Command::Search => self.search(ctx),
            Command::NextFeature => self.step(1, ctx),
            Command::PreviousFeature => self.step(-1, ctx),
            Command::RandomFeature => self.random(ctx),
            Command::Bookmark => self.bookmark(),
            Command::CopyAddress => self.copy_address(ctx),
            Command::ShowRuns => self.go(&Place::Runs, ctx),
            Command::Train => {
                self.go(&Place::Runs, ctx);
                self.perform(ViewCommand::ShowTrainingForm);
            }
            Command::ShowFeatures => self.go_if(self.features(), ctx),
            Command::ShowClaim => self.show_claim(ctx),
            Command::ShowMap => self.go_if(self.map(), ctx),
            Command::ShowPrompt => self.go_if(self.prompt(), ctx),
            Command::ShowDocuments => self.go_if(self.documents(), ctx),
            Command::ShowExperts => self.go_if(self.experts(), ctx),
            Command::Help => self.help.toggle(),
            Command::SavePicture => self.picture_of_front(ctx),
            Command::SplitRight => self.change_layout(Tabs::split_right),
            Command::NextTab => self.turn_tab(1),
            Command::PreviousTab => self.turn_tab(-1),
            Command::CloseTab => self.change_layout(Tabs::close_front),
            Command::ResetLayout => self.reset_layout(),
            Command::ToggleTree => self.toggle_tree(),
            Command::ToggleTheme => self.toggle_theme(ctx),
            Command::ToggleMotion => self.toggle_motion(ctx),
            Command::ZoomIn => self.zoom(ctx, ZOOM),
            Command::ZoomOut => self.zoom(ctx, 1.0 / ZOOM),
            Command::ZoomReset => self.zoom(ctx, 1.0 / self.settings.zoom),
        }
    }

    fn reload(&mut self) {
        if let Some(workspace) = &mut self.workspace {
            workspace.reload(&self.workers);
        }
    }

    /// Puts text on the clipboard and reports it in the bar.
    fn copy(&mut self, text: &str, ctx: &Context) {
        let text = words::place::text(text);
        let lines = text.lines().count();
        if lines > 1 {
            // A whole page is too long to be repeated.
            self.say(format!("Copied {lines} lines"));
        } else {
            let short: String = text.chars().take(80).collect();
            let cut = if short.len() < text.len() { "…" } else { "" };
            self.say(format!("Copied {}{cut}", short.trim_end()));
        }
        ctx.copy_text(text);
    }

    fn copy_address(&mut self, ctx: &Context) {
        if let Some(here) = self.here() {
            self.copy(&here.to_string(), ctx);
        }
    }

    /// Passes a command on to the view in front; false when it has no use for it.
    fn perform(&mut self, command: ViewCommand) -> bool {
        self.tabs().is_some_and(|tabs| tabs.perform(command))
    }

    /// Searches in the view in front, or in the feature table where that view has nothing to search.
    fn search(&mut self, ctx: &Context) {
        let features = self.features();
        if !self.perform(ViewCommand::Search)
            && let Some(place) = features
        {
            self.go(&place, ctx);
            self.perform(ViewCommand::Search);
        }
    }

    fn bookmark(&mut self) {
        let Some(workspace) = &mut self.workspace else { return };
        let feature = workspace.tabs.as_ref().and_then(|tabs| tabs.feature());
        let Some((run, feature)) = feature else {
            return self.say("Select a feature to bookmark it".to_owned());
        };
        let notes = &mut workspace.stores.run_mut(&run).notes;
        let on = !notes.notes().bookmarked(feature);
        notes.change(Edit { feature, change: Change::Bookmarked(on) });
        self.say(if on {
            format!("Bookmarked feature {feature} (B undoes it)")
        } else {
            format!("Removed the bookmark of feature {feature} (B undoes it)")
        });
    }

    fn change_layout(&mut self, change: impl FnOnce(&mut Tabs)) {
        if let Some(tabs) = self.tabs() {
            change(tabs);
        }
        self.keep_layout();
    }

    fn reset_layout(&mut self) {
        if let Some(workspace) = &mut self.workspace {
            workspace.reset_tabs();
        }
        self.keep_layout();
    }

    fn toggle_tree(&mut self) {
        self.settings.tree = !self.settings.tree;
        self.save();
    }

    fn toggle_theme(&mut self, ctx: &Context) {
        self.settings.theme = if self.dark { Choice::Light } else { Choice::Dark };
        ctx.set_theme(self.settings.theme.preference());
        self.save();
    }

    fn toggle_motion(&mut self, ctx: &Context) {
        self.settings.motion = !self.settings.motion;
        crate::theme::set_motion(ctx, self.settings.motion);
        self.say(if self.settings.motion { "Motion is on" } else { "Motion is off" }.to_owned());
        self.save();
    }

    fn zoom(&mut self, ctx: &Context, factor: f32) {
        let zoom = (self.settings.zoom * factor).clamp(0.5, 3.0);
        self.settings.zoom = (zoom * 100.0).round() / 100.0;
        ctx.set_zoom_factor(self.settings.zoom);
        self.save();
    }
}
