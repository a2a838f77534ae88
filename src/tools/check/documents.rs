//! The path of a page of the documents.

use std::env;
use std::path::{Path, PathBuf};

/// Returns the path of `page`, for example `docs/checking.md`: the path of the installed page if the package has installed
/// it, or else the path in the source tree.
pub(super) fn path(page: &str) -> PathBuf {
    let program = env::current_exe().ok();
    program
        .and_then(|program| installed(&program, page))
        .unwrap_or_else(|| page.into())
}

/// Returns the page in `share/doc/koobridge/`, if `program` is in the `bin/` beside that and the page is there.
fn installed(program: &Path, page: &str) -> Option<PathBuf> {
    let prefix = program.parent()?.parent()?;
    let path = prefix.join("share/doc/koobridge").join(page);
    path.exists().then_some(path)
}
