//! The ingress: `hyper` stops here.
//!
//! A [`Listener`] accepts connections and hands them out evenly to [`Workers`]. What happens to a
//! request is in `journey`; `answer` is the only file where status codes are chosen.

mod access;
mod account;
mod answer;
mod body;
mod connection;
mod failed_logins;
mod foreign;
mod handshake;
mod head;
mod journey;
mod limiter;
mod listener;
mod live;
mod read_ahead;
mod state;
mod stream;
mod tls;
mod workers;

use std::sync::Arc;

use crate::contract::EventMode;
use crate::delivery::Delivery;
use crate::metrics::Metrics;

use failed_logins::FailedLogins;
pub use listener::{Acceptor, Listener};
pub use live::{Live, Part, Rules};
pub use tls::Identity;
pub use workers::Workers;

/// Lifecycle phase of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// Told to stop: requests are still taken, each answer closes its connection.
    Draining,
    /// The listener is closed. Requests on open connections are still answered; connections that are idle are closed.
    Closing,
}

/// Everything that a request's journey needs.
#[derive(Debug)]
pub struct Bridge {
    pub live: Live,
    pub delivery: Delivery,
    pub event_mode: EventMode,
    pub metrics: Arc<Metrics>,
    pub phase: tokio::sync::watch::Receiver<Phase>,
    failed_logins: FailedLogins,
}

impl Bridge {
    #[must_use]
    pub fn new(
        live: Live,
        delivery: Delivery,
        event_mode: EventMode,
        metrics: Arc<Metrics>,
        phase: tokio::sync::watch::Receiver<Phase>,
    ) -> Self {
        Self {
            live,
            delivery,
            event_mode,
            metrics,
            phase,
            failed_logins: FailedLogins::default(),
        }
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }
}
