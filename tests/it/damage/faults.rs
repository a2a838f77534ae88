//! Lets reads fail in processes that load `read_errors.c`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::support::mounts::succeed;

/// The number of rules, and the bytes of a name and of a rule.
const RULES: usize = 8;
const NAME: usize = 24;
const RULE: usize = NAME + 6 * 8;

static LIBRARY: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let home = tempfile::tempdir().expect("a directory");
    let library = home.path().join("read_errors.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/damage/read_errors.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
    succeed(compiler.arg(&library).arg(source));
    (home, library)
});

/// The operation that fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Reading a file.
    File,
    /// Reading its log.
    Log,
    /// Opening or looking up a file or the directory.
    Lookup,
}

/// A rule: bytes that can't be read, or files that can't be opened.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// The prefix of the files' names.
    pub name: String,
    pub kind: Kind,
    pub bytes: Range<u64>,
    /// The number of reads that succeed first.
    pub skip: u64,
    /// The number of reads that fail after that.
    pub times: u64,
}

impl Unreadable {
    /// A page of 4 KiB of the file `name` or of its log that is permanently unreadable. The first page has the number
    /// 0.
    pub fn page(name: &str, kind: Kind, page: u64) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            bytes: page * 4096..(page + 1) * 4096,
            skip: 0,
            times: i64::MAX.cast_unsigned(),
        }
    }

    /// Some reads of all spool files or of all logs, or some lookups.
    pub fn some(kind: Kind, skip: u64, times: u64) -> Self {
        Self {
            name: "spool".to_owned(),
            kind,
            bytes: 0..i64::MAX.cast_unsigned(),
            skip,
            times,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.name.clone().into_bytes();
        bytes.resize(NAME, 0);
        let Range { start, end } = self.bytes;
        for number in [self.kind as u64, start, end, self.skip, self.times, 0] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes
    }
}

/// The rules of all processes with this environment.
pub struct Faults {
    home: TempDir,
    rules: File,
}

impl Faults {
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let rules = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(home.path().join("rules"));
        let faults = Self {
            home,
            rules: rules.expect("a file"),
        };
        faults.set(&[]);
        faults
    }

    pub fn environment(&self) -> [(&'static str, OsString); 2] {
        [
            ("LD_PRELOAD", LIBRARY.1.clone().into()),
            ("READ_ERRORS", self.home.path().join("rules").into()),
        ]
    }

    /// Replaces the rules.
    pub fn set(&self, unreadable: &[Unreadable]) {
        let mut bytes: Vec<u8> = unreadable.iter().flat_map(Unreadable::encode).collect();
        assert!(bytes.len() <= RULES * RULE, "the library has few rules");
        bytes.resize(RULES * RULE, 0);
        self.rules.write_all_at(&bytes, 0).expect("a file");
    }

    /// Returns how often the bytes of a rule were read since it was set.
    pub fn reads(&self, rule: usize) -> u64 {
        let bytes = fs::read(self.home.path().join("rules")).expect("a file");
        let end = (rule + 1) * RULE;
        u64::from_ne_bytes(bytes[end - 8..end].try_into().expect("eight bytes"))
    }
}
