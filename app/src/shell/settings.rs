//! What the window remembers: theme, zoom, recent folders and the tabs of each folder.
//!
//! One JSON file, `sae-workbench/window.json` in the user's configuration folder (`$XDG_CONFIG_HOME`, else
//! `~/.config`), written to a temporary file, fsynced and renamed. A file that cannot be read or written is
//! reported and the window works on with what it has.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::load::Problem;
use crate::preferences::Preferences;
use crate::theme::Choice;

/// Folders that are remembered.
const RECENT: usize = 12;

/// The remembered choices.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Settings {
    /// Dark, light or as the desktop.
    pub theme: Choice,
    /// Size of everything; 1 is as designed.
    pub zoom: f32,
    /// Whether things may move: fade, slide, turn, blink.
    pub motion: bool,
    /// Whether the tree is shown.
    pub tree: bool,
    /// Folders opened last, newest first.
    pub recent: Vec<PathBuf>,
    /// The program that trains; the `sae` next to `sae-app` when `None`.
    pub program: Option<PathBuf>,
    /// Columns, groups, pins and folds.
    pub preferences: Preferences,
    /// The tabs of each recent folder, as the shell wrote them.
    pub layouts: Vec<(PathBuf, serde_json::Value)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: Choice::default(),
            zoom: 1.0,
            motion: true,
            tree: true,
            recent: Vec::new(),
            program: None,
            preferences: Preferences::default(),
            layouts: Vec::new(),
        }
    }
}

impl Settings {
    /// Puts `folder` in front of the recent ones.
    pub fn remember(&mut self, folder: &Path) {
        self.recent.retain(|f| f != folder);
        self.recent.insert(0, folder.to_owned());
        self.recent.truncate(RECENT);
        let recent = &self.recent;
        self.layouts.retain(|(f, _)| recent.contains(f));
    }

    /// The tabs that `folder` had.
    pub fn layout(&self, folder: &Path) -> Option<&serde_json::Value> {
        self.layouts.iter().find(|(f, _)| f == folder).map(|(_, layout)| layout)
    }

    /// Keeps the tabs of `folder`.
    pub fn set_layout(&mut self, folder: &Path, layout: serde_json::Value) {
        self.layouts.retain(|(f, _)| f != folder);
        self.layouts.push((folder.to_owned(), layout));
    }
}

/// Where the settings are kept. `None` inside: nowhere (tests, or no home folder).
#[derive(Clone, Debug, Default)]
pub struct SettingsFile(Option<PathBuf>);

impl SettingsFile {
    /// The user's own file.
    pub fn of_user() -> Self {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let config = absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("APPDATA"))
            .or_else(|| absolute("HOME").map(|home| home.join(".config")));
        Self(config.map(|dir| dir.join("sae-workbench").join("window.json")))
    }

    /// A file of the caller's choice.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(Some(path.into()))
    }

    /// Nothing is remembered.
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// Reads the settings. A missing file gives the defaults; a damaged one the defaults and the reason.
    pub fn read(&self) -> (Settings, Option<Problem>) {
        let Some(path) = &self.0 else { return (Settings::default(), None) };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return (Settings::default(), None),
            Err(e) => return (Settings::default(), Some(unreadable(path, &e))),
        };
        match serde_json::from_str::<Settings>(&text) {
            Ok(mut settings) => {
                if !(0.5..=3.0).contains(&settings.zoom) {
                    settings.zoom = 1.0;
                }
                (settings, None)
            }
            Err(e) => (Settings::default(), Some(unreadable(path, &e))),
        }
    }

    /// Writes the settings to a temporary file and puts it in the place of the old one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, settings: &Settings) -> Result<(), Problem> {
        let Some(path) = &self.0 else { return Ok(()) };
        let attempt = || -> std::io::Result<()> {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            write_beside(path, &serde_json::to_vec_pretty(settings)?)
        };
        attempt().map_err(|e| {
            Problem::new(format!("Cannot save the settings to {}: {e}.", path.display()))
                .with_remedy("The window works on; theme, recent folders and tabs will not be remembered.")
        })
    }
}

/// Writes `bytes` to a file next to `path`, fsyncs and renames: the old file or the new one, never half of
/// each.
pub(super) fn write_beside(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let placed = written.and_then(|()| std::fs::rename(&beside, path));
    if placed.is_err() {
        // Best effort: the failure that matters is the one reported.
        let _ = std::fs::remove_file(&beside);
    }
    placed
}

fn unreadable(path: &Path, e: &dyn std::fmt::Display) -> Problem {
    Problem::new(format!("Cannot read the settings in {}: {e}.", path.display()))
        .with_remedy("The defaults are used; the file is replaced when something is next remembered.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = SettingsFile::at(dir.path().join("new").join("window.json"));
        assert_eq!(file.read().0, Settings::default());
        let mut settings =
            Settings { theme: Choice::Light, zoom: 1.25, motion: false, ..Settings::default() };
        for i in 0..20 {
            settings.remember(Path::new(&format!("/data/{i}")));
        }
        settings.remember(Path::new("/data/15"));
        settings.set_layout(Path::new("/data/15"), serde_json::json!({"a": 1}));
        file.write(&settings).unwrap();
        let (read, problem) = file.read();
        assert_eq!(problem, None);
        assert_eq!(read, settings);
        assert_eq!(read.recent.len(), RECENT);
        assert_eq!(read.recent[0], Path::new("/data/15"));
        let left: Vec<_> = std::fs::read_dir(dir.path().join("new")).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing is left next to the file");
    }

    #[test]
    fn damage_is_reported_and_not_fatal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("window.json");
        std::fs::write(&path, "{\"theme\": 3").unwrap();
        let (settings, problem) = SettingsFile::at(&path).read();
        assert_eq!(settings, Settings::default());
        assert!(problem.unwrap().what.contains("window.json"));
        let blocked = SettingsFile::at(path.join("below-a-file.json"));
        assert!(blocked.write(&settings).unwrap_err().what.contains("Cannot save"));
    }
}
