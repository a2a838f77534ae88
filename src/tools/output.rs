//! Errors of standard output.

use std::io;

/// The context of an error of standard output.
pub const UNWRITTEN: &str = "can't write to standard output";

/// Returns whether the reader of the output has closed it.
#[must_use]
pub fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
