//! The tools: commands that an operator runs beside a bridge.

pub mod archive;
pub mod check;
pub mod health;
mod output;
pub mod replay;
pub mod schema_registry;
pub mod topics;

pub use output::{UNWRITTEN, is_broken_pipe};

/// An error in the command line; the process then exits with code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

pub(crate) fn usage_error(why: &str) -> anyhow::Error {
    UsageError(why.to_owned()).into()
}
