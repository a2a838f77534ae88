//! The bridge's parts.

pub mod delivery;
pub mod metrics;
