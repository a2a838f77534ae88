//! A spool on a read-only disk, for example the disk of a lost machine. The commands show the same as for a writable
//! copy, or an error says that a copy is needed.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{Spool, lanes, spool_command};
use crate::support::bridge::Bridge;
use crate::support::http::{body, exchange, report};
use crate::support::mounts::read_only;

const REMEDY: [&str; 3] = ["copy", "a writable disk", "--directory"];

/// Returns a spool with ten reports of a bridge that ran without a broker and was killed twice.
fn killed() -> Spool {
    let spool = Spool::new();
    let settings = [("spool.directory", spool.text()), ("spool.after", "50ms")];
    let mut bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    send(&bridge, 0);
    bridge.sigkill();
    bridge.restart();
    send(&bridge, 1);
    bridge.sigkill();
    spool
}

fn send(bridge: &Bridge, run: u32) {
    for number in 0..5 {
        let request = report(&body(&format!("m{run}-{number}"), "read"));
        assert_eq!(exchange(bridge.ingress, &request).status, 200);
    }
}

/// Returns the same spool with empty logs that were removed. Copies of its index files are in its home directory.
fn closed() -> Spool {
    let spool = killed();
    for index in files_with_end(&spool.path, "-shm") {
        let name = index.file_name().expect("a file");
        fs::copy(&index, spool.home.path().join(name)).expect("a file");
    }
    for file in files_with_end(&spool.path, ".sqlite") {
        let connection = Connection::open(file).expect("a file");
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let moved = connection.query_row(checkpoint, [], |_| Ok(()));
        moved.expect("the log is moved to the file");
        connection.close().expect("a sound file");
    }
    for end in ["-wal", "-shm"] {
        assert_eq!(files_with_end(&spool.path, end), [] as [PathBuf; 0]);
    }
    spool
}

/// Returns the files of a directory whose names end with `end`.
fn files_with_end(directory: &Path, end: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).expect("a directory").flatten();
    let mut files: Vec<_> = files.map(|file| file.path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(end));
    files
}

fn assert_shown_as_from_a_copy(spool: &Spool) {
    let copy = spool.copy();
    for words in [&["export"][..], &["status", "--json"]] {
        let shown = spool_command(&read_only(spool.text()), words, &spool.path);
        let expected = spool_command(&[], words, &copy);
        assert!(expected.status.success(), "{expected:?}");
        if !shown.status.success() {
            let message = String::from_utf8(shown.stderr).expect("text");
            assert_eq!(shown.status.code(), Some(1), "{message}");
            assert!(
                REMEDY.iter().all(|word| message.contains(word)),
                "{message}"
            );
        } else if words == ["export"] {
            let (shown, expected) = (shown.stdout, expected.stdout);
            assert_eq!(text_of(&shown).lines().count(), 10);
            assert_eq!(text_of(&shown), text_of(&expected));
        } else {
            assert_eq!(lanes(&shown), lanes(&expected));
        }
    }
}

fn text_of(output: &[u8]) -> &str {
    str::from_utf8(output).expect("text")
}

#[test]
fn a_closed_spool_on_a_read_only_disk_is_shown_as_from_a_copy() {
    assert_shown_as_from_a_copy(&closed());
}

#[test]
fn a_closed_spool_on_a_read_only_disk_with_index_files_is_shown_as_from_a_copy() {
    let spool = closed();
    let indexes = files_with_end(spool.home.path(), "-shm");
    assert!(!indexes.is_empty(), "a running bridge has an index");
    for index in indexes {
        let name = index.file_name().expect("a file");
        fs::copy(&index, spool.path.join(name)).expect("a file");
    }
    assert_shown_as_from_a_copy(&spool);
}

#[test]
fn a_closed_spool_on_a_read_only_disk_with_empty_logs_is_shown_as_from_a_copy() {
    let spool = closed();
    for file in files_with_end(&spool.path, ".sqlite") {
        let mut log = file.into_os_string();
        log.push("-wal");
        fs::write(log, "").expect("a file");
    }
    assert_shown_as_from_a_copy(&spool);
}

#[test]
fn a_spool_of_a_killed_bridge_on_a_read_only_disk_is_shown_as_from_a_copy() {
    let spool = killed();
    let logs = files_with_end(&spool.path, "-wal");
    let is_empty = |path: &PathBuf| path.metadata().is_ok_and(|log| log.len() == 0);
    assert!(!logs.iter().all(is_empty), "a kill leaves a log");
    assert_shown_as_from_a_copy(&spool);
}

#[test]
fn a_killed_spool_on_a_read_only_disk_without_indexes_is_shown_as_from_a_copy() {
    let spool = killed();
    for index in files_with_end(&spool.path, "-shm") {
        fs::remove_file(index).expect("a file");
    }
    assert_shown_as_from_a_copy(&spool);
}
