//! The tabs: panes that can be split, dragged and closed.

use std::collections::HashMap;
use std::path::PathBuf;

use egui::{Color32, Rect, Response, Stroke, Ui, Visuals, WidgetText};
use egui_tiles::{
    Behavior, Container, SimplificationOptions, TabState, Tile, TileId, Tiles, Tree, UiResponse,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::Place;
use crate::load::Workers;
use crate::theme::tokens;
use crate::views::{self, Scene, View, ViewCommand};
use crate::widgets::rule;

/// Characters of a tab's title at most.
const TITLE: usize = 44;

/// A pane. On disk it is only its place.
pub struct Pane(pub Box<dyn View>);

impl Serialize for Pane {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.place().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Pane {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Place::deserialize(deserializer).map(|place| Self(views::open(&place)))
    }
}

impl std::fmt::Debug for Pane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pane({})", self.0.place())
    }
}

/// What keeps the tab in front of each group in sight: a bar that became narrower, or got another tab in front, is scrolled to it. A person
/// may still scroll away.
#[derive(Default)]
struct Sight {
    /// Where the tabs were drawn last.
    buttons: HashMap<TileId, Rect>,
    /// Of each bar its tab in front, the widths of both, and for how many frames it is still looked after.
    bars: HashMap<TileId, (Option<TileId>, [i32; 2], u8)>,
}

impl Sight {
    /// Frames until a bar that changed is as it will stay.
    const FRAMES: u8 = 4;

    /// By how much the bar `id` that covers `rect` is to be scrolled for its tab `front`.
    fn scroll(&mut self, id: TileId, front: Option<TileId>, rect: Rect) -> f32 {
        // A title becomes longer when the name of a feature arrives.
        let title = front.and_then(|front| self.buttons.get(&front)).map_or(0.0, Rect::width);
        let widths = [rect.width() as i32, title as i32];
        let (known, of, left) = self.bars.entry(id).or_insert((None, [0; 2], 0));
        if (*known, *of) != (front, widths) {
            (*known, *of, *left) = (front, widths, Self::FRAMES);
        }
        if *left == 0 {
            return 0.0;
        }
        *left -= 1;
        let Some(button) = front.and_then(|front| self.buttons.get(&front)) else { return 0.0 };
        // Both ends may be covered by an arrow.
        let seen = rect.shrink2(egui::vec2(tokens::height::TABS, 0.0));
        if button.left() < seen.left() || button.width() > seen.width() {
            button.left() - seen.left()
        } else {
            (button.right() - seen.right()).max(0.0)
        }
    }

    /// Whether a bar is being looked after.
    fn is_busy(&self) -> bool {
        self.bars.values().any(|(_, _, left)| *left > 0)
    }
}

/// All panes of the open folder.
pub struct Tabs {
    tree: Tree<Pane>,
    /// The pane that was gone to or clicked last.
    front: Option<TileId>,
    sight: Sight,
}

impl Tabs {
    /// With these places side by side as tabs, the first in front.
    pub fn new(places: &[Place]) -> Self {
        let panes = places.iter().map(|place| Pane(views::open(place))).collect();
        let mut tabs = Self {
            tree: Tree::new_tabs(egui::Id::unique("tabs"), panes),
            front: None,
            sight: Sight::default(),
        };
        if let Some(first) = places.first() {
            tabs.go(first);
        }
        tabs
    }

    /// As [`Tabs::to_json`] wrote them; `None` when they cannot be read or are empty.
    pub fn from_json(layout: &serde_json::Value) -> Option<Self> {
        let tree: Tree<Pane> = serde_json::from_value(layout.clone()).ok()?;
        tree.root()?;
        let front =
            tree.active_tiles().into_iter().find(|id| matches!(tree.tiles.get(*id), Some(Tile::Pane(_))));
        Some(Self { tree, front, sight: Sight::default() })
    }

    /// To be kept in the settings.
    pub fn to_json(&self) -> Option<serde_json::Value> {
        serde_json::to_value(&self.tree).ok()
    }

    /// Brings `place` to the front: in the pane that shows it or can turn to it, else in a new one.
    pub fn go(&mut self, place: &Place) {
        let id = match self.find(place) {
            Some(id) => {
                if let Some(Tile::Pane(pane)) = self.tree.tiles.get_mut(id) {
                    pane.0.turn_to(place);
                }
                id
            }
            None => self.open(place),
        };
        self.tree.make_active(|tile, _| tile == id);
        self.front = Some(id);
    }

    fn find(&self, place: &Place) -> Option<TileId> {
        let fits = |id: &TileId| matches!(self.tree.tiles.get(*id), Some(Tile::Pane(pane)) if pane.0.place().same_pane(place));
        self.front.filter(fits).or_else(|| self.tree.tiles.tile_ids().find(fits))
    }

    /// A new pane next to the one in front.
    fn open(&mut self, place: &Place) -> TileId {
        let id = self.tree.tiles.insert_pane(Pane(views::open(place)));
        let parent = self.front.and_then(|front| self.tree.tiles.parent_of(front)).or(self.tree.root());
        match parent.and_then(|parent| self.tree.tiles.get_mut(parent)) {
            Some(Tile::Container(Container::Tabs(tabs))) => {
                tabs.add_child(id);
                tabs.set_active(id);
            }
            Some(Tile::Container(container)) => container.add_child(id),
            _ => {
                let old = self.tree.root();
                let root = self.tree.tiles.insert_tab_tile(old.into_iter().chain([id]).collect());
                self.tree.root = Some(root);
            }
        }
        id
    }

    /// The place of the pane in front.
    pub fn here(&self) -> Option<Place> {
        match self.tree.tiles.get(self.front?) {
            Some(Tile::Pane(pane)) => Some(pane.0.place()),
            _ => None,
        }
    }

    /// The feature that is looked at in the pane in front.
    pub fn feature(&self) -> Option<(PathBuf, u32)> {
        match self.tree.tiles.get(self.front?) {
            Some(Tile::Pane(pane)) => pane.0.feature().map(|(run, feature)| (run.to_owned(), feature)),
            _ => None,
        }
    }

    /// Where the pane in front was drawn last.
    pub fn front_rect(&self) -> Option<Rect> {
        self.tree.tiles.rect(self.front?)
    }

    /// Brings the tab `by` places further in the group of the one in front to the front, round and round.
    pub fn turn(&mut self, by: i64) {
        let Some(front) = self.front else { return };
        let parent = self.tree.tiles.parent_of(front).and_then(|parent| self.tree.tiles.get_mut(parent));
        if let Some(Tile::Container(Container::Tabs(tabs))) = parent
            && let Some(at) = tabs.children.iter().position(|id| *id == front)
        {
            let next = (at as i64 + by).rem_euclid(tabs.children.len() as i64) as usize;
            let next = tabs.children[next];
            tabs.set_active(next);
            self.front = Some(next);
        }
    }

    /// Shows the place in front a second time, in a group of its own at the right.
    pub fn split_right(&mut self) {
        let (Some(front), Some(here)) = (self.front, self.here()) else { return };
        let group = self.tree.tiles.parent_of(front).unwrap_or(front);
        let above = self.tree.tiles.parent_of(group);
        let pane = self.tree.tiles.insert_pane(Pane(views::open(&here)));
        let beside = self.tree.tiles.insert_tab_tile(vec![pane]);
        match above.and_then(|above| self.tree.tiles.get_mut(above)) {
            Some(Tile::Container(Container::Linear(linear)))
                if linear.dir == egui_tiles::LinearDir::Horizontal =>
            {
                let at = linear.children.iter().position(|id| *id == group).unwrap_or(0);
                linear.children.insert(at + 1, beside);
            }
            _ => {
                let both = self.tree.tiles.insert_horizontal_tile(vec![group, beside]);
                match above.and_then(|above| self.tree.tiles.get_mut(above)) {
                    Some(Tile::Container(container)) => {
                        let _ = container.replace_child(group, both);
                    }
                    _ => self.tree.root = Some(both),
                }
            }
        }
        self.front = Some(pane);
    }

    /// Closes the pane in front; the last one stays.
    pub fn close_front(&mut self) {
        if let Some(front) = self.front
            && self.panes() > 1
        {
            self.tree.remove_recursively(front);
            self.front = None;
        }
    }

    fn panes(&self) -> usize {
        self.tree.tiles.tiles().filter(|tile| tile.is_pane()).count()
    }

    /// Passes a command on to the pane in front; false when it has no use for it.
    pub fn perform(&mut self, command: ViewCommand) -> bool {
        match self.front.and_then(|front| self.tree.tiles.get_mut(front)) {
            Some(Tile::Pane(pane)) => pane.0.perform(command),
            _ => false,
        }
    }

    /// Every pane's own logic.
    pub fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        for tile in self.tree.tiles.tiles_mut() {
            if let Tile::Pane(pane) = tile {
                pane.0.logic(scene, workers);
            }
        }
    }

    /// Draws. True when the person changed the layout.
    pub fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) -> bool {
        let closable = self.panes() > 1;
        let visible = self.front.is_some_and(|front| self.tree.active_tiles().contains(&front));
        let mut behaviour = Drawing { scene, edited: false, touched: None, closable, sight: &mut self.sight };
        self.tree.ui(&mut behaviour, ui);
        let (edited, touched) = (behaviour.edited, behaviour.touched);
        if self.sight.is_busy() {
            ui.ctx().request_repaint();
        }
        if touched.is_some() {
            self.front = touched;
        } else if !visible || edited {
            // The tab in front was closed, or another one of its group was clicked.
            let active = self.tree.active_tiles();
            let still = self.front.is_some_and(|front| active.contains(&front));
            if !still {
                self.front =
                    active.into_iter().find(|id| matches!(self.tree.tiles.get(*id), Some(Tile::Pane(_))));
            }
        }
        edited
    }
}

struct Drawing<'a, 'b> {
    scene: &'a mut Scene<'b>,
    edited: bool,
    touched: Option<TileId>,
    closable: bool,
    sight: &'a mut Sight,
}

impl Behavior<Pane> for Drawing<'_, '_> {
    fn pane_ui(&mut self, ui: &mut Ui, id: TileId, pane: &mut Pane) -> UiResponse {
        let rect = ui.max_rect();
        ui.painter().rect_filled(rect, 0.0, ui.visuals().panel_fill);
        let pressed = ui.input(|i| {
            i.pointer.any_pressed() && i.pointer.interact_pos().is_some_and(|pos| rect.contains(pos))
        });
        if pressed && ui.rect_contains_pointer(rect) {
            self.touched = Some(id);
        }
        ui.push_id(("pane", id), |ui| pane.0.ui(ui, self.scene));
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, pane: &Pane) -> WidgetText {
        // Names of runs may be whole paths.
        rule::middle(&pane.0.title(self.scene), TITLE).into()
    }

    fn is_tab_closable(&self, _tiles: &Tiles<Pane>, _id: TileId) -> bool {
        self.closable
    }

    fn on_tab_button(&mut self, _: &mut Tiles<Pane>, id: TileId, button: Response) -> Response {
        self.sight.buttons.insert(id, button.rect);
        button
    }

    fn top_bar_right_ui(
        &mut self,
        _: &Tiles<Pane>,
        ui: &mut Ui,
        id: TileId,
        tabs: &egui_tiles::Tabs,
        offset: &mut f32,
    ) {
        *offset += self.sight.scroll(id, tabs.active, ui.max_rect());
    }

    fn on_edit(&mut self, _action: egui_tiles::EditAction) {
        self.edited = true;
    }

    fn tab_bar_height(&self, _style: &egui::Style) -> f32 {
        tokens::height::TABS
    }

    fn gap_width(&self, _style: &egui::Style) -> f32 {
        1.0
    }

    fn tab_title_spacing(&self, _visuals: &Visuals) -> f32 {
        tokens::space::M
    }

    fn tab_bar_color(&self, visuals: &Visuals) -> Color32 {
        tokens::of_visuals(visuals).side
    }

    fn tab_bg_color(&self, visuals: &Visuals, _: &Tiles<Pane>, _: TileId, state: &TabState) -> Color32 {
        if state.active { visuals.panel_fill } else { Color32::TRANSPARENT }
    }

    fn tab_outline_stroke(&self, _: &Visuals, _: &Tiles<Pane>, _: TileId, _: &TabState) -> Stroke {
        Stroke::NONE
    }

    fn tab_text_color(&self, visuals: &Visuals, _: &Tiles<Pane>, _: TileId, state: &TabState) -> Color32 {
        let p = tokens::of_visuals(visuals);
        if state.active { p.strong } else { p.weak }
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions { all_panes_must_have_tabs: true, ..SimplificationOptions::default() }
    }
}
