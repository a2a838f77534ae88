//! Files that are looked at again and again: whether they have changed and come to rest.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::text;

/// Files that never come to rest are read all the same.
const RESTLESS: Duration = Duration::from_millis(750);

/// Files and directories of files that belong together.
pub(super) struct Files {
    paths: Vec<PathBuf>,
    /// What they were like when they were read last.
    read: Look,
    /// What they were like at the last look.
    seen: Look,
    restless_since: Option<Instant>,
}

impl Files {
    pub(super) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let read = look(&paths);
        Self {
            paths,
            seen: read,
            read,
            restless_since: None,
        }
    }

    /// They are being read.
    pub(super) fn are_read(&mut self) {
        self.seen = look(&self.paths);
        self.read = self.seen;
    }

    /// Returns what they hold. A file that can't be read has contents of its own, and so has anything else than a small
    /// regular file.
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

    /// Whether they have not changed of late.
    pub(super) fn are_at_rest(&self) -> bool {
        self.restless_since.is_none()
    }

    /// Whether they have changed since they were read, and have come to rest.
    pub(super) fn are_due(&mut self, now: Instant) -> bool {
        let seen = look(&self.paths);
        let is_at_rest = seen == self.seen;
        self.seen = seen;
        if self.seen == self.read {
            self.restless_since = None;
            return false;
        }
        if is_at_rest {
            self.read = self.seen;
            self.restless_since = None;
            return true;
        }
        let since = *self.restless_since.get_or_insert(now);
        let is_enough = now.duration_since(since) >= RESTLESS;
        if is_enough {
            // Once at rest they are read again.
            self.restless_since = Some(now);
        }
        is_enough
    }
}

/// What files hold, in one number.
pub(super) type Contents = u64;

/// What files are like, in one number: there may be ten thousand, and they are looked at all the time.
type Look = u64;

fn look(paths: &[PathBuf]) -> Look {
    let looks = paths.iter().map(|path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        // A directory names its files in any order.
        entries
            .map(|entry| like(&entry.file_name(), metadata_inside(&entry)))
            .fold(
                like(path.as_os_str(), fs::metadata(path)),
                Look::wrapping_add,
            )
    });
    looks.fold(0, Look::wrapping_add)
}

/// Of what a link points to. The rest is faster by the directory's own handle.
fn metadata_inside(entry: &DirEntry) -> io::Result<Metadata> {
    if entry.file_type()?.is_symlink() {
        fs::metadata(entry.path())
    } else {
        entry.metadata()
    }
}

/// A file that can't be looked at is like itself, too.
fn like(name: &OsStr, metadata: io::Result<Metadata>) -> Look {
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

    /// How soon changed files are looked at again.
    const CHANGED: Duration = Duration::from_millis(250);

    fn after(start: Instant, looks: u32) -> Instant {
        start + looks * CHANGED
    }

    #[test]
    fn a_change_is_due_once_it_has_come_to_rest() {
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
    fn a_file_that_never_rests_is_read_in_time_and_when_it_rests() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("one");
        let mut files = Files::new([path.clone()]);
        let start = Instant::now();
        let due: Vec<u32> = (1..=7)
            .filter(|looks| {
                fs::write(&path, "x".repeat(*looks as usize)).expect("a file");
                files.are_due(after(start, *looks))
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
