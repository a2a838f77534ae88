//! The ingress: the HTTP listener for reports. Only this folder and `admin` use `hyper`.
//!
//! A [`Listener`] accepts connections and hands them out evenly to [`Workers`]. The steps of a
//! request are in `journey`; `answer` is the only file where status codes are chosen.

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
