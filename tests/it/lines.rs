//! What a running program has logged so far.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Reads until the writer ends, on a thread of its own.
    pub fn read(source: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let sink = lines.clone();
        thread::spawn(move || {
            BufReader::new(source)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| sink.locked().push(line));
        });
        lines
    }

    pub fn find(&self, part: &str) -> Option<String> {
        let lines = self.locked();
        lines.iter().find(|line| line.contains(part)).cloned()
    }

    pub fn all(&self) -> String {
        self.locked().join("\n")
    }

    fn locked(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
