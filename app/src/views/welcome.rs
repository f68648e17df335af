//! The first thing a newcomer sees: what this is and what to do.

use std::path::PathBuf;

use egui::{Align, Button, Frame, Label, Layout, Link, Margin, RichText, Role, ScrollArea, Ui, WidgetInfo};

use crate::action::Action;
use crate::action::Command;
use crate::data::folder::ForeignDictionary;
use crate::load::Problem;
use crate::theme::{palette, space, tokens::size};
use crate::training::{Job, Jobs};
use crate::widgets::{jobs, notice};

/// What the page offers.
#[derive(Clone, Copy, Debug)]
pub struct Welcome<'a> {
    /// Folders opened before.
    pub recent: &'a [PathBuf],
    /// Why the last folder could not be opened.
    pub problem: Option<&'a Problem>,
    /// The commands that run next to the window.
    pub jobs: &'a Jobs,
    /// The demo.
    pub demo: &'a Demo,
    /// What was opened, if it is a dictionary of a different program.
    pub foreign: Option<&'a ForeignDictionary>,
}

/// Where the demo is, or would be made.
#[derive(Clone, Debug)]
pub struct Demo {
    folder: PathBuf,
    made: bool,
}

impl Demo {
    /// Where `sae demo` makes it: looks at the disk once, when the window begins.
    pub fn find() -> Self {
        let folder = std::env::current_dir().unwrap_or_else(|_| std::env::temp_dir()).join("sae-demo");
        let made = folder.join("topk").is_dir();
        Self { folder, made }
    }
}

/// Draws the page.
pub fn show(ui: &mut Ui, page: Welcome<'_>, actions: &mut Vec<Action>) {
    let Welcome { recent, problem, .. } = page;
    let p = palette(ui);
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        ui.add_space((ui.available_height() * 0.16).max(space::XL));
        ui.with_layout(Layout::top_down(Align::Center), |ui| {
            ui.set_max_width(560.0);
            ui.label(RichText::new("SAE Workbench").size(28.0).color(p.strong));
            ui.add_space(space::XS);
            ui.label(
                RichText::new("Explore the features of a language model and the text that makes them fire.")
                    .color(p.weak),
            );
            ui.add_space(space::XL);
            if let Some(problem) = problem {
                notice::problem_line(ui, problem);
                ui.add_space(space::M);
            }
            let open =
                Button::new(RichText::new(Command::OpenFolder.name()).size(size::HEADING).color(p.strong));
            if ui.add(open.fill(p.selection).min_size(egui::vec2(200.0, 36.0))).clicked() {
                actions.push(Action::Do(Command::OpenFolder));
            }
            ui.add_space(space::S);
            ui.label(
                RichText::new("or drop a folder here, or press Ctrl+P and type its path")
                    .size(size::SMALL)
                    .color(p.weak),
            );
        });
        ui.add_space(space::XL);
        ui.with_layout(Layout::top_down(Align::Center), |ui| {
            ui.allocate_ui_with_layout(egui::vec2(560.0, 0.0), Layout::top_down(Align::Min), |ui| {
                if let Some(foreign) = page.foreign {
                    foreign_dictionary(ui, foreign, page.jobs, actions);
                    ui.add_space(space::L);
                }
                if !recent.is_empty() {
                    folders(ui, recent, actions);
                    ui.add_space(space::L);
                }
                first_time(ui, page, actions);
            });
        });
    });
}

/// What was recognised, and the one thing to do with it.
fn foreign_dictionary(ui: &mut Ui, foreign: &ForeignDictionary, jobs: &Jobs, actions: &mut Vec<Action>) {
    let p = palette(ui);
    Frame::new().fill(p.side).corner_radius(6).inner_margin(Margin::same(space::L as i8)).show(ui, |ui| {
        ui.set_width(ui.available_width());
        let name = foreign.source.file_name().unwrap_or(foreign.source.as_os_str()).to_string_lossy();
        ui.label(RichText::new(format!("{name}: {}", foreign.format)).size(size::HEADING).color(p.strong))
            .on_hover_text(foreign.source.display().to_string());
        ui.add_space(space::XS);
        let what = format!(
            "A dictionary of a different program. Importing it makes a run of it, {}, which is shown like any other; \
             the files are not changed.",
            foreign.out.display()
        );
        ui.label(RichText::new(what).color(p.text));
        ui.add_space(space::S);
        let job = Job::import(&foreign.source, &foreign.out);
        let line = job.line();
        let asked = jobs::offer(ui, "Import", &line, jobs.running(&job));
        actions.extend(asked.run.then_some(Action::Run(job)));
        actions.extend(asked.copy.then_some(Action::Copy(line)));
        ui.add_space(space::S);
        let measured = "With --data or --model the import also checks that it is read as it was meant.";
        ui.label(RichText::new(measured).size(size::SMALL).color(p.weak));
    });
}

/// The demo, and what a folder should hold.
fn first_time(ui: &mut Ui, page: Welcome<'_>, actions: &mut Vec<Action>) {
    let p = palette(ui);
    Frame::new().fill(p.side).corner_radius(6).inner_margin(Margin::same(space::L as i8)).show(ui, |ui| {
        ui.set_width(ui.available_width());
        let title = if page.recent.is_empty() { "Nothing to open yet?" } else { "A folder to try things on" };
        ui.label(RichText::new(title).size(size::HEADING).color(p.strong));
        ui.add_space(space::XS);
        let what = "The demo trains a small dictionary on the built-in model, indexes and explains it, in about half a minute.";
        ui.label(RichText::new(what).color(p.text));
        ui.add_space(space::S);
        let Demo { folder, made } = page.demo;
        if *made {
            if ui.button("Open the demo").on_hover_text(folder.display().to_string()).clicked() {
                actions.push(Action::Open(folder.clone()));
            }
        } else {
            let job = Job::demo(folder);
            let line = job.line();
            let asked = jobs::offer(ui, "Make the demo", &line, page.jobs.running(&job));
            actions.extend(asked.run.then_some(Action::Run(job)));
            actions.extend(asked.copy.then_some(Action::Copy(line)));
        }
        ui.add_space(space::S);
        let holds = "A folder may hold any number of runs (with run.json) and datasets (with dataset.json), up to four folders deep.";
        ui.label(RichText::new(holds).size(size::SMALL).color(p.weak));
    });
}

fn folders(ui: &mut Ui, recent: &[PathBuf], actions: &mut Vec<Action>) {
    let p = palette(ui);
    ui.label(RichText::new("Recent folders").size(size::HEADING).color(p.strong));
    ui.add_space(space::XS);
    for folder in recent {
        ui.horizontal(|ui| {
            let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
            let link = ui.add(Link::new(RichText::new(&*name)));
            link.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Open {}", folder.display())));
            if link.clicked() {
                actions.push(Action::Open(folder.clone()));
            }
            let path = folder.display().to_string();
            ui.add(Label::new(RichText::new(path).size(size::SMALL).color(p.weak)).truncate());
        });
    }
}
