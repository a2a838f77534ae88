//! The changes that a bridge made to the files below a directory, in order, as the preloaded `recorder.c` wrote them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::bridge::Bridge;

/// Kind, inode, offset and the length of the data that follows, eight bytes each.
const HEAD: usize = 32;

/// Records the changes of bridges to the files below a directory.
pub struct Recorder {
    home: TempDir,
    directory: PathBuf,
    base: Vec<Found>,
}

/// A file or directory that existed when the recording began.
#[derive(Clone)]
pub struct Found {
    /// The path below the recorded directory, which is "".
    pub path: String,
    pub inode: u64,
    /// `None` for a directory.
    pub content: Option<Vec<u8>>,
}

/// A complete recording.
pub struct Recording {
    pub base: Vec<Found>,
    bytes: Vec<u8>,
}

/// One change, and the lengths of the recording before and after it.
#[derive(Clone, Debug)]
pub struct Step<'r> {
    pub start: u64,
    pub end: u64,
    pub change: Change<'r>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Change<'r> {
    Create {
        path: &'r str,
        inode: u64,
    },
    Write {
        inode: u64,
        at: u64,
        data: &'r [u8],
    },
    Resize {
        inode: u64,
        length: u64,
    },
    Rename {
        from: &'r str,
        to: &'r str,
    },
    Unlink {
        path: &'r str,
    },
    MakeDirectory {
        path: &'r str,
        inode: u64,
    },
    /// An fsync of a file or directory. It covers the changes that were recorded before this length.
    Sync {
        inode: u64,
        before: u64,
    },
}

impl Recorder {
    pub fn of(directory: &Path) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        File::create(home.path().join("records")).expect("a file");
        compile(&home.path().join("recorder.so"));
        // The recorder compares paths as text.
        let directory = directory.canonicalize().expect("a directory");
        let mut base = Vec::new();
        find("", &directory, &mut base);
        Self {
            home,
            directory,
            base,
        }
    }

    /// Returns the environment variables of a bridge that is recorded.
    pub fn environment(&self) -> [(&'static str, OsString); 3] {
        [
            ("LD_PRELOAD", self.home.path().join("recorder.so").into()),
            ("POWER_DIRECTORY", self.directory.clone().into()),
            ("POWER_RECORDS", self.records().into()),
        ]
    }

    pub fn records(&self) -> PathBuf {
        self.home.path().join("records")
    }

    /// Kills the bridge between two changes.
    pub fn kill(&self, bridge: &mut Bridge) {
        let records = File::open(self.records()).expect("a file");
        records.lock().expect("a file can be locked");
        bridge.sigkill();
    }

    /// Returns everything that was recorded so far.
    pub fn recorded(&self) -> Recording {
        let bytes = fs::read(self.records()).expect("a file");
        Recording {
            base: self.base.clone(),
            bytes,
        }
    }

    /// Returns the present contents of the directory.
    pub fn content(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let mut found = Vec::new();
        find("", &self.directory, &mut found);
        let entries = found.into_iter().map(|found| (found.path, found.content));
        entries.filter(|(path, _)| !path.is_empty()).collect()
    }
}

impl Recording {
    /// The length in bytes.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    pub fn steps(&self) -> Vec<Step<'_>> {
        let mut steps = Vec::new();
        let (mut start, mut rest) = (0, &*self.bytes);
        while !rest.is_empty() {
            let (change, length) = parse(rest);
            let end = start + length as u64;
            steps.push(Step { start, end, change });
            (start, rest) = (end, &rest[length..]);
        }
        steps
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Change::Write { inode, at, data } => {
                let length = data.len();
                writeln!(
                    f,
                    "  Write {{ inode: {inode}, at: {at}, length: {length} }}"
                )
            }
            change => writeln!(f, "  {change:?}"),
        }
    }
}

/// Returns the first change, and the length of its record.
fn parse(bytes: &[u8]) -> (Change<'_>, usize) {
    let number = |at: usize| {
        let bytes = bytes[8 * at..][..8].try_into();
        u64::from_ne_bytes(bytes.expect("eight bytes"))
    };
    let [kind, inode, at, length] = [0, 1, 2, 3].map(number);
    let end = HEAD + usize::try_from(length).expect("it was in memory");
    let data = &bytes[HEAD..end];
    let path = || str::from_utf8(data).expect("a path of text");
    let change = match kind {
        1 => Change::Create {
            path: path(),
            inode,
        },
        2 => Change::Write { inode, at, data },
        3 => Change::Resize { inode, length: at },
        4 => {
            let (from, to) = path().split_once('\0').expect("two paths");
            Change::Rename { from, to }
        }
        5 => Change::Unlink { path: path() },
        6 => Change::MakeDirectory {
            path: path(),
            inode,
        },
        7 => Change::Sync { inode, before: at },
        other => panic!("recorder.c has no kind {other}"),
    };
    (change, end)
}

/// Adds a directory and everything below it.
fn find(name: &str, at: &Path, found: &mut Vec<Found>) {
    let inode = fs::metadata(at).expect("it is there").ino();
    let is_file = at.is_file();
    let content = is_file.then(|| fs::read(at).expect("a file"));
    found.push(Found {
        path: name.to_owned(),
        inode,
        content,
    });
    if is_file {
        return;
    }
    for entry in fs::read_dir(at).expect("a directory").flatten() {
        let inner = entry.file_name().into_string().expect("a name of text");
        let inner = if name.is_empty() {
            inner
        } else {
            format!("{name}/{inner}")
        };
        find(&inner, &entry.path(), found);
    }
}

fn compile(library: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/suite/power/recorder.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
    let status = compiler.arg(library).arg(source).status();
    assert!(status.expect("a C compiler").success());
}
