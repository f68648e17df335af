//! The same feature in the other runs of the folder: which of their features point the same way, and which fire on the same tokens.

use std::path::{Path, PathBuf};

use egui::{Label, RichText, Ui};

use crate::action::Action;
use crate::address::Place;
use crate::claims::elsewhere::{self, CounterpartRow, InRun};
use crate::load::{Lane, StreamedRequest, Workers};
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::widgets::sheet::{Cell, Sheet, column};
use crate::widgets::{facts, format, notice, rule};

/// Rows that are shown before the rest can only be copied.
const ROWS: usize = 12;

/// What is asked, and what is found.
#[derive(Debug, Default)]
pub struct Elsewhere {
    /// Whether the person wants it: each run is read from end to end.
    wanted: bool,
    asked: Option<u32>,
    found: StreamedRequest<InRun>,
}

impl Elsewhere {
    /// Once per frame: looks for `feature` in the other runs, if that is wanted.
    pub fn logic(&mut self, scene: &Scene<'_>, run: &Path, feature: u32, workers: &Workers) {
        if self.asked != Some(feature) && !self.wanted {
            self.found.clear();
        }
        if self.wanted && self.asked != Some(feature) {
            self.asked = Some(feature);
            let (here, others) = (run.to_owned(), others(scene, run));
            self.found
                .ask(workers, Lane::Scans, move |feed| elsewhere::in_runs(&here, feature, &others, feed));
        }
        self.found.poll(workers);
    }

    /// Draws the section; nothing where there are no other runs.
    pub fn show(&mut self, ui: &mut Ui, run: &Path, scene: &mut Scene<'_>) {
        let others = others(scene, run);
        if others.is_empty() {
            return;
        }
        let p = palette(ui);
        if !self.wanted {
            facts::section(ui, "In other runs");
            let runs = if others.len() == 1 {
                "the other run".to_owned()
            } else {
                format!("{} other runs", others.len())
            };
            let button = ui.button(format!("Look for it in {runs}"));
            let about = "The nearest features by direction, and those that fire on the same tokens. Reads the codes of every run once";
            self.wanted = button.on_hover_text(about).clicked();
            return;
        }
        let pieces = self.found.pieces();
        let rows: Vec<(&PathBuf, &CounterpartRow)> = pieces
            .iter()
            .flat_map(|piece| piece.found.iter().flatten().map(move |row| (&piece.run, row)))
            .collect();
        let caption = match self.found.loading() {
            true => format!("{} of {} runs", pieces.len(), others.len()),
            false => "by direction and by agreement of firing".to_owned(),
        };
        if rows.is_empty() {
            facts::section(ui, "In other runs");
            if self.found.loading() {
                facts::caption(ui, caption);
                notice::busy(ui, 16.0);
            }
        } else {
            self.table(ui, &rows, &caption, scene);
        }
        if let Some(problem) = self.found.problem() {
            notice::problem_line(ui, problem);
        }
        for piece in pieces {
            let name = scene.folder.name_of(&piece.run).into_owned();
            if let Err(problem) = &piece.found {
                notice::problem_line(ui, problem);
            }
            for gap in &piece.gaps {
                let said = format!("{}: {gap}", rule::middle(&name, 24));
                ui.add(Label::new(RichText::new(said).size(size::SMALL).color(p.weak)).wrap());
            }
        }
        ui.add_space(space::S);
    }

    fn table(&self, ui: &mut Ui, rows: &[(&PathBuf, &CounterpartRow)], caption: &str, scene: &mut Scene<'_>) {
        let columns = [
            column("run", 74.0, "The other run"),
            column("feature", 60.0, "Its feature"),
            column("cosine", 58.0, "Of the decoder rows: 1 is the same direction"),
            column(
                "agree",
                58.0,
                "Tokens on which both fire divided by tokens on which either does, over all that both indices have",
            ),
            column("about", 0.0, "Its label, or the tokens that it fires on most"),
        ];
        let cell = |at: usize, column: usize| {
            let (run, row) = rows[at];
            match column {
                0 => Cell::Text(rule::middle(&scene.folder.name_of(run), 11)),
                1 => Cell::Link(
                    u64::from(row.feature),
                    format!("Go to feature {} of {}", row.feature, scene.folder.name_of(run)),
                ),
                2 => row.cosine.map_or(Cell::Missing, |cosine| Cell::Text(format!("{cosine:.3}"))),
                3 => row.agreement.map_or(Cell::Missing, |share| Cell::Text(format::percent(share))),
                _ => Cell::Text(rule::short(&row.about, 60)),
            }
        };
        let sheet = Sheet {
            id: "elsewhere",
            columns: &columns,
            rows: rows.len(),
            cell: &cell,
            most: ROWS,
            marked: None,
        };
        let asked = ui.push_id("elsewhere", |ui| sheet.show_titled(ui, "In other runs", caption)).inner;
        if let Some((run, row)) = asked.clicked.and_then(|(row, _)| rows.get(row)) {
            scene.go(Place::Feature { run: (*run).clone(), feature: row.feature });
        }
        if let Some(text) = asked.copied {
            scene.act(Action::Copy(text));
        }
    }
}

/// The other runs of the folder that have a dictionary.
fn others(scene: &Scene<'_>, run: &Path) -> Vec<PathBuf> {
    let whole = scene.folder.runs.iter().filter(|other| other.path != run && other.info.is_ok());
    whole.map(|other| other.path.clone()).collect()
}
