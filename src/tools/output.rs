//! What becomes of a tool whose standard output cannot be written.

use std::io;

/// What an error of standard output is called.
pub const UNWRITTEN: &str = "can't write to standard output";

/// Returns whether the reader of the output has gone.
#[must_use]
pub fn is_unread(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
