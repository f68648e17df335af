//! What a feature of a graph fires on, next to its edges: the beginning of its page.

use std::path::{Path, PathBuf};

use egui::Ui;

use crate::data::FeaturePage;
use crate::load::{KeyedRequest, Lane, Workers};
use crate::theme::space;
use crate::views::Scene;
use crate::views::matching::pair;
use crate::widgets::{facts, notice};

/// Examples that are shown.
const EXAMPLES: usize = 3;

/// The page of the feature that is chosen.
#[derive(Debug, Default)]
pub struct FeatureOfNode {
    asked: Option<(PathBuf, u32)>,
    page: KeyedRequest<(PathBuf, u32), FeaturePage>,
}

impl FeatureOfNode {
    /// Once per frame: asks for the page of `feature`, if it has an index.
    pub fn logic(&mut self, feature: Option<(PathBuf, u32)>, scene: &Scene<'_>, workers: &Workers) {
        let indexed = |run: &Path| {
            scene.folder.run(run).is_some_and(|run| run.info.as_ref().is_ok_and(|info| info.indexed))
        };
        self.asked = feature.filter(|(run, _)| indexed(run));
        if let Some(asked) = &self.asked {
            let (pages, (run, feature)) = (scene.stores.run(&asked.0).pages.clone(), asked.clone());
            self.page.want(workers, Lane::Pages, asked, move || pages.read(&run, feature));
        }
    }

    /// Draws what it fires on and promotes, and its strongest examples.
    pub fn show(&self, ui: &mut Ui, run: &Path, feature: u32, scene: &Scene<'_>) {
        let Some(asked) = self.asked.as_ref().filter(|asked| asked.0 == run && asked.1 == feature) else {
            return;
        };
        ui.add_space(space::S);
        facts::section(ui, "The feature");
        if let Some(problem) = self.page.problem(asked) {
            return notice::problem_line(ui, problem);
        }
        let Some(page) = self.page.get(asked) else { return notice::busy(ui, 16.0) };
        let vocabulary = scene.stores.run(run).vocabulary.value().cloned().unwrap_or_default();
        pair::about(ui, &page, &vocabulary, EXAMPLES);
    }
}
