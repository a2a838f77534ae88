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
mod read_ahead;
mod state;
mod stream;
mod workers;

pub use listener::{Acceptor, Listener};
pub use workers::Workers;
