//! Choosing a folder to open or a file to save: the desktop's dialog, or whatever a test says.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use egui::Context;

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picked {
    /// This folder or file.
    Chosen(PathBuf),
    /// The person changed their mind.
    Cancelled,
    /// There is no dialog: no portal and no zenity, as over ssh.
    NoDialog,
}

/// A dialog that is gone so soon was never seen.
const UNSEEN: Duration = Duration::from_millis(400);

/// Something that can ask the person for a folder without holding up the window.
pub trait FolderPicker {
    /// Begins to ask; the answer comes from [`FolderPicker::poll`].
    fn ask(&mut self, ctx: &Context);
    /// The answer, once.
    fn poll(&mut self) -> Option<Picked>;
    /// Begins to ask where to save a file, `name` being proposed; the answer comes from
    /// [`FolderPicker::poll_file`].
    fn ask_file(&mut self, ctx: &Context, name: &str);
    /// The answer, once.
    fn poll_file(&mut self) -> Option<Picked>;
}

/// The desktop's own dialog, on a thread of its own.
#[derive(Debug, Default)]
pub struct DesktopPicker {
    answer: Option<Receiver<Picked>>,
    file: Option<Receiver<Picked>>,
}

/// Runs a dialog on a thread of its own.
fn begin(
    answer: &mut Option<Receiver<Picked>>,
    ctx: &Context,
    dialog: impl FnOnce() -> Option<PathBuf> + Send + 'static,
) {
    if answer.is_some() {
        return;
    }
    let (sender, receiver) = sync_channel(1);
    let ctx = ctx.clone();
    let asked = std::thread::Builder::new().name("sae-dialog".to_owned()).spawn(move || {
        let begun = Instant::now();
        let picked = match dialog() {
            Some(path) => Picked::Chosen(path),
            // The library says no more than that nothing was chosen.
            None if begun.elapsed() < UNSEEN => Picked::NoDialog,
            None => Picked::Cancelled,
        };
        let _ = sender.send(picked);
        ctx.request_repaint();
    });
    if asked.is_ok() {
        *answer = Some(receiver);
    }
}

fn take(answer: &mut Option<Receiver<Picked>>) -> Option<Picked> {
    let taken = match answer.as_ref()?.try_recv() {
        Ok(taken) => taken,
        Err(TryRecvError::Empty) => return None,
        Err(TryRecvError::Disconnected) => Picked::NoDialog,
    };
    *answer = None;
    Some(taken)
}

impl FolderPicker for DesktopPicker {
    fn ask(&mut self, ctx: &Context) {
        begin(&mut self.answer, ctx, || {
            rfd::FileDialog::new().set_title("Open a folder with runs and datasets").pick_folder()
        });
    }

    fn poll(&mut self) -> Option<Picked> {
        take(&mut self.answer)
    }

    fn ask_file(&mut self, ctx: &Context, name: &str) {
        let name = name.to_owned();
        begin(&mut self.file, ctx, move || {
            rfd::FileDialog::new().set_title("Save as").set_file_name(name).save_file()
        });
    }

    fn poll_file(&mut self) -> Option<Picked> {
        take(&mut self.file)
    }
}

/// Answers at once with a folder fixed beforehand; files are saved into it under the name proposed.
#[derive(Debug, Default)]
pub struct FixedPicker {
    /// The answer.
    pub folder: Option<PathBuf>,
    asked: bool,
    name: Option<String>,
    no_dialog: bool,
}

impl FixedPicker {
    /// Will answer `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..Self::default() }
    }

    /// As on a desktop without dialogs.
    pub fn without_dialog() -> Self {
        Self { no_dialog: true, ..Self::default() }
    }

    fn answer(&self, name: Option<&str>) -> Picked {
        match &self.folder {
            _ if self.no_dialog => Picked::NoDialog,
            Some(folder) => Picked::Chosen(name.map_or_else(|| folder.clone(), |name| folder.join(name))),
            None => Picked::Cancelled,
        }
    }
}

impl FolderPicker for FixedPicker {
    fn ask(&mut self, _ctx: &Context) {
        self.asked = true;
    }

    fn poll(&mut self) -> Option<Picked> {
        std::mem::take(&mut self.asked).then(|| self.answer(None))
    }

    fn ask_file(&mut self, _ctx: &Context, name: &str) {
        self.name = Some(name.to_owned());
    }

    fn poll_file(&mut self) -> Option<Picked> {
        let name = self.name.take()?;
        Some(self.answer(Some(&name)))
    }
}
