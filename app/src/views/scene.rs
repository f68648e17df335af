//! What a view may see and say.

use std::path::PathBuf;

use crate::address::Place;
use crate::data::Folder;
use crate::load::{Problem, Workers};
use crate::shell::Command;

use super::Stores;

/// Everything outside a view, for one frame.
pub struct Scene<'a> {
    /// Where background work is sent.
    pub workers: &'a Workers,
    /// The open folder.
    pub folder: &'a Folder,
    /// What is loaded of its runs and datasets, shared by the views.
    pub stores: &'a mut Stores,
    /// The window's clock, seconds.
    pub now: f64,
    /// What the view wants done.
    pub actions: &'a mut Vec<Action>,
}

impl Scene<'_> {
    /// Asks for something to be done after this frame.
    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Asks to go to a place.
    pub fn go(&mut self, place: Place) {
        self.act(Action::Go(place));
    }
}

/// What a view, a menu or the palette wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Go to a place of the open folder.
    Go(Place),
    /// Do a command.
    Do(Command),
    /// Open a folder.
    Open(PathBuf),
    /// Put text on the clipboard.
    Copy(String),
    /// Say what went wrong, where there is no better place for it.
    Report(Problem),
}
