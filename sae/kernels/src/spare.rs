//! Buffers that parallel tasks hand to each other: as many exist as tasks run at once, and none is allocated twice.

use std::sync::{Mutex, PoisonError};

/// A stack of buffers that nobody uses at the moment.
#[derive(Debug, Default)]
pub struct Spare<T>(Mutex<Vec<T>>);

impl<T: Default> Spare<T> {
    /// A buffer: one that was given back, with its old contents, or a new one.
    pub fn take(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Calls `task` with a buffer and gives it back.
    pub fn with<R>(&self, task: impl FnOnce(&mut T) -> R) -> R {
        let mut buffer = self.take();
        let result = task(&mut buffer);
        self.give(buffer);
        result
    }

    /// Gives a buffer back for others to take.
    pub fn give(&self, buffer: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_was_given_back_is_taken_again() {
        let spare = Spare::<Vec<u8>>::default();
        assert!(spare.take().is_empty());
        spare.give(vec![1, 2]);
        assert_eq!(spare.take(), [1, 2]);
        assert!(spare.take().is_empty());
        spare.give(vec![3]);
        assert_eq!(spare.with(|buffer| buffer.len()), 1);
        assert_eq!(spare.take(), [3]);
    }
}
