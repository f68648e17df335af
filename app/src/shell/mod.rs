//! The frame around the views: state, menus, tree, tabs, palette, history, settings.
//!
//! `logic` runs once per frame before anything is drawn: it takes what has arrived, follows live runs and
//! applies the [`Action`](crate::action::Action)s that were collected. Drawing only collects more of them.

mod apply;
mod files;
mod frame;
mod help;
mod history;
mod jobs;
mod navigate;
mod palette;
mod path_prompt;
mod picker;
mod remote;
mod settings;
mod tabs;
mod tree;
mod turns;
mod workspace;

pub use crate::action::{Command, Menu};
pub use crate::preferences::Preferences;
pub use frame::{App, Options};
pub use history::History;
pub use picker::{DesktopPicker, FixedPicker, FolderPicker, Picked};
pub use settings::{Settings, SettingsFile};
use tabs::Tabs;
pub use workspace::Workspace;
