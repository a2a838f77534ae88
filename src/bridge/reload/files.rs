//! Detects changes of files, and whether a change is complete.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::text;

/// Files that change all the time are read after this time.
const MAX_CHANGING: Duration = Duration::from_millis(750);

/// Files and directories of files that belong together.
pub(super) struct Files {
    paths: Vec<PathBuf>,
    /// Their fingerprint when they were read last.
    read: Fingerprint,
    /// Their fingerprint at the last check.
    seen: Fingerprint,
    changing_since: Option<Instant>,
}

impl Files {
    pub(super) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let read = fingerprint(&paths);
        Self {
            paths,
            seen: read,
            read,
            changing_since: None,
        }
    }

    /// Records that the files are being read.
    pub(super) fn mark_read(&mut self) {
        self.seen = fingerprint(&self.paths);
        self.read = self.seen;
    }

    /// Returns a hash of the contents of the files. Unreadable files, and all that are not small regular files, count
    /// as one content.
    pub(super) fn contents(&self) -> Contents {
        let mut hasher = DefaultHasher::new();
        for path in &self.paths {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            files.sort();
            for file in files.iter().chain([path]) {
                (file, text::read_small(file).ok()).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// Returns whether no change is in progress.
    pub(super) fn are_stable(&self) -> bool {
        self.changing_since.is_none()
    }

    /// Returns whether the files have changed since they were read, and the change is complete.
    pub(super) fn are_due(&mut self, now: Instant) -> bool {
        let seen = fingerprint(&self.paths);
        let is_stable = seen == self.seen;
        self.seen = seen;
        if self.seen == self.read {
            self.changing_since = None;
            return false;
        }
        if is_stable {
            self.read = self.seen;
            self.changing_since = None;
            return true;
        }
        let since = *self.changing_since.get_or_insert(now);
        let is_enough = now.duration_since(since) >= MAX_CHANGING;
        if is_enough {
            // They are read again when they are stable.
            self.changing_since = Some(now);
        }
        is_enough
    }
}

/// A hash of the contents of files.
pub(super) type Contents = u64;

/// A hash of the metadata of files. One number, because there may be ten thousand files, which are checked all the
/// time.
type Fingerprint = u64;

fn fingerprint(paths: &[PathBuf]) -> Fingerprint {
    let fingerprints = paths.iter().map(|path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        // Added up, because a directory lists its files in any order.
        entries
            .map(|entry| fingerprint_of(&entry.file_name(), entry_metadata(&entry)))
            .fold(
                fingerprint_of(path.as_os_str(), fs::metadata(path)),
                Fingerprint::wrapping_add,
            )
    });
    fingerprints.fold(0, Fingerprint::wrapping_add)
}

/// Returns the metadata of an entry, or of the target if it is a link. For others, the directory's handle is faster.
fn entry_metadata(entry: &DirEntry) -> io::Result<Metadata> {
    if entry.file_type()?.is_symlink() {
        fs::metadata(entry.path())
    } else {
        entry.metadata()
    }
}

/// Returns the fingerprint of one file. An unreadable file counts as unchanged.
fn fingerprint_of(name: &OsStr, metadata: io::Result<Metadata>) -> Fingerprint {
    let metadata = metadata.ok().map(|file| {
        let changed = [
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        ];
        (file.dev(), file.ino(), file.size(), changed)
    });
    let mut hasher = DefaultHasher::new();
    (name, metadata).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    /// The interval after a change.
    const CHANGED: Duration = Duration::from_millis(250);

    fn after(start: Instant, checks: u32) -> Instant {
        start + checks * CHANGED
    }

    #[test]
    fn a_complete_change_is_due() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("one");
        fs::write(&path, "old").expect("a file");
        let mut files = Files::new([home.path().to_owned()]);
        let start = Instant::now();
        assert!(!files.are_due(start));
        fs::write(&path, "newer").expect("a file");
        assert!(!files.are_due(start), "it was seen once");
        assert!(files.are_due(start));
        assert!(!files.are_due(start), "it was read");
        fs::remove_file(&path).expect("a file");
        assert!(!files.are_due(start));
        assert!(files.are_due(start));
    }

    #[test]
    fn a_file_that_changes_all_the_time_is_read_after_a_limit_and_at_the_end() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("one");
        let mut files = Files::new([path.clone()]);
        let start = Instant::now();
        let due: Vec<u32> = (1..=7)
            .filter(|checks| {
                fs::write(&path, "x".repeat(*checks as usize)).expect("a file");
                files.are_due(after(start, *checks))
            })
            .collect();
        assert_eq!(due, [4, 7]);
        assert!(files.are_due(after(start, 8)));
        assert!(!files.are_due(after(start, 9)));
    }

    #[test]
    fn the_swap_of_a_mounted_secret_is_a_change() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let inside = |name: &str| home.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(inside(version)).expect("a directory");
            fs::write(inside(version).join("c1"), "password").expect("a file");
        }
        symlink("..1", inside("..data")).expect("a link");
        symlink("..data/c1", inside("c1")).expect("a link");
        let mut files = Files::new([home.path().to_owned()]);
        symlink("..2", inside("..new")).expect("a link");
        fs::rename(inside("..new"), inside("..data")).expect("a swap");
        assert!(!files.are_due(Instant::now()));
        assert!(files.are_due(Instant::now()));
    }

    #[test]
    fn a_pipe_is_not_read() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let [pipe, file] = ["pipe", "file"].map(|name| home.path().join(name));
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        fs::write(&file, "old").expect("a file");
        let files = Files::new([pipe, file.clone()]);
        let old = files.contents();
        assert_eq!(files.contents(), old);
        fs::write(&file, "new").expect("a file");
        assert_ne!(files.contents(), old);
    }
}
