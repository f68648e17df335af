//! The frame around the views: state, commands, menus, tree, tabs, palette, history, settings.
//!
//! `logic` runs once a frame before anything is drawn: it takes what arrived, follows live runs and applies what was
//! asked for. `ui` only draws and collects [`Action`](crate::views::Action)s.

mod apply;
mod command;
mod frame;
mod history;
mod palette;
mod picker;
mod settings;
mod tabs;
mod tree;
mod workspace;

pub use command::{Command, Menu};
pub use frame::{App, Options};
pub use history::History;
pub use picker::{DesktopPicker, FixedPicker, FolderPicker};
pub use settings::{Settings, SettingsFile};
pub use workspace::Workspace;
