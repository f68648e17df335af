//! The list of jobs: what the window runs next to itself, how far it is, and what came of it.

use egui::{Context, Frame, Margin, Panel, Ui};

use super::App;
use crate::action::{Action, Command};
use crate::theme::{palette, space};
use crate::training::{Outcome, Stage};
use crate::widgets::format;
use crate::widgets::jobs::{self, JobLine, JobState};

impl App {
    /// Begins a job with the program that the settings name.
    pub(super) fn run_job(&mut self, job: crate::training::Job, ctx: &Context) {
        self.jobs.program.clone_from(&self.settings.program);
        self.jobs.start(job, ctx);
    }

    /// Shows what came of a job: the folder that it made, or the open one, read again.
    pub(super) fn show_job(&mut self, id: u64) {
        let Some(job) = self.jobs.all().iter().find(|job| job.id == id) else { return };
        match job.job.outcome.clone() {
            Outcome::Open(folder) => self.actions.push(Action::Open(folder)),
            Outcome::Reload => self.actions.push(Action::Do(Command::Reload)),
            Outcome::Path(path) => self.actions.push(Action::Copy(path.display().to_string())),
            Outcome::Go(place) => {
                if let Some(workspace) = &mut self.workspace {
                    workspace.reload_at(Some(place), &self.workers);
                }
            }
        }
        self.jobs.dismiss(id);
    }

    /// With nothing open, a folder that a job made is opened: whoever made the demo wants to see it.
    pub(super) fn open_what_was_made(&mut self) {
        if self.workspace.is_some() {
            return;
        }
        let made = self.jobs.all().iter().find(|started| {
            matches!(started.stage(), Stage::Finished) && matches!(started.job.outcome, Outcome::Open(_))
        });
        if let Some(id) = made.map(|made| made.id) {
            self.show_job(id);
        }
    }

    /// Draws the list; nothing where there are no jobs.
    pub(super) fn list_jobs(&mut self, ui: &mut Ui) {
        if self.jobs.all().is_empty() {
            return;
        }
        let frame = Frame::new()
            .fill(palette(ui).side)
            .inner_margin(Margin::symmetric(space::M as i8, space::XS as i8));
        Panel::bottom("jobs").frame(frame).show(ui, |ui| {
            for started in self.jobs.all() {
                let stage = started.stage();
                let (command, said) = (started.job.line(), started.last_line());
                let took = format::duration(started.seconds());
                let line = JobLine {
                    title: &started.job.title,
                    command: &command,
                    said: &said,
                    took: &took,
                    show: match &started.job.outcome {
                        Outcome::Path(_) => "Copy path",
                        _ => "Show",
                    },
                    state: match &stage {
                        Stage::Running => JobState::Running,
                        Stage::Pausing => JobState::Cancelling,
                        Stage::Paused => JobState::Cancelled,
                        Stage::Finished => JobState::Finished,
                        Stage::Failed(problem) => JobState::Failed(problem),
                    },
                };
                let asked = ui.push_id(("job", started.id), |ui| jobs::line(ui, &line)).inner;
                let id = started.id;
                self.actions.extend(asked.cancel.then_some(Action::CancelJob(id)));
                self.actions.extend(asked.dismiss.then_some(Action::DismissJob(id)));
                self.actions.extend(asked.show.then_some(Action::ShowJob(id)));
                self.actions.extend(asked.copy.then_some(Action::Copy(command)));
            }
        });
    }
}
