//! Checks whether other users can read the files that hold secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::finding::{Area, Finding};
use crate::config::Settings;

/// The mode bit with which every user can read a file.
const OTHERS_READ: u32 = 0o004;
/// The mode bit with which every user can pass through a directory.
const OTHERS_PASS: u32 = 0o001;

/// Returns one finding for all files with secrets, and one for each secret in a flag.
pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let mut files: Vec<PathBuf> = settings.secret_files().map(Path::to_owned).collect();
    files.extend(
        settings
            .channels_directory()
            .map(channel_files)
            .unwrap_or_default(),
    );
    let open: Vec<_> = files
        .iter()
        .filter(|file| is_readable_by_all(file))
        .collect();
    let mut findings: Vec<_> = settings.secret_flags().map(flag).collect();
    findings.extend(match open.as_slice() {
        [] if files.is_empty() => None,
        [] => {
            Some(Area::Files.ok("no file with a secret can be read by every user of this machine"))
        }
        [first, more @ ..] => Some(readable(first, more.len())),
    });
    findings
}

fn flag(name: &str) -> Finding {
    Area::Files.warn(
        format!("{name} is given by a flag, which every user of this machine can see in the list of processes"),
        "write { from_file = \"…\" } in the configuration, or use its environment variable",
    )
}

fn readable(first: &Path, more: usize) -> Finding {
    let first = first.display();
    let and = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Area::Files.warn(
        format!("{first}{and} can be read by every user of this machine"),
        format!("chmod o= {first} (defaultMode: 0440 of a Secret in Kubernetes)"),
    )
}

/// Hidden files hold no password.
fn channel_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let named = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    let paths = named.map(|entry| entry.path());
    paths.filter(|path| path.is_file()).collect()
}

/// Returns whether every user can read the file, by its mode and the modes of the directories above it.
fn is_readable_by_all(file: &Path) -> bool {
    let has = |path: &Path, bit: u32| {
        path.metadata()
            .is_ok_and(|metadata| metadata.permissions().mode() & bit != 0)
    };
    let Ok(file) = file.canonicalize() else {
        return false;
    };
    has(&file, OTHERS_READ)
        && file
            .ancestors()
            .skip(1)
            .all(|above| has(above, OTHERS_PASS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_readable_if_its_mode_and_its_directories_allow_it() {
        let directory = tempfile::tempdir_in("/tmp").expect("a directory");
        let file = directory.path().join("secret");
        fs::write(&file, "s").expect("a file");
        let chmod = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its owner may");
        };
        for (way, own, is_readable) in [
            (0o755, 0o644, true),
            (0o700, 0o644, false),
            (0o755, 0o640, false),
        ] {
            chmod(directory.path(), way);
            chmod(&file, own);
            assert_eq!(is_readable_by_all(&file), is_readable, "{way:o} {own:o}");
        }
    }
}
