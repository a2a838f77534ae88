//! Lists the files of a directory.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the files in `directory`, and those in its subdirectories if `deep`.
pub fn files_below(directory: &Path, deep: bool) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            files.push(path);
        } else if deep {
            files.extend(files_below(&path, deep));
        }
    }
    files
}
