//! The request to stop a tool.

use std::sync::atomic::AtomicBool;

/// What a signal sets, and a running tool reads.
#[derive(Debug, Default)]
pub struct Interrupt {
    /// The tool is to stop in good order.
    pub stop: AtomicBool,
    /// A signal may end the process at once, since nothing would be lost: it waits for a person, for example.
    pub ends_at_once: AtomicBool,
}
