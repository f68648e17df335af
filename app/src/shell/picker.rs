//! Choosing a folder: the desktop's dialog, or whatever a test says.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use egui::Context;

/// Something that can ask the person for a folder without holding up the window.
pub trait FolderPicker {
    /// Begins to ask; the answer comes from [`FolderPicker::poll`].
    fn ask(&mut self, ctx: &Context);
    /// The answer, once: `Some(None)` when the person changed their mind.
    fn poll(&mut self) -> Option<Option<PathBuf>>;
}

/// The desktop's own dialog, on a thread of its own.
#[derive(Debug, Default)]
pub struct DesktopPicker {
    answer: Option<Receiver<Option<PathBuf>>>,
}

impl FolderPicker for DesktopPicker {
    fn ask(&mut self, ctx: &Context) {
        if self.answer.is_some() {
            return;
        }
        let (sender, receiver) = sync_channel(1);
        let ctx = ctx.clone();
        let asked = std::thread::Builder::new().name("sae-folder-dialog".to_owned()).spawn(move || {
            let picked =
                rfd::FileDialog::new().set_title("Open a folder with runs and datasets").pick_folder();
            let _ = sender.send(picked);
            ctx.request_repaint();
        });
        if asked.is_ok() {
            self.answer = Some(receiver);
        }
    }

    fn poll(&mut self) -> Option<Option<PathBuf>> {
        let answer = match self.answer.as_ref()?.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => None,
        };
        self.answer = None;
        Some(answer)
    }
}

/// Answers at once with a folder fixed beforehand.
#[derive(Debug, Default)]
pub struct FixedPicker {
    /// The answer.
    pub folder: Option<PathBuf>,
    asked: bool,
}

impl FixedPicker {
    /// Will answer `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), asked: false }
    }
}

impl FolderPicker for FixedPicker {
    fn ask(&mut self, _ctx: &Context) {
        self.asked = true;
    }

    fn poll(&mut self) -> Option<Option<PathBuf>> {
        std::mem::take(&mut self.asked).then(|| self.folder.clone())
    }
}
