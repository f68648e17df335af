//! The first thing a newcomer sees: what this is and what to do.

use std::path::PathBuf;

use egui::{Align, Button, Frame, Label, Layout, Link, Margin, RichText, Role, ScrollArea, Ui, WidgetInfo};

use crate::action::Action;
use crate::action::Command;
use crate::load::Problem;
use crate::theme::{palette, space, tokens::size};
use crate::widgets::notice;

/// Draws the page; `problem` is why the last folder could not be opened.
pub fn show(ui: &mut Ui, recent: &[PathBuf], problem: Option<&Problem>, actions: &mut Vec<Action>) {
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
                if recent.is_empty() { first_time(ui) } else { folders(ui, recent, actions) }
            });
        });
    });
}

fn first_time(ui: &mut Ui) {
    let p = palette(ui);
    Frame::new().fill(p.side).corner_radius(6).inner_margin(Margin::same(space::L as i8)).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new("Nothing to open yet?").size(size::HEADING).color(p.strong));
        ui.add_space(space::XS);
        ui.label(
            RichText::new(
                "This command trains a small dictionary on the built-in model in about half a minute:",
            )
            .color(p.text),
        );
        ui.add_space(space::S);
        ui.add(Label::new(RichText::new("sae demo").monospace().color(p.accent)).selectable(true));
        ui.add_space(space::S);
        ui.label(
            RichText::new(
                "Then open the folder sae-demo here. A folder may hold any number of runs and datasets.",
            )
            .color(p.text),
        );
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
