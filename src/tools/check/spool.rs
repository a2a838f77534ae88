//! Where the spool is to be: whether it can be written to, outlives the process, has the room that it may
//! take, and what was left in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{Access, access, statfs, statvfs};
use rustix::io::Errno;

use super::documents;
use super::finding::{Area, Finding};
use crate::config::Spool;
use crate::spool::{Inspection, LaneKey, LaneStatus};

/// What `statfs` calls file systems (linux/magic.h).
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
const OVERLAY: u64 = 0x794c_7630;
/// NFS, SMB, CIFS, 9P, FUSE.
const NETWORK: [u64; 5] = [0x6969, 0xfe53_4d42, 0xff53_4d42, 0x0102_1997, 0x6573_5546];

pub(super) fn look(spool: Option<&Spool>) -> Vec<Finding> {
    let Some(spool) = spool else {
        return vec![Area::Spool.warn(
            "there is no spool: while Kafka is away senders are told 503, and a report is lost unless its sender retries",
            "name a directory in spool.directory, on a disk that outlives the process",
        )];
    };
    let there = nearest(&spool.directory);
    if let Some(finding) = unusable(&spool.directory, &there) {
        return vec![finding];
    }
    let mut findings = vec![place(spool, &there)];
    if there == spool.directory {
        findings.extend(left(&spool.directory));
    }
    findings
}

/// The directory, or the one above it that is there: the bridge makes what is missing.
fn nearest(directory: &Path) -> PathBuf {
    let mut above = directory.ancestors();
    let there = above.find(|path| !path.as_os_str().is_empty() && path.exists());
    there.unwrap_or(Path::new(".")).to_owned()
}

fn unusable(directory: &Path, there: &Path) -> Option<Finding> {
    let directory = directory.display();
    if !there.is_dir() {
        let what = format!("{directory}: {} is no directory", there.display());
        return Some(Area::Spool.fail(what, "name another directory in spool.directory"));
    }
    let error = access(there, Access::WRITE_OK | Access::EXEC_OK).err()?;
    let remedy = match error {
        Errno::ROFS => "mount a volume there that can be written to",
        _ => "give it to the bridge's user, run the check as that user, or name another directory",
    };
    let there = there.display();
    Some(Area::Spool.fail(
        format!("{directory}: this user can't write to {there}: {error}"),
        remedy,
    ))
}

/// Whether it lasts, and has room.
fn place(spool: &Spool, there: &Path) -> Finding {
    let directory = spool.directory.display();
    let (system, space) = match (statfs(there), statvfs(there)) {
        (Ok(system), Ok(space)) => (system, space),
        (Err(error), _) | (_, Err(error)) => {
            let what = format!("{directory}: its file system can't be asked: {error}");
            return Area::Spool.warn(what, "look whether it lasts and has room");
        }
    };
    // A name of 32 bits, in a type that differs from platform to platform.
    #[expect(clippy::cast_sign_loss, reason = "a name, no number")]
    let kind = system.f_type as u64 & 0xffff_ffff;
    if let Some(finding) = passing(kind, &directory) {
        return finding;
    }
    // What it holds already is its own.
    let held = Inspection::of(there).map_or(0, |inspection| inspection.bytes);
    room(
        spool,
        space
            .f_bavail
            .saturating_mul(space.f_frsize)
            .saturating_add(held),
    )
}

/// A file system that does not outlive what a spool is for.
fn passing(kind: u64, directory: &impl std::fmt::Display) -> Option<Finding> {
    match kind {
        TMPFS | RAMFS => Some(Area::Spool.fail(
            format!("{directory} is in memory: what is promised there is lost with the machine's power"),
            "name a directory on a disk",
        )),
        OVERLAY => Some(Area::Spool.warn(
            format!("{directory} is in the container's own layer: what is promised there is lost with the container"),
            "mount a volume there",
        )),
        kind if NETWORK.contains(&kind) => Some(Area::Spool.warn(
            format!("{directory} is not on a local disk: what an fsync is worth there is the server's affair, and SQLite's locks may not hold"),
            "name a directory on a local file system",
        )),
        _ => None,
    }
}

fn room(spool: &Spool, free: u64) -> Finding {
    let directory = spool.directory.display();
    let mebibytes = |bytes: u64| bytes >> 20;
    let (limit, leave) = (spool.disk_limit, spool.free_space);
    if free <= leave {
        return Area::Spool.fail(
            format!(
                "{directory}: {} MiB are free, and spool.free_space leaves {}: it is full from the start",
                mebibytes(free),
                mebibytes(leave)
            ),
            "make room, or lower spool.free_space",
        );
    }
    if free < limit.saturating_add(leave) {
        return Area::Spool.warn(
            format!(
                "{directory}: {} MiB are free, less than spool.disk_limit ({} MiB) and spool.free_space ({} MiB)",
                mebibytes(free),
                mebibytes(limit),
                mebibytes(leave)
            ),
            "make room, or lower spool.disk_limit to what there is",
        );
    }
    Area::Spool.ok(format!(
        "{directory} is on a disk with {} MiB free, and may take {}",
        mebibytes(free),
        mebibytes(limit)
    ))
}

/// What an earlier run, or a running one, has left in it.
fn left(directory: &Path) -> Vec<Finding> {
    let page = documents::path("docs/spool.md");
    let read = &*format!("read {}, Inspect a spool", page.display());
    let inspection = match Inspection::of(directory) {
        Ok(inspection) => inspection,
        Err(error) => return vec![Area::Spool.fail(error.to_string(), read)],
    };
    let mut findings = Vec::new();
    if let Some(process) = inspection.holder {
        findings.push(Area::Spool.warn(
            format!("{} is in use by process {process}", directory.display()),
            "if that is not this bridge, give each bridge a directory of its own",
        ));
    }
    if !inspection.set_aside.is_empty() {
        let count = inspection.set_aside.len();
        let what = format!(
            "{} holds files that were set aside: {count}",
            directory.display()
        );
        let remedy = "`koobridge spool export --set-aside` shows what is left in them";
        findings.push(Area::Spool.warn(what, remedy));
    }
    let (lanes, problems) = inspection.lanes();
    let sum = |count: fn(&LaneStatus) -> u64| lanes.values().map(count).sum::<u64>();
    let due = sum(|lane| lane.due);
    let quarantined = sum(|lane| lane.quarantined);
    if quarantined > 0 {
        let what = format!("{quarantined} reports in it are quarantined: no topic accepts them");
        findings.push(Area::Spool.warn(what, "`koobridge spool export` shows them"));
    }
    if due > 0 {
        findings.push(Area::Spool.ok(waiting(due, &lanes)));
    }
    let unread = problems.iter();
    findings.extend(unread.map(|problem| Area::Spool.fail(problem.to_string(), read)));
    findings
}

fn waiting(due: u64, lanes: &BTreeMap<LaneKey, LaneStatus>) -> String {
    let what = format!("{due} reports in it wait to be delivered");
    let lanes = lanes.values().filter(|lane| lane.due > 0);
    let oldest = lanes.filter_map(|lane| lane.oldest).min();
    if let Some(at) = oldest.and_then(|at| Timestamp::from_millisecond(at).ok()) {
        return format!("{what}, the oldest since {at:.0}");
    }
    what
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn what_does_not_last_is_told() {
        let level = |kind| passing(kind, &"d").map(|finding| finding.level);
        assert_eq!(level(TMPFS), Some(Level::Fail));
        assert_eq!(level(OVERLAY), Some(Level::Warn));
        assert_eq!(level(0x6969), Some(Level::Warn));
        // ext4
        assert_eq!(level(0xef53), None);
    }

    #[test]
    fn room_is_held_against_what_the_spool_may_take_and_has_to_leave() {
        let spool = Spool {
            directory: "d".into(),
            after: std::time::Duration::from_secs(1),
            disk_limit: 100 << 20,
            free_space: 10 << 20,
            memory: 1 << 20,
        };
        let level = |mebibytes: u64| room(&spool, mebibytes << 20).level;
        assert_eq!(
            [level(10), level(11), level(109), level(110)],
            [Level::Fail, Level::Warn, Level::Warn, Level::Ok]
        );
    }

    #[test]
    fn the_nearest_directory_that_is_there_is_looked_at() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(nearest(&directory.path().join("a/b")), directory.path());
        assert_eq!(nearest(Path::new("no-such-directory")), Path::new("."));
    }
}
