//! The stream of rows that training reads: in an order that is a function of the seed, ahead of the steps, in bounded memory.
//!
//! | file | subject |
//! |---|---|
//! | `source` | a dataset: rows to train on, rows that are held out |
//! | `order` | which row comes when: a pure function of (seed, epoch, pool) |
//! | `rows`, `dataset_rows` | reading ranges of rows |
//! | `layers` | the datasets of all layers of a harvest, for a cross-layer transcoder |
//! | `pools` | a pool of rows that is permuted while the next one is read |
//! | `batches` | scaled rows; those of huge norm are left out |
//! | `ahead` | the same on a thread |

pub mod ahead;
pub mod batches;
pub mod dataset_rows;
pub mod layers;
pub mod order;
pub mod pools;
pub mod rows;
pub mod source;
