//! What views, menus, keys and the palette want done, as values. The shell applies them, in one place
//! (`shell::apply`); nothing else changes anything outside itself.

mod command;

pub use command::{Command, Menu};

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::address::Place;
use crate::data::MarkEdit;
use crate::data::notes::Edit;
use crate::load::Problem;
use crate::preferences::Preference;
use crate::stores::Need;
use crate::training::{Job, TrainingJob};

/// Something to be done after the views have had their turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Go to a place in the open folder.
    Go(Place),
    /// Run a command.
    Do(Command),
    /// Open a folder.
    Open(PathBuf),
    /// Put text on the clipboard.
    Copy(String),
    /// Save something as a file; the person chooses where.
    Save(Save),
    /// Save a picture of a part of the window, under this name.
    Picture(String, egui::Rect),
    /// Load data into the stores, unless it is there or on its way.
    Load(Need),
    /// Load data again, after a problem.
    Retry(Need),
    /// Edit the notes of a run.
    Note {
        /// Folder of the run.
        run: PathBuf,
        /// The edit.
        edit: Edit,
    },
    /// Edit the marks of a graph.
    Mark {
        /// Folder of the graph.
        graph: PathBuf,
        /// The edit.
        edit: MarkEdit,
    },
    /// Select features of a run for its feature table and map.
    Select {
        /// Folder of the run.
        run: PathBuf,
        /// Ascending; `None` clears the selection.
        features: Option<Arc<Vec<u32>>>,
    },
    /// The feature table of a run is in a new order, which "next" and "previous" follow.
    Order {
        /// Folder of the run.
        run: PathBuf,
        /// The features that the table shows, from top to bottom.
        features: Arc<Vec<u32>>,
    },
    /// Run the model on a text: opens the run's prompt and puts the text into it.
    Prompt {
        /// Folder of the run.
        run: PathBuf,
        /// A feature to shade the text by.
        feature: Option<u32>,
        /// The text.
        text: String,
    },
    /// Remember a choice.
    Prefer(Preference),
    /// Start or resume a training.
    Train(TrainingJob),
    /// Pause the training of a run: it writes a checkpoint and ends.
    PauseTraining {
        /// Folder of the run.
        run: PathBuf,
        /// The process that trains it, where this window did not start it.
        process: Option<u32>,
    },
    /// Dismiss the outcome of the training in this folder.
    DismissTraining(PathBuf),
    /// Run a command next to the window.
    Run(Job),
    /// End the job of this number.
    CancelJob(u64),
    /// Dismiss the outcome of the job of this number.
    DismissJob(u64),
    /// Show what came of the job of this number: open the folder that it made, or read the open one again.
    ShowJob(u64),
}

/// A file to be saved. A worker makes it once the person has chosen where.
#[derive(Clone)]
pub struct Save {
    /// The proposed file name.
    pub name: String,
    /// Makes the file's bytes.
    pub make: Arc<dyn Fn() -> Result<Vec<u8>, Problem> + Send + Sync>,
}

impl Save {
    /// A file called `name` whose bytes `make` returns.
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
