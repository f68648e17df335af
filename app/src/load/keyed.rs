//! A value that belongs to a key: what a view shows changes, and an answer for something else must not pass
//! for it.

use std::sync::Arc;

use super::{Lane, Problem, Request, Workers};

/// The newest value and what it is of.
#[derive(Debug)]
pub struct KeyedRequest<K, T> {
    asked: Option<K>,
    made: Request<(K, Arc<T>)>,
}

impl<K, T> Default for KeyedRequest<K, T>
where
    K: Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    fn default() -> Self {
        Self { asked: None, made: Request::new() }
    }
}

impl<K, T> KeyedRequest<K, T>
where
    K: Clone + PartialEq + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    /// Asks for the value of `key`, unless that was the last thing asked, and takes what has arrived. Call
    /// once per frame.
    pub fn want(
        &mut self,
        workers: &Workers,
        lane: Lane,
        key: &K,
        make: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) {
        if self.asked.as_ref() != Some(key) {
            self.asked = Some(key.clone());
            let key = key.clone();
            self.made.ask(workers, lane, move || make().map(|value| (key, Arc::new(value))));
        }
        self.made.poll(workers);
    }

    /// The value of exactly `key`.
    pub fn get(&self, key: &K) -> Option<Arc<T>> {
        let made = self.made.value().filter(|made| made.0 == *key)?;
        Some(Arc::clone(&made.1))
    }

    /// As [`KeyedRequest::get`], lent.
    pub fn last_of(&self, key: &K) -> Option<&T> {
        self.made.value().filter(|made| made.0 == *key).map(|made| &*made.1)
    }

    /// The newest value, whatever it is of.
    pub fn last(&self) -> Option<Arc<T>> {
        self.made.value().map(|made| Arc::clone(&made.1))
    }

    /// Why there is no value of `key`.
    pub fn problem(&self, key: &K) -> Option<&Problem> {
        self.made.problem().filter(|_| self.asked.as_ref() == Some(key) && !self.made.loading())
    }

    /// Forgets what was asked, so that it is asked again.
    pub fn again(&mut self) {
        self.asked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn values_are_of_their_key_alone() {
        let workers = Workers::start(&egui::Context::default()).unwrap();
        let mut value: KeyedRequest<u32, u32> = KeyedRequest::default();
        let settle = |value: &mut KeyedRequest<u32, u32>, key: u32| {
            let start = Instant::now();
            while value.get(&key).is_none() && value.problem(&key).is_none() {
                let make = move || if key == 9 { Err(Problem::new("no")) } else { Ok(key * 10) };
                value.want(&workers, Lane::Pages, &key, make);
                assert!(start.elapsed() < Duration::from_secs(5));
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        settle(&mut value, 1);
        assert_eq!(value.get(&1).as_deref(), Some(&10));
        assert_eq!(value.get(&2), None);
        settle(&mut value, 9);
        assert_eq!(value.problem(&9).map(|p| p.what.as_str()), Some("no"));
        assert_eq!((value.problem(&1), value.last().as_deref()), (None, Some(&10)));
        settle(&mut value, 2);
        assert_eq!(value.get(&2).as_deref(), Some(&20));
    }
}
