//! Conversion of records for librdkafka.

use jiff::Timestamp;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::util::IntoOpaque;

use crate::contract::Record;

/// Returns the record for `topic`. Its delivery report carries `ticket`.
pub(super) fn to_base_record<'a, T: IntoOpaque>(
    topic: &'a str,
    record: &'a Record,
    ticket: T,
) -> BaseRecord<'a, String, Vec<u8>, T> {
    // Kafka rejects timestamps that are too far ahead of its clock (`message.timestamp.after.max.ms`). A record can have
    // one when this machine's clock was set back after the report arrived.
    let timestamp = record.timestamp.min(Timestamp::now().as_millisecond());
    let headers = record.headers.iter();
    let headers = headers.map(|(name, value)| (&**name, Some(value.as_bytes())));
    let mut outgoing = BaseRecord::with_opaque_to(topic, ticket)
        .payload(&record.value)
        .timestamp(timestamp)
        .headers(to_headers(headers));
    outgoing.key = record.key.as_ref();
    outgoing
}

/// Returns the names and values as headers of librdkafka.
pub(super) fn to_headers<'a>(
    headers: impl ExactSizeIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    headers.fold(empty, |headers, (key, value)| {
        headers.insert(Header { key, value })
    })
}
