//! What must hold for any input: of a connection's bytes, of a body, of a spool's file. `script/fuzz` has
//! libFuzzer look for an input for which it does not; `tests/it/corpus.rs` holds every input that is kept
//! in `corpus/` against it. A `check` panics where something does not hold.

pub mod body;
pub mod head;
pub mod spool_file;

mod answers;
mod bridge;
mod json;
mod model;
