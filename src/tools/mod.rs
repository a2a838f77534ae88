//! The tools: commands that an operator runs beside a bridge, and that end.

pub mod archive;
pub mod check;
pub mod replay;
pub mod topics;
