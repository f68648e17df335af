//! What becomes of each feature while a run is trained: when it is born, how it moves, when it dies.
//!
//! ```text
//! trainer ──(at chosen steps)──▶ history/STEP.parquet: counts, decoder rows in 8 bits
//!                                        └──(after the last step)──▶ snapshots.parquet, events.parquet, history.json
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `schedule` | at which steps |
//! | `keeper` | taking snapshots, and dropping those after the checkpoint that a run is resumed from |
//! | `direction` | a decoder row in 8 bits, and the cosine of two |
//! | `merge` | the tables, when training is over |
//! | `events` | what became of a feature, read off its rows; all features together |
//!
//! What one wants to know most is when a feature became what it is: the cosine of its row with its *last* row, which nobody knows before
//! the end. So rows have to be kept. In 8 bits a row is d bytes; a checkpoint holds three f32 for each of two rows, 24·d bytes per feature,
//! so the default of twenty snapshots and the beginning takes less disk than one checkpoint, whatever F and d, and only until the end.
//! A random projection would be smaller, but its cosines are guesses: ± 0.02 at 0.9 with 64 dimensions (one standard deviation). The
//! worst of thousands of random rows in 8 bits is off by 0.0015 for d = 768 and by 0.005 for d = 16, and by twice as much where one
//! component is ten times the others. And they are sums of whole numbers: the same bits on every machine.
//!
//! Snapshots lie in files of their own and hold everything that the tables are made of, so a checkpoint has to know the counts since the
//! last one alone. One after the checkpoint that a run is resumed from is dropped and taken again.

mod direction;
mod events;
mod keeper;
mod merge;
mod schedule;

pub use events::{SAME_COSINE, events, summary};
pub(super) use keeper::{Keeper, clean};
pub(super) use merge::finish;

#[cfg(test)]
mod tests;
