//! Runs from their first file to the dictionary.
//!
//! | file | subject |
//! |---|---|
//! | `job` | a run's folder: begun, resumed, finished |
//! | `group`, `board` | runs that share batches, and the loop over them; a single run is a group of one |
//! | `trainer` | one run in training: its steps, its log and its checkpoints |
//! | `window` | figures of the steps since the last logged one |
//! | `schedule` | learning rate |
//! | `checkpoint` | what a run is resumed from |
//! | `record`, `selecting` | what a run says about itself; the dictionary that a state is |

pub mod board;
pub mod checkpoint;
pub mod group;
pub mod job;
pub mod record;
mod schedule;
pub mod selecting;
pub mod trainer;
mod window;
