//! File systems that are small, full or read-only for the processes of a test. Needs root.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use tempfile::TempDir;

/// A small file system, mounted as root, unmounted when dropped.
pub struct Disk(TempDir);

impl Disk {
    pub fn mount() -> Self {
        let at = tempfile::tempdir().expect("a temporary directory");
        let options = ["-t", "tmpfs", "-o", "size=16m", "koobridge-spool"];
        succeed(Command::new("mount").args(options).arg(at.path()));
        Self(at)
    }

    pub fn spool(&self) -> PathBuf {
        self.0.path().join("spool")
    }

    /// Writes until the file system is full.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file");
        let full = (0..).find_map(|_| filler.write_all(&[0; 4096]).err());
        let full = full.map(|error| error.kind());
        assert_eq!(full, Some(ErrorKind::StorageFull));
    }

    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("a file");
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
        let unmounted = unmounted.is_ok_and(|status| status.success());
        assert!(
            unmounted || thread::panicking(),
            "the file system is unmounted"
        );
    }
}

pub fn succeed(command: &mut Command) {
    let output = command.output().expect("a program that is there");
    assert!(output.status.success(), "{command:?}, as root: {output:?}");
}

/// Returns a command prefix that makes a directory read-only for a command.
pub fn read_only(directory: &str) -> [&str; 6] {
    const MOUNT: &str = r#"
        mount --bind "$0" "$0"
        mount -o remount,bind,ro "$0"
        exec "$@"
    "#;
    ["unshare", "--mount", "sh", "-ec", MOUNT, directory]
}

/// Returns a command prefix that makes every directory read-only in which SQLite creates temporary files
/// (<https://sqlite.org/tempfiles.html>), except `writable`.
pub fn without_temporary_files(writable: &str) -> [&str; 6] {
    const MOUNT: &str = r#"
        for place in "${SQLITE_TMPDIR:-}" "${TMPDIR:-}" /var/tmp /usr/tmp /tmp "$PWD"; do
            if [ -d "$place" ]; then
                mount --bind "$place" "$place"
                mount -o remount,bind,ro "$place"
            fi
        done
        mount --bind "$0" "$0"
        mount -o remount,bind,rw "$0"
        cd "$PWD"
        for place in "${SQLITE_TMPDIR:-}" "${TMPDIR:-}" /var/tmp /usr/tmp /tmp .; do
            if [ -d "$place" ] && touch "$place/koobridge-test" 2> /dev/null; then
                echo "$place can be written to" >&2
                exit 1
            fi
        done
        exec "$@"
    "#;
    ["unshare", "--mount", "sh", "-ec", MOUNT, writable]
}
