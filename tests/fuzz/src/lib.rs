//! Checks that must pass for any input: a connection's bytes, a body, or a spool file. `script/fuzz` searches for
//! failing inputs with libFuzzer; `tests/it/corpus.rs` runs all inputs in `corpus/`. A `check` panics when it fails.

pub mod body;
pub mod head;
pub mod spool_file;

mod answers;
mod bridge;
mod json;
mod model;
