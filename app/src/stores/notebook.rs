//! What people say of a run or a graph as the window shows it: a change is seen at once and written in the background, in
//! order, none lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::Kept;
use crate::load::{Lane, Problem, Request, Workers};

/// The notes of one run, or the marks of one graph.
#[derive(Debug)]
pub struct Notebook<K: Kept> {
    path: PathBuf,
    shown: Arc<K>,
    version: u64,
    read: Request<K>,
    written: Request<K>,
    /// Being written.
    under_way: Vec<K::Edit>,
    /// To be written next.
    waiting: Vec<K::Edit>,
    /// The last attempt failed; the next change tries again.
    failed: bool,
}

impl<K: Kept> Default for Notebook<K> {
    fn default() -> Self {
        Self::new(Path::new(""))
    }
}

impl<K: Kept> Notebook<K> {
    /// Of the run or the graph in `path`; nothing is read yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            shown: Arc::default(),
            version: 0,
            read: Request::new(),
            written: Request::new(),
            under_way: Vec::new(),
            waiting: Vec::new(),
            failed: false,
        }
    }

    /// Reads the file, once.
    pub fn load(&mut self, workers: &Workers) {
        if self.untouched() {
            let path = self.path.clone();
            self.read.ask(workers, Lane::Folders, move || K::read(&path));
        }
    }

    /// Whether the file was never asked for.
    pub fn untouched(&self) -> bool {
        self.read.untouched()
    }

    /// What it says, with everything that was changed here.
    pub fn notes(&self) -> &Arc<K> {
        &self.shown
    }

    /// Raised whenever they change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Why they cannot be read or written.
    pub fn problem(&self) -> Option<&Problem> {
        self.written.problem().or(self.read.problem())
    }

    /// Makes a change; the file follows.
    pub fn change(&mut self, edit: K::Edit) {
        Arc::make_mut(&mut self.shown).apply(&edit);
        self.version += 1;
        self.failed = false;
        self.waiting.push(edit);
    }

    /// Once per frame: takes what arrived, sends off what waits.
    pub fn poll(&mut self, workers: &Workers) {
        if self.read.poll(workers)
            && let Some(read) = self.read.value().cloned()
        {
            self.show(&read);
        }
        if self.written.poll(workers) {
            let edits = std::mem::take(&mut self.under_way);
            match (self.written.problem(), self.written.value().cloned()) {
                (None, Some(written)) => self.show(&written),
                _ => {
                    self.failed = true;
                    self.waiting.splice(0..0, edits);
                }
            }
        }
        if !self.failed && !self.written.loading() && !self.waiting.is_empty() {
            self.under_way = std::mem::take(&mut self.waiting);
            let (path, edits) = (self.path.clone(), self.under_way.clone());
            self.written.ask(workers, Lane::Settings, move || K::write(&path, &edits));
        }
    }

    /// Writes what is not yet known to be in the file; for the end of the program, which waits for no store. Making an edit twice
    /// changes nothing.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(&mut self) -> Result<(), Problem> {
        let mut edits = std::mem::take(&mut self.under_way);
        edits.append(&mut self.waiting);
        if edits.is_empty() { Ok(()) } else { K::write_here(&self.path, &edits).map(drop) }
    }

    fn show(&mut self, file: &Arc<K>) {
        let mut notes = K::clone(file);
        self.under_way.iter().chain(&self.waiting).for_each(|edit| notes.apply(edit));
        self.shown = Arc::new(notes);
        self.version += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Notes;
    use crate::data::notes::{Change, Edit};
    use std::time::{Duration, Instant};

    fn label(feature: u32, text: &str) -> Edit {
        Edit { feature, change: Change::Label(text.into()) }
    }

    fn settle(book: &mut Notebook<Notes>, workers: &Workers) {
        let start = Instant::now();
        while (book.written.loading() || book.read.loading() || !book.waiting.is_empty())
            && !book.failed
            && start.elapsed() < Duration::from_secs(5)
        {
            book.poll(workers);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn changes_are_seen_at_once_and_all_of_them_reach_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let workers = Workers::start(&egui::Context::default()).unwrap();
        let mut book = Notebook::<Notes>::new(dir.path());
        book.load(&workers);
        for i in 0..50 {
            book.change(label(i % 7, &format!("v{i}")));
            book.poll(&workers);
        }
        assert_eq!(book.notes().label(0), Some("v49"));
        settle(&mut book, &workers);
        let file = Notes::read(dir.path()).unwrap();
        assert_eq!(file.iter().count(), 7);
        assert_eq!(file.label(0), Some("v49"));
        assert_eq!(file, **book.notes());
    }

    #[test]
    fn what_another_window_wrote_stays() {
        let dir = tempfile::tempdir().unwrap();
        let workers = Workers::start(&egui::Context::default()).unwrap();
        let mut book = Notebook::<Notes>::new(dir.path());
        book.load(&workers);
        settle(&mut book, &workers);
        Notes::write(dir.path(), &[label(3, "theirs")]).unwrap();
        book.change(label(4, "ours"));
        settle(&mut book, &workers);
        assert_eq!(book.notes().label(3), Some("theirs"));
        assert_eq!(Notes::read(dir.path()).unwrap().label(4), Some("ours"));
    }

    #[test]
    fn a_failure_keeps_the_change_for_the_next_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("later");
        let workers = Workers::start(&egui::Context::default()).unwrap();
        let mut book = Notebook::<Notes>::new(&run);
        book.change(label(1, "kept"));
        settle(&mut book, &workers);
        assert!(book.problem().is_some());
        assert_eq!(book.notes().label(1), Some("kept"));
        std::fs::create_dir(&run).unwrap();
        book.change(label(2, "more"));
        settle(&mut book, &workers);
        assert!(book.problem().is_none());
        assert_eq!(Notes::read(&run).unwrap().iter().count(), 2);
    }
}
