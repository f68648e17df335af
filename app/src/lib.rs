//! The window of SAE Workbench (`sae-app`): look at the features of a language model, at the text that makes them fire,
//! and at what the experts of a mixture-of-experts model do.
//!
//! It shows what lies in a folder; what a person says about features is the one thing that it writes there itself
//! (`RUN/notes.json`); runs are written by the program `sae`, which it starts. It knows no file formats and no mathematics: everything is read
//! through the crate `storage`, and every number on the screen is one that the files hold, or a count of them. A text that a person types is
//! the exception: [`prompt`] runs a model on it, and is the one room that names the crate `sae`.
//!
//! # How data flows
//!
//! ```text
//!   files ──storage──▶ data::*  (plain values; on worker threads only)
//!                         │  answers over one-shot channels, stale ones dropped   load::Requested
//!                         ▼
//!   views::*  ── draw ──▶ widgets::*  (know no files)
//!       │ Action
//!       ▼
//!   shell::apply  (the one place where anything changes)
//! ```
//!
//! A frame: `shell::App::logic` takes what has arrived, follows live runs and applies actions; `shell::App::draw` draws.
//! Nothing on this path reads a file, sorts a table or waits.
//!
//! # Where things are
//!
//! | room | subject |
//! |---|---|
//! | [`address`] | places and how they are written: `RUN#feature=123` |
//! | [`args`] | the command line |
//! | [`load`] | worker threads, requests with generations, problems with remedies |
//! | [`data`] | what the files say, as plain values; the only room that names `storage` |
//! | [`prompt`] | a model at work on typed text; the only room that names `sae` |
//! | [`training`] | the program `sae` as a process: begun, paused, followed |
//! | [`theme`] | design tokens (the only place that names a colour) and their application |
//! | [`words`] | numbers as people read them, what the columns of features are called; knows neither files nor widgets |
//! | [`widgets`] | numbers, tables, histograms, shaded text, notices |
//! | [`views`] | the tabs, one file or folder each: runs, features, map, feature, compare, dataset, experts, prompt, welcome |
//! | [`shell`] | state, commands, menus, palette, tree, tabs, history, settings |
//!
//! A new view is a file in `views`, a [`address::Place`] and a line in [`views::open`]; a new command is a variant of
//! [`shell::Command`], from which menus, keys and the palette follow.

#![forbid(unsafe_code)]

pub mod address;
pub mod args;
pub mod data;
pub mod load;
pub mod prompt;
pub mod shell;
pub mod theme;
pub mod training;
pub mod views;
pub mod widgets;
pub mod words;
