//! A folder of a store: opened in the background as a copy on this machine, and opened again when the person asks.

use std::path::{Path, PathBuf};

use crate::data;
use crate::load::{Lane, Problem, StreamedRequest, Workers};
use crate::words::{format, place};

/// The copy of what is at an address.
#[derive(Debug)]
pub struct Remote {
    name: PathBuf,
    opening: StreamedRequest<PathBuf>,
    /// Whether what is being opened has not been looked at.
    waiting: bool,
    path: Option<PathBuf>,
}

impl Remote {
    /// Of a name that is an address; nothing is asked yet.
    pub fn of(name: &Path) -> Option<Self> {
        let new = || Self {
            name: name.to_owned(),
            opening: StreamedRequest::default(),
            waiting: false,
            path: None,
        };
        place::is_address(name).then(new)
    }

    /// Begins to open it: what is there and still right is kept.
    pub fn open(&mut self, workers: &Workers) {
        let name = self.name.clone();
        self.waiting = true;
        self.opening.ask(workers, Lane::Folders, move |feed| {
            let path = data::remote::open(&name, &|done, total| {
                feed.progress(done, total);
                feed.cancelled()
            })?;
            feed.send(path);
            Ok(())
        });
    }

    /// Once per frame: true when it has been opened, or could not be.
    pub fn poll(&mut self, workers: &Workers) -> bool {
        self.opening.poll(workers);
        if !self.waiting || self.opening.loading() {
            return false;
        }
        self.waiting = false;
        if let Some(path) = self.opening.pieces().last() {
            self.path = Some(path.clone());
        }
        true
    }

    /// Where the copy is, once it is there.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Where the copy is of what is called `name`, in this folder.
    pub fn path_of(&self, name: &Path) -> Option<PathBuf> {
        let below = name.strip_prefix(&self.name).ok()?;
        let path = self.path()?;
        Some(if below.as_os_str().is_empty() { path.to_owned() } else { path.join(below) })
    }

    /// Why it could not be opened.
    pub fn problem(&self) -> Option<&Problem> {
        self.opening.problem()
    }

    /// What is being done, while it is opened.
    pub fn progress(&self) -> Option<String> {
        let name = self.name.display();
        self.waiting.then(|| match self.opening.progress() {
            Some((done, total)) => {
                format!("Opening {name}: {} of {}…", format::bytes(done), format::bytes(total))
            }
            None => format!("Opening {name}…"),
        })
    }
}
