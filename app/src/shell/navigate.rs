//! From place to place: addresses, history, neighbours, tabs.

use std::path::{Path, PathBuf};

use egui::Context;

use super::{App, Tabs};
use crate::address::Place;
use crate::data::{DatasetEntry, RunEntry, RunInfo};
use crate::words::place::whole;

impl App {
    /// Brings a place to the front.
    pub(super) fn go(&mut self, place: &Place, ctx: &Context) {
        let known = |path: &Path| {
            let folder = self.workspace.as_ref().and_then(|w| w.folder.value());
            folder.is_some_and(|f| f.holds(path))
        };
        if let Some(typed) = place.folder()
            && !known(typed)
        {
            // Typed, and perhaps relative to where the program was started; or of another folder.
            let folder = whole(typed);
            // An address in the open folder has its copy in that folder's.
            let folder = self.workspace.as_ref().and_then(|w| w.path_of(&folder)).unwrap_or(folder);
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

    /// The tabs of the open folder.
    pub(super) fn tabs(&mut self) -> Option<&mut Tabs> {
        self.workspace.as_mut()?.tabs.as_mut()
    }

    /// Goes to a place, if there is one.
    pub(super) fn go_if(&mut self, place: Option<Place>, ctx: &Context) {
        if let Some(place) = place {
            self.go(&place, ctx);
        }
    }

    pub(super) fn back(&mut self) {
        let place = self.workspace.as_mut().and_then(|workspace| workspace.history.back());
        self.revisit(place);
    }

    pub(super) fn forward(&mut self) {
        let place = self.workspace.as_mut().and_then(|workspace| workspace.history.forward());
        self.revisit(place);
    }

    /// To a place of the history, which stays as it is.
    fn revisit(&mut self, place: Option<Place>) {
        if let (Some(place), Some(tabs)) = (place, self.tabs()) {
            tabs.go(&place);
        }
    }

    /// The feature table of the run in front, or of the first that has one.
    pub(super) fn features(&self) -> Option<Place> {
        let folder = self.workspace.as_ref()?.folder.value()?;
        let has =
            |path: &Path| folder.run(path)?.info.as_ref().ok().filter(|i| i.indexed).map(|_| path.to_owned());
        let here = self.here().and_then(|here| has(here.folder()?));
        let run = here.or_else(|| folder.runs.iter().find_map(|r| has(&r.path)))?;
        Some(Place::Features { run })
    }

    /// The map of the run that [`App::features`] names.
    pub(super) fn map(&self) -> Option<Place> {
        let features = self.features()?;
        features.folder().map(|run| Place::Map { run: run.to_owned() })
    }

    /// The dataset in front, or that of the run in front, or the first one.
    fn dataset(&self, fits: impl Fn(&DatasetEntry) -> bool) -> Option<PathBuf> {
        let folder = self.workspace.as_ref()?.folder.value()?;
        let here = self.here();
        let path = here.as_ref().and_then(Place::folder);
        let near = path.and_then(|path| folder.dataset(path).or_else(|| folder.data_of(path)));
        let found = near.filter(|data| fits(data)).or_else(|| folder.datasets.iter().find(|data| fits(data)));
        found.map(|data| data.path.clone())
    }

    /// The documents of a dataset.
    pub(super) fn documents(&self) -> Option<Place> {
        self.dataset(|_| true).map(|dataset| Place::Dataset { dataset, document: None })
    }

    /// The experts of a dataset that has some.
    pub(super) fn experts(&self) -> Option<Place> {
        let has = |data: &DatasetEntry| data.info.as_ref().is_ok_and(|info| info.has_experts);
        self.dataset(has).map(|dataset| Place::Experts { dataset })
    }

    /// To the claim about the feature in front.
    pub(super) fn show_claim(&mut self, ctx: &Context) {
        let feature = self.workspace.as_ref().and_then(|workspace| workspace.tabs.as_ref()?.feature());
        match feature {
            Some((run, feature)) => self.go(&Place::Claim { run, feature }, ctx),
            None => self.say("Choose a feature first".to_owned()),
        }
    }

    /// The prompt of the run in front, with the feature in front, or of the first run that can be read.
    pub(super) fn prompt(&self) -> Option<Place> {
        let folder = self.workspace.as_ref()?.folder.value()?;
        let here = self.here();
        if let Some(
            Place::Feature { run, feature }
            | Place::Example { run, feature, .. }
            | Place::Claim { run, feature },
        ) = here
        {
            return Some(Place::Prompt { run, feature: Some(feature) });
        }
        let reads = |run: &&RunEntry| run.info.as_ref().is_ok_and(RunInfo::reads_text);
        let readable = |path: &Path| folder.run(path).filter(reads).map(|run| run.path.clone());
        let run = here.and_then(|here| readable(here.folder()?));
        let run = run.or_else(|| folder.runs.iter().find(reads).map(|run| run.path.clone()))?;
        Some(Place::Prompt { run, feature: None })
    }

    /// The feature `by` places further in the order of the table.
    pub(super) fn step(&mut self, by: i64, ctx: &Context) {
        if let Some(Place::Expert { dataset, layer, expert }) = self.here() {
            return self.step_expert(&dataset, layer, expert, by, ctx);
        }
        let claim = matches!(self.here(), Some(Place::Claim { .. }));
        let Some(
            Place::Feature { run, feature }
            | Place::Example { run, feature, .. }
            | Place::Claim { run, feature },
        ) = self.here()
        else {
            return;
        };
        let Some(workspace) = &mut self.workspace else { return };
        let store = workspace.stores.run(&run);
        let order = store.order.as_ref();
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
            Some(feature) if claim => self.go(&Place::Claim { run, feature }, ctx),
            Some(feature) => self.go(&Place::Feature { run, feature }, ctx),
            None => self.say(
                if by > 0 { "This is the last feature" } else { "This is the first feature" }.to_owned(),
            ),
        }
    }

    /// The expert `by` places further in its layer.
    fn step_expert(&mut self, dataset: &Path, layer: u16, expert: u32, by: i64, ctx: &Context) {
        let Some(workspace) = &mut self.workspace else { return };
        let usage = workspace.stores.dataset(dataset).experts.value();
        let experts = usage.and_then(|usage| usage.layer(layer)).map_or(0, |layer| layer.experts() as i64);
        let next = i64::from(expert) + by;
        match u32::try_from(next).ok().filter(|_| next < experts) {
            Some(expert) => self.go(&Place::Expert { dataset: dataset.to_owned(), layer, expert }, ctx),
            None => {
                let which = if by > 0 { "last" } else { "first" };
                self.say(format!("This is the {which} expert of layer {layer}"));
            }
        }
    }

    /// To the tab `by` places further in its group.
    pub(super) fn turn_tab(&mut self, by: i64) {
        let Some(workspace) = &mut self.workspace else { return };
        let Some(tabs) = &mut workspace.tabs else { return };
        tabs.turn(by);
        if let Some(here) = tabs.here() {
            workspace.history.visit(here);
        }
        self.keep_layout();
    }

    /// To any living feature.
    pub(super) fn random(&mut self, ctx: &Context) {
        let Some(Place::Features { run }) = self.features() else { return };
        let Some(workspace) = &mut self.workspace else { return };
        let Some(columns) = workspace.stores.run(&run).columns.value().cloned() else { return };
        let order = workspace.stores.run(&run).order.clone();
        // Of what the table shows, or of all where it shows nothing.
        let rows = order.as_ref().map(|order| order.as_slice()).filter(|rows| !rows.is_empty());
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
