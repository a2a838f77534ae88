//! Reports, events, and the conversion between them: pure functions and types.
//!
//! This module does no I/O and does not depend on hyper, rdkafka or the configuration. Each step of a report's journey
//! takes a type that only the previous step can create:
//! [`Channels::authenticate`] → [`Authenticated`] → [`Received`] → [`Report`] → [`Event`], or,
//! if the report breaks the contract, [`Received`] → [`Rejected`]. [`EventFields`] and [`RejectedFields`] are read back
//! from records, and [`redrive`] validates a rejected report again.

mod channel;
mod event;
mod event_fields;
mod fault;
pub(crate) mod json;
mod last_report;
mod received;
mod record;
mod redriven;
mod redriven_marker;
mod rejected;
mod rejected_fields;
mod report;
mod schema_id;
mod trace;

pub use channel::{
    Authenticated, ChannelId, Channels, InvalidChannelId, InvalidPassword, Password,
};
pub use event::{
    EVENT_NAMESPACE, EVENT_SCHEMA, EVENT_TYPE, Event, EventFormat, EventMode, PROBE_KEY,
    PROBE_TYPE, SOURCE_PREFIX, event_id,
};
pub use event_fields::EventFields;
pub use fault::{Fault, Reason};
pub use received::{Arrival, Received};
pub use record::{HeaderRef, HeaderValue, Record, RecordRef};
pub use redriven::{StillRejected, redrive};
pub use redriven_marker::{RedrivenMarker, redriven_marker};
pub use rejected::{
    INVALID_RECORD, INVALID_TIMESTAMP, RECORD_TOO_LARGE, Rejected, rejected_by_kafka,
    rejection_reasons,
};
pub use rejected_fields::{RejectedFields, Stage};
pub use report::{MAX_CHARACTERS, MAX_DEPTH, Report, Status};
pub use schema_id::{InvalidSchemaId, LARGEST_SCHEMA_NUMBER, SCHEMA_ID_HEADER, SchemaId};
pub use trace::TraceContext;
