//! What could not be accepted, whole, as a record of the rejected topic
//! (`schemas/rejected.schema.json`).

use super::channel::ChannelId;
use super::fault::Fault;
use super::received::Arrival;
use super::record::{Header, Record};

/// A body that was authenticated and read whole, but breaks the contract.
#[derive(Debug)]
pub struct Rejected {
    fault: Fault,
    record: Record,
}

impl Rejected {
    /// Only [`super::Received::reject`] calls this.
    pub(super) fn new(channel: ChannelId, arrival: Arrival, body: Vec<u8>, fault: Fault) -> Self {
        let mut headers: Vec<Header> = vec![
            ("stage".into(), "contract".into()),
            ("reason".into(), fault.reason.code().into()),
            ("channel_id".into(), channel.to_string().into()),
            ("received_at".into(), arrival.time().into()),
        ];
        if let Some(member) = &fault.member {
            headers.push(("member".into(), member.clone()));
        }
        headers.extend(
            arrival
                .trace
                .into_iter()
                .flat_map(super::TraceContext::into_headers),
        );
        let record = Record {
            key: fault.message_id.clone(),
            headers,
            value: body,
            timestamp: arrival.at.as_millisecond(),
        };
        Self { fault, record }
    }

    /// Takes the reason and the record apart.
    #[must_use]
    pub fn into_parts(self) -> (Fault, Record) {
        (self.fault, self.record)
    }
}
