//! A settable time of day for a process, by the library `clock.c`, which is compiled when a test first needs it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

static LIBRARY: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let home = tempfile::tempdir().expect("a directory");
    let library = home.path().join("libclock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/clock.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
    let status = compiler.arg(&library).arg(source).status();
    assert!(status.expect("a C compiler").success());
    (home, library)
});

/// A clock that can be set.
pub struct Clock {
    home: TempDir,
    offset: File,
}

impl Clock {
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        fs::write(home.path().join("offset"), 0_i64.to_ne_bytes()).expect("a file");
        let offset = File::options().write(true).open(home.path().join("offset"));
        let offset = offset.expect("a file");
        Self { home, offset }
    }

    /// Returns the environment of a process that uses this clock.
    pub fn environment(&self) -> [(&'static str, OsString); 2] {
        [
            ("LD_PRELOAD", LIBRARY.1.clone().into()),
            ("CLOCK_OFFSET", self.home.path().join("offset").into()),
        ]
    }

    /// Sets the clock this many seconds ahead of the system's.
    pub fn set(&self, seconds: i64) {
        let nanoseconds = seconds * 1_000_000_000;
        // The reader never sees half of an eight-byte write.
        let written = self.offset.write_all_at(&nanoseconds.to_ne_bytes(), 0);
        written.expect("a file");
    }
}
