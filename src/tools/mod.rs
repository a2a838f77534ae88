//! The tools: commands that an operator runs beside a bridge, and that end.

pub mod archive;
pub mod check;
pub mod health;
mod output;
pub mod replay;
pub mod schema_registry;
pub mod topics;

pub use output::{UNWRITTEN, is_unread};

/// What was typed is wrong: the process ends with the code for that.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

pub(crate) fn usage_error(why: &str) -> anyhow::Error {
    UsageError(why.to_owned()).into()
}
