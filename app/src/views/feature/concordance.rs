//! Every firing of a feature, one per line.

use std::path::Path;
use std::sync::Arc;

use egui::{ComboBox, RichText, Role, Ui, WidgetInfo};

use crate::data::firings::{self, FiringOrder, Firings};
use crate::data::{FeatureRow, Vocabulary};
use crate::load::{KeyedRequest, Lane, Workers};
use crate::theme::{palette, space};
use crate::widgets::lines::{Drawn, LinePlace, Lines, Source};
use crate::widgets::{facts, format, notice};

/// What is loaded of a feature's firings.
#[derive(Debug, Default)]
pub struct Concordance {
    order: FiringOrder,
    firings: KeyedRequest<u32, Firings>,
    ordered: KeyedRequest<(u32, FiringOrder), Vec<u32>>,
    lines: Lines<(u32, FiringOrder)>,
}

impl Concordance {
    /// Once per frame while it is shown: asks for what is missing.
    pub fn logic(&mut self, run: &Path, feature: u32, source: Source<'_>, workers: &Workers) {
        let run = run.to_owned();
        self.firings.want(workers, Lane::Pages, &feature, move || firings::read(&run, feature));
        let Some(firings) = self.firings.get(&feature) else { return };
        let (key, order) = ((feature, self.order), self.order);
        let all = Arc::clone(&firings);
        self.ordered.want(workers, Lane::Sort, &key, move || Ok(all.order(order)));
        let Some(ordered) = self.ordered.get(&key) else { return };
        let place = |line: usize| {
            let row = &firings.rows[ordered[line] as usize];
            (row.document, row.position)
        };
        self.lines.logic(&key, ordered.len(), place, source, workers);
    }

    /// Draws the lines; gives the document and position to be read on at.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        row: &FeatureRow,
        vocabulary: &Vocabulary,
        source: Source<'_>,
    ) -> Option<(u32, u32)> {
        let feature = row.feature;
        if let Some(problem) = self.firings.problem(&feature) {
            notice::problem_line(ui, problem);
            return None;
        }
        let (Some(firings), Some(order)) =
            (self.firings.get(&feature), self.ordered.get(&(feature, self.order)))
        else {
            notice::loading(ui, "Reading all firings…");
            return None;
        };
        self.head(ui, &firings, source);
        if let Some(problem) = self.lines.problem() {
            notice::problem_line(ui, problem);
        }
        let place = |line: usize| {
            let row = &firings.rows[order[line] as usize];
            LinePlace { document: row.document, position: row.position, value: row.value, outcome: None }
        };
        let salt = ("concordance", feature, self.order.name());
        let drawn = Drawn { firings: &firings, max: row.max, vocabulary, chosen: None };
        let clicked = self.lines.show(ui, salt, order.len(), place, source, &drawn);
        let read = clicked.map(place).map(|place| (place.document, place.position));
        read.filter(|_| source.dataset.is_some())
    }

    fn head(&mut self, ui: &mut Ui, firings: &Firings, source: Source<'_>) {
        ui.horizontal(|ui| {
            let all = format::grouped(firings.total);
            let text = match firings.rows.len() as u64 {
                n if n < firings.total => format!("the first {} of {all} firings", format::grouped(n)),
                _ => format!("all {all} firings"),
            };
            facts::caption(ui, text);
            let combo = ComboBox::from_id_salt("order").selected_text(self.order.name()).show_ui(ui, |ui| {
                for order in FiringOrder::ALL {
                    ui.selectable_value(&mut self.order, order, order.name());
                }
            });
            combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Order of the firings"));
        });
        no_text(ui, source);
        ui.add_space(space::XS);
    }
}

/// Says why there is no text, where there is none.
pub fn no_text(ui: &mut Ui, source: Source<'_>) {
    if source.dataset.is_none() {
        let why =
            "The dataset that was indexed is not in the open folder, so there is no text around the tokens.";
        ui.label(RichText::new(why).color(palette(ui).weak));
    }
}
