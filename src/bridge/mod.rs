//! The bridge: the program that runs for months, from an HTTP request to Kafka's acknowledgement.
//!
//! `app` starts and stops it. `ingress`, `admin` and `reload` share the [`Bridge`] in `state`, which holds the parts
//! that change while it serves. Only `delivery` sends to Kafka and writes to the spool.

pub mod admin;
pub mod app;
pub mod channels;
mod counted_channels;
pub mod delivery;
mod identity;
pub mod ingress;
pub mod metrics;
pub(crate) mod open_files;
mod reload;
mod state;
#[cfg(feature = "traces")]
pub mod traces;
#[cfg(not(feature = "traces"))]
#[path = "traces_off.rs"]
pub mod traces;

pub use counted_channels::CountedChannels;
pub use identity::Identity;
pub use reload::Watch;
pub use state::{Bridge, Live, Part, Phase, ReloadableConfig};
