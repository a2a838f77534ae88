//! The path at which an operator finds a page of the documents.

use std::env;
use std::path::{Path, PathBuf};

/// Returns the path of `page`, for example `docs/checking.md`: of the installed page if the program was installed with
/// the documents, as by the package, or else as it is in the sources.
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
