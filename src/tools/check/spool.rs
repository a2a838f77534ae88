//! Checks the spool: whether its directory can be written to, outlives the process and has enough room, and whether files in
//! it need attention.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{Access, access, statfs, statvfs};
use rustix::io::Errno;

use super::documents;
use super::finding::{Area, Finding};
use crate::config::Spool;
use crate::spool::{Inspection, LaneKey, LaneStatus};

/// The file systems' magic numbers (linux/magic.h).
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
const OVERLAY: u64 = 0x794c_7630;
/// NFS, SMB, CIFS, 9P, FUSE.
const NETWORK: [u64; 5] = [0x6969, 0xfe53_4d42, 0xff53_4d42, 0x0102_1997, 0x6573_5546];

pub(super) fn check(spool: Option<&Spool>) -> Vec<Finding> {
    let Some(spool) = spool else {
        return vec![Area::Spool.warn(
            "there is no spool: while Kafka is unavailable the bridge answers 503, and a report is lost unless its sender retries",
            "set spool.directory to a directory on a disk that outlives the process",
        )];
    };
    let existing = nearest_existing(&spool.directory);
    if let Some(finding) = unusable(&spool.directory, &existing) {
        return vec![finding];
    }
    let mut findings = vec![file_system(spool, &existing)];
    if existing == spool.directory {
        findings.extend(contents(&spool.directory));
    }
    findings
}

/// Returns the directory, or its nearest ancestor that exists: the bridge creates missing directories.
fn nearest_existing(directory: &Path) -> PathBuf {
    let mut above = directory.ancestors();
    let existing = above.find(|path| !path.as_os_str().is_empty() && path.exists());
    existing.unwrap_or(Path::new(".")).to_owned()
}

fn unusable(directory: &Path, existing: &Path) -> Option<Finding> {
    let directory = directory.display();
    if !existing.is_dir() {
        let what = format!("{directory}: {} is not a directory", existing.display());
        return Some(Area::Spool.fail(what, "set spool.directory to another directory"));
    }
    let error = access(existing, Access::WRITE_OK | Access::EXEC_OK).err()?;
    let remedy = match error {
        Errno::ROFS => "mount a writable volume there",
        _ => {
            "give the directory to the bridge's user, run the check as that user, or set another directory"
        }
    };
    let existing = existing.display();
    Some(Area::Spool.fail(
        format!("{directory}: this user can't write to {existing}: {error}"),
        remedy,
    ))
}

/// Checks the type and the free space of the file system.
fn file_system(spool: &Spool, existing: &Path) -> Finding {
    let directory = spool.directory.display();
    let (system, space) = match (statfs(existing), statvfs(existing)) {
        (Ok(system), Ok(space)) => (system, space),
        (Err(error), _) | (_, Err(error)) => {
            let what = format!(
                "{directory}: can't read the type and free space of its file system: {error}"
            );
            return Area::Spool.warn(what, "check that it is on a local disk with enough room");
        }
    };
    // A magic number of 32 bits; its type depends on the platform.
    #[expect(clippy::cast_sign_loss, reason = "a magic number")]
    let kind = system.f_type as u64 & 0xffff_ffff;
    if let Some(finding) = not_durable(kind, &directory) {
        return finding;
    }
    // The spool's own files count as free.
    let held = Inspection::of(existing).map_or(0, |inspection| inspection.bytes);
    room(
        spool,
        space
            .f_bavail
            .saturating_mul(space.f_frsize)
            .saturating_add(held),
    )
}

/// Returns a finding if files on this kind of file system may not last.
fn not_durable(kind: u64, directory: &impl std::fmt::Display) -> Option<Finding> {
    match kind {
        TMPFS | RAMFS => Some(Area::Spool.fail(
            format!("{directory} is in memory: its reports are lost if the machine stops"),
            "set spool.directory to a directory on a disk",
        )),
        OVERLAY => Some(Area::Spool.warn(
            format!("{directory} is in the container's own layer: its reports are lost with the container"),
            "mount a volume there",
        )),
        kind if NETWORK.contains(&kind) => Some(Area::Spool.warn(
            format!("{directory} is not on a local disk: the file server decides what an fsync keeps, and SQLite's locks may not work"),
            "set spool.directory to a directory on a local file system",
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
                "{directory}: {} MiB are free, but spool.free_space reserves {} MiB: the spool is full from the start",
                mebibytes(free),
                mebibytes(leave)
            ),
            "free up disk space, or lower spool.free_space",
        );
    }
    if free < limit.saturating_add(leave) {
        return Area::Spool.warn(
            format!(
                "{directory}: {} MiB are free, less than spool.disk_limit ({} MiB) plus spool.free_space ({} MiB)",
                mebibytes(free),
                mebibytes(limit),
                mebibytes(leave)
            ),
            "free up disk space, or lower spool.disk_limit",
        );
    }
    Area::Spool.ok(format!(
        "{directory} is on a disk with {} MiB free; spool.disk_limit is {} MiB",
        mebibytes(free),
        mebibytes(limit)
    ))
}

/// Checks the files in the spool, and whether a process has it open.
fn contents(directory: &Path) -> Vec<Finding> {
    let page = documents::path("docs/spool.md");
    let read = &*format!("see {}, Inspect a spool", page.display());
    let inspection = match Inspection::of(directory) {
        Ok(inspection) => inspection,
        Err(error) => return vec![Area::Spool.fail(error.to_string(), read)],
    };
    let mut findings = Vec::new();
    if let Some(process) = inspection.holder {
        findings.push(Area::Spool.warn(
            format!("{} is in use by process {process}", directory.display()),
            "if that process is not this bridge, give each bridge its own directory",
        ));
    }
    if !inspection.set_aside.is_empty() {
        let count = inspection.set_aside.len();
        let what = format!(
            "{} holds files that were set aside: {count}",
            directory.display()
        );
        let remedy = "`koobridge spool export --set-aside` prints their reports";
        findings.push(Area::Spool.warn(what, remedy));
    }
    let (lanes, problems) = inspection.lanes();
    let sum = |count: fn(&LaneStatus) -> u64| lanes.values().map(count).sum::<u64>();
    let due = sum(|lane| lane.due);
    let quarantined = sum(|lane| lane.quarantined);
    if quarantined > 0 {
        let what = format!("{quarantined} quarantined reports: no topic accepts them");
        findings.push(Area::Spool.warn(what, "`koobridge spool export` prints them"));
    }
    if due > 0 {
        findings.push(Area::Spool.ok(waiting(due, &lanes)));
    }
    let problems = problems.iter();
    findings.extend(problems.map(|problem| Area::Spool.fail(problem.to_string(), read)));
    findings
}

fn waiting(due: u64, lanes: &BTreeMap<LaneKey, LaneStatus>) -> String {
    let what = format!("{due} reports wait for delivery");
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
    fn a_file_system_that_does_not_last_is_reported() {
        let level = |kind| not_durable(kind, &"d").map(|finding| finding.level);
        assert_eq!(level(TMPFS), Some(Level::Fail));
        assert_eq!(level(OVERLAY), Some(Level::Warn));
        assert_eq!(level(0x6969), Some(Level::Warn));
        // ext4
        assert_eq!(level(0xef53), None);
    }

    #[test]
    fn free_space_is_compared_with_both_limits_of_the_spool() {
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
    fn the_nearest_existing_directory_is_checked() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(
            nearest_existing(&directory.path().join("a/b")),
            directory.path()
        );
        assert_eq!(
            nearest_existing(Path::new("no-such-directory")),
            Path::new(".")
        );
    }
}
