//! What a view may see and say.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// Save something as a file; the person says where.
    Save(Save),
    /// Save a picture of a part of the window, under this name.
    Picture(String, egui::Rect),
    /// Say what went wrong, where there is no better place for it.
    Report(Problem),
}

/// Something to be saved. It is made on a worker, when the person has said where.
#[derive(Clone)]
pub struct Save {
    /// The name that is proposed.
    pub name: String,
    /// Makes the file's bytes.
    pub make: Arc<dyn Fn() -> Result<Vec<u8>, Problem> + Send + Sync>,
}

impl Save {
    /// To be made by `make`.
    pub fn new(
        name: impl Into<String>,
        make: impl Fn() -> Result<Vec<u8>, Problem> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), make: Arc::new(make) }
    }
}

impl fmt::Debug for Save {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Save({})", self.name)
    }
}

impl PartialEq for Save {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.make, &other.make)
    }
}
