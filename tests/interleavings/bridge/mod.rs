//! The parts of the bridge.

pub mod delivery;
pub mod metrics;
