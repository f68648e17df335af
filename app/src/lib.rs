//! The window of SAE Workbench (`sae-app`): look at the features of a language model, at the text that makes
//! them fire, and at what the experts of a mixture-of-experts model do.
//!
//! It shows what lies in a folder. The only file that it writes there is `RUN/notes.json`, with what a person
//! says about features; runs are written by the program `sae`, which it starts. It knows no file formats and
//! no mathematics: the crate `storage` reads everything, and every number on the screen is one that the files
//! hold, or a count of them. A text that a person types is the exception: [`prompt`] runs a model on it, and
//! only that room names the crate `sae`.
//!
//! # How data flows
//!
//! ```text
//!   files ──storage──▶ data::*  (plain values; on worker threads only)
//!                         │  answers over one-shot channels, stale ones dropped   load::Request
//!                         ▼
//!   stores::Stores, lent for reading          a view's own requests
//!                         │                          │
//!                         ▼                          ▼
//!   views::*   logic: asks for what is missing   ui: draws with widgets::* (which know no files)
//!       │ action::Action
//!       ▼
//!   shell::apply  (the one place where anything outside a view changes)
//! ```
//!
//! A frame: `shell::App::logic` takes what has arrived, applies what the last frame's drawing asked for, lets
//! every view ask for what it misses and applies that too; `shell::App::draw` draws. Nothing on this path
//! reads a file, sorts a table or waits.
//!
//! # Where things are
//!
//! | room | subject |
//! |---|---|
//! | [`address`] | places and how they are written: `RUN#feature=123` |
//! | [`args`] | the command line |
//! | [`libraries`] | what of the system a window needs, and which package has it |
//! | [`load`] | worker threads, requests with generations, problems with remedies |
//! | [`data`] | what the files say, as plain values; the only room that names `storage` |
//! | [`preferences`] | what a person chose to see, of any folder: remembered columns, pins, folds |
//! | [`prompt`] | a model at work on typed text; the only room that names `sae` |
//! | [`training`] | the program `sae` as a process: started, paused, followed |
//! | [`theme`] | design tokens (the only place that names a colour) and their application |
//! | [`words`] | numbers as people read them, what the columns of features are called; knows neither files nor widgets |
//! | [`widgets`] | numbers, tables, histograms, shaded text, notices |
//! | [`stores`] | what is loaded of runs and datasets, shared by all views; notes |
//! | [`action`] | everything that can be asked for: actions, commands and their menus and keys |
//! | [`views`] | the tabs, one file or folder per view: runs, features, map, feature, compare, dataset, experts, prompt, welcome |
//! | [`shell`] | the window's state, menus, palette, tree, tabs, history, settings; applies actions |
//!
//! A new view is a file in `views`, a [`address::Place`] and a line in [`views::open`]; a new command is a
//! variant of [`action::Command`], from which menus, keys and the palette follow.
//!
//! Every place has an address, which the command line takes and the window copies:
//!
//! ```
//! use app::address::{Address, Place};
//!
//! let address = Address::parse("runs/topk#feature=123")?;
//! assert_eq!(address.place, Some(Place::Feature { run: "runs/topk".into(), feature: 123 }));
//! # Ok::<(), String>(())
//! ```

#![forbid(unsafe_code)]

pub mod action;
pub mod address;
pub mod args;
pub mod claims;
pub mod data;
pub mod libraries;
pub mod load;
pub mod preferences;
pub mod prompt;
pub mod shell;
pub mod stores;
pub mod theme;
pub mod training;
pub mod views;
pub mod widgets;
pub mod words;
