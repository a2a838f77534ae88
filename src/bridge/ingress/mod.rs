//! The ingress: the HTTP listener for reports. Only this folder and `admin` use `hyper`.
//!
//! A [`Listener`] accepts connections and distributes them evenly to [`Workers`]. The steps of a request are in
//! `journey`. Only `answer` chooses status codes.

mod access;
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
mod request_log;
mod state;
mod stream;
mod workers;

pub use listener::{Acceptor, Listener};
pub use workers::Workers;
