//! Choosing a folder to open or a file to save: the desktop's dialog, or whatever a test says.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use egui::Context;

/// Something that can ask the person for a folder without holding up the window.
pub trait FolderPicker {
    /// Begins to ask; the answer comes from [`FolderPicker::poll`].
    fn ask(&mut self, ctx: &Context);
    /// The answer, once: `Some(None)` when the person changed their mind.
    fn poll(&mut self) -> Option<Option<PathBuf>>;
    /// Begins to ask where to save a file, `name` being proposed; the answer comes from
    /// [`FolderPicker::poll_file`].
    fn ask_file(&mut self, ctx: &Context, name: &str);
    /// The answer, once: `Some(None)` when the person changed their mind.
    fn poll_file(&mut self) -> Option<Option<PathBuf>>;
}

/// The desktop's own dialog, on a thread of its own.
#[derive(Debug, Default)]
pub struct DesktopPicker {
    answer: Option<Receiver<Option<PathBuf>>>,
    file: Option<Receiver<Option<PathBuf>>>,
}

/// Runs a dialog on a thread of its own.
fn begin(
    answer: &mut Option<Receiver<Option<PathBuf>>>,
    ctx: &Context,
    dialog: impl FnOnce() -> Option<PathBuf> + Send + 'static,
) {
    if answer.is_some() {
        return;
    }
    let (sender, receiver) = sync_channel(1);
    let ctx = ctx.clone();
    let asked = std::thread::Builder::new().name("sae-dialog".to_owned()).spawn(move || {
        let _ = sender.send(dialog());
        ctx.request_repaint();
    });
    if asked.is_ok() {
        *answer = Some(receiver);
    }
}

fn take(answer: &mut Option<Receiver<Option<PathBuf>>>) -> Option<Option<PathBuf>> {
    let taken = match answer.as_ref()?.try_recv() {
        Ok(taken) => taken,
        Err(TryRecvError::Empty) => return None,
        Err(TryRecvError::Disconnected) => None,
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

    fn poll(&mut self) -> Option<Option<PathBuf>> {
        take(&mut self.answer)
    }

    fn ask_file(&mut self, ctx: &Context, name: &str) {
        let name = name.to_owned();
        begin(&mut self.file, ctx, move || {
            rfd::FileDialog::new().set_title("Save as").set_file_name(name).save_file()
        });
    }

    fn poll_file(&mut self) -> Option<Option<PathBuf>> {
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
}

impl FixedPicker {
    /// Will answer `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..Self::default() }
    }
}

impl FolderPicker for FixedPicker {
    fn ask(&mut self, _ctx: &Context) {
        self.asked = true;
    }

    fn poll(&mut self) -> Option<Option<PathBuf>> {
        std::mem::take(&mut self.asked).then(|| self.folder.clone())
    }

    fn ask_file(&mut self, _ctx: &Context, name: &str) {
        self.name = Some(name.to_owned());
    }

    fn poll_file(&mut self) -> Option<Option<PathBuf>> {
        let name = self.name.take()?;
        Some(self.folder.as_ref().map(|folder| folder.join(name)))
    }
}
