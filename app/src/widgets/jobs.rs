//! Commands as buttons, and how far they are.

use egui::{Align, Button, Label, Layout, ProgressBar, RichText, Role, Ui, WidgetInfo};

use super::facts;
use crate::theme::{palette, space, tokens::size};
use crate::words::ProgressLine;

/// What the person asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandClick {
    /// To run the command.
    pub run: bool,
    /// To have the command on the clipboard.
    pub copy: bool,
}

/// A button that runs a command, with the command next to it, to be copied. While it is `running` the button is off.
pub fn offer(ui: &mut Ui, name: &str, command: &str, running: bool) -> CommandClick {
    // In one line, whatever the room: what is below must not move under the pointer when the button is pressed.
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = space::S;
        offer_below(ui, name, command, running)
    })
    .inner
}

/// As [`offer`], with the command below the button: for the middle of a pane.
pub fn offer_below(ui: &mut Ui, name: &str, command: &str, running: bool) -> CommandClick {
    let mut asked = CommandClick::default();
    let button = ui.add_enabled(!running, Button::new(name));
    asked.run = button.on_hover_text(format!("Runs `{command}` next to the window")).clicked();
    if running {
        super::notice::busy(ui, 16.0);
    }
    asked.copy = self::command(ui, command);
    asked
}

/// A command with its paths cut to their last part: where folders lie is known, and long.
fn short(command: &str) -> String {
    let word = |word: &str| match word.rsplit_once('/') {
        Some((_, last)) => format!("…/{last}"),
        None => word.to_owned(),
    };
    command.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// A command in the type of a terminal, its paths cut short; true when the whole of it is to be copied.
pub fn command(ui: &mut Ui, command: &str) -> bool {
    let text = RichText::new(short(command)).monospace().size(size::SMALL).color(palette(ui).weak);
    let label = ui.add(Label::new(text).truncate().sense(egui::Sense::click()));
    label.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Copy command {command}")));
    label.on_hover_text(format!("{command}\nClick to copy")).on_hover_cursor(egui::CursorIcon::Copy).clicked()
}

/// How far a process is: a bar if it reports a share, and its words.
pub fn progress(ui: &mut Ui, line: &ProgressLine, whole: &str) {
    if let Some(share) = line.share {
        let bar = ProgressBar::new(share).desired_height(6.0).fill(palette(ui).accent);
        let bar = ui.add(bar.desired_width(ui.available_width().min(260.0)));
        let percent = super::format::percent(f64::from(share));
        bar.widget_info(|| {
            WidgetInfo::labeled(Role::ProgressIndicator, true, format!("{}: {percent}", line.stage))
        });
    }
    let words = match line.words() {
        words if words.is_empty() => line.stage.clone(),
        words => format!("{} · {words}", line.stage),
    };
    facts::caption(ui, words).on_hover_text(whole);
}

/// A line of the list of jobs.
#[derive(Clone, Debug)]
pub struct JobLine<'a> {
    /// What it does.
    pub title: &'a str,
    /// The command.
    pub command: &'a str,
    /// What it printed last.
    pub said: &'a str,
    /// How long it has run.
    pub took: &'a str,
    /// What the button says that shows what came of it.
    pub show: &'a str,
    /// How it stands.
    pub state: JobState<'a>,
}

/// How a job stands.
#[derive(Clone, Copy, Debug)]
pub enum JobState<'a> {
    /// At work.
    Running,
    /// Asked to end.
    Cancelling,
    /// It came to its end.
    Finished,
    /// It was cancelled.
    Cancelled,
    /// It failed.
    Failed(&'a crate::load::Problem),
}

/// What the person asked for at a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobClick {
    /// To end it.
    pub cancel: bool,
    /// To see what came of it.
    pub show: bool,
    /// To forget it.
    pub dismiss: bool,
    /// To have the command on the clipboard.
    pub copy: bool,
}

/// Draws the line of a job.
pub fn line(ui: &mut Ui, job: &JobLine<'_>) -> JobClick {
    let p = palette(ui);
    let mut asked = JobClick::default();
    let button = |ui: &mut Ui, text: &str| {
        let button = ui.add(Button::new(text).small());
        button.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("{text} {}", job.title)));
        button.clicked()
    };
    ui.horizontal(|ui| {
        match job.state {
            JobState::Running | JobState::Cancelling => super::notice::busy(ui, 12.0),
            JobState::Finished => super::notice::status_dot(ui, p.good, "finished"),
            JobState::Cancelled => super::notice::status_dot(ui, p.warning, "cancelled"),
            JobState::Failed(_) => super::notice::status_dot(ui, p.error, "failed"),
        }
        ui.label(RichText::new(job.title).color(p.strong));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            match job.state {
                JobState::Running => asked.cancel = button(ui, "Cancel"),
                JobState::Cancelling => drop(ui.add_enabled(false, Button::new("Cancelling…").small())),
                JobState::Finished => {
                    asked.dismiss = button(ui, "Dismiss");
                    asked.show = button(ui, job.show);
                }
                JobState::Cancelled | JobState::Failed(_) => asked.dismiss = button(ui, "Dismiss"),
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                match job.state {
                    JobState::Running | JobState::Cancelling => {
                        progress(ui, &ProgressLine::parse(job.said), job.said);
                    }
                    JobState::Finished => drop(facts::caption(ui, format!("finished in {}", job.took))),
                    JobState::Cancelled => {
                        drop(facts::caption(ui, "cancelled; what was there before is kept"));
                    }
                    JobState::Failed(problem) => {
                        let text = RichText::new(problem.to_string()).color(p.error);
                        ui.add(Label::new(text).truncate()).on_hover_text(problem.to_string());
                    }
                }
                asked.copy = command(ui, job.command);
            });
        });
    });
    asked
}
