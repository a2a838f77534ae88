//! The ingress: `hyper` stops here.
//!
//! A [`Listener`] accepts connections and hands them out evenly to [`Workers`]. What happens to a
//! request is in `journey`; `answer` is the only file where status codes are chosen.

mod answer;
mod body;
mod connection;
mod head;
mod journey;
mod listener;
mod stream;
mod workers;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::{Limits, Success};
use crate::contract::{Channels, EventMode};
use crate::delivery::Delivery;
use crate::metrics::Metrics;

pub use listener::Listener;
pub use workers::Workers;

/// How far a bridge is with its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// Told to stop: requests are still taken, each answer closes its connection.
    Draining,
    /// The listener is closed: what is being answered is the last.
    Closing,
}

/// Everything that a request's journey needs.
#[derive(Debug)]
pub struct Bridge {
    /// Swapped whole where passwords change.
    pub channels: ArcSwap<Channels>,
    pub delivery: Delivery,
    pub limits: Limits,
    pub success: Success,
    pub event_mode: EventMode,
    pub metrics: Arc<Metrics>,
    pub phase: tokio::sync::watch::Receiver<Phase>,
}

impl Bridge {
    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }
}
