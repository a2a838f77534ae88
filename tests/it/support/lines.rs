//! Collects the log lines of a running program.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::thread;

use parking_lot::{Mutex, MutexGuard};

use crate::support::bridge::eventually;

#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>, Arc<AtomicBool>);

impl Lines {
    /// Reads on a thread until the writer ends.
    pub fn read(source: impl Read + Send + 'static) -> Self {
        Self::read_and_copy(source, io::sink())
    }

    /// Does the same, and writes each line to `copy` too.
    pub fn read_and_copy(
        source: impl Read + Send + 'static,
        mut copy: impl Write + Send + 'static,
    ) -> Self {
        let lines = Self::default();
        let sink = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                writeln!(copy, "{line}").expect("the target directory is writable");
                sink.locked().push(line);
            }
            sink.1.store(true, Ordering::Release);
        });
        lines
    }

    pub fn find(&self, part: &str) -> Option<String> {
        let lines = self.locked();
        lines.iter().find(|line| line.contains(part)).cloned()
    }

    /// Waits until the writer ends, and returns all lines.
    pub fn wait_for_end(&self) -> String {
        eventually(|| {
            let has_ended = self.1.load(Ordering::Acquire);
            has_ended
                .then(|| self.all())
                .ok_or_else(|| "the writer has not ended".to_owned())
        })
    }

    pub fn all(&self) -> String {
        self.locked().join("\n")
    }

    fn locked(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock()
    }
}

/// Creates a log file in `target/logs` for the next program of this test. The next test run deletes it.
pub fn log_file() -> (File, PathBuf) {
    static EMPTIED: Once = Once::new();
    static STARTED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
    // A test's thread has the test's name.
    let test = thread::current()
        .name()
        .unwrap_or("unnamed")
        .replace("::", ".");
    let number = {
        let mut started = STARTED.lock();
        let number = started.entry(test.clone()).or_default();
        *number += 1;
        *number
    };
    let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("logs");
    // Deletes the files of an earlier run, which would look like this run's.
    EMPTIED.call_once(|| drop(fs::remove_dir_all(&logs)));
    let path = logs.join(format!("{test}.{number}.log"));
    let file = fs::create_dir_all(&logs).and_then(|()| File::create(&path));
    (file.expect("the target directory is writable"), path)
}
