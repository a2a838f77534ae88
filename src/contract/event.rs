//! The event that subscribers read: a CloudEvents 1.0 event on Kafka
//! (`schemas/event.schema.json`; CloudEvents' Kafka protocol binding, sections 3.2 and 3.3).

use uuid::Uuid;

use super::event_fields::EventFields;
use super::record::{Header, Record};
use super::report::Report;
use super::schema_id::SchemaId;
use super::trace::TraceContext;

/// The key of a probe record, which `koobridge check --probe` writes to test a topic.
pub const PROBE_KEY: &str = "koobridge-check";
/// The `ce_type` of a probe record.
pub const PROBE_TYPE: &str = "io.koobridge.probe.v1";
/// The `ce_type` of an event. A change that breaks subscribers needs a new one.
pub const EVENT_TYPE: &str = "com.huaweicloud.koomessage.report.v1";

/// The `ce_dataschema` of an event, and the name from which [`EVENT_NAMESPACE`] is computed.
pub const EVENT_SCHEMA: &str = "urn:koobridge:koomessage-report-event:1";

/// The namespace of every `event_id`: the UUIDv5 of RFC 9562's URL namespace and
/// [`EVENT_SCHEMA`].
pub const EVENT_NAMESPACE: Uuid = Uuid::from_u128(0x3ec6_2cdd_10cf_5bac_9e13_235e_22b6_5ecf);

/// The path before the channel id, in the request and in the event's source.
pub const SOURCE_PREFIX: &str = "/social/on/whatsapp/koomessage/report/";

/// The CloudEvents content mode of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventMode {
    /// The attributes are `ce_` headers, the value is the data.
    Binary,
    /// The value is one JSON document with the attributes and the data.
    Structured,
}

/// The format of a bridge's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventFormat {
    pub mode: EventMode,
    /// The id of `schemas/event.schema.json` in a schema registry. It describes the value in binary mode only.
    pub schema_id: Option<SchemaId>,
}

impl EventFormat {
    fn headers(self, attributes: Attributes) -> Vec<Header> {
        match self.mode {
            EventMode::Binary => {
                let mut headers = attributes.into_headers();
                headers.extend(self.schema_id.map(SchemaId::to_header));
                headers
            }
            EventMode::Structured => vec![(
                "content-type".into(),
                "application/cloudevents+json; charset=UTF-8".into(),
            )],
        }
    }
}

impl From<EventMode> for EventFormat {
    fn from(mode: EventMode) -> Self {
        Self {
            mode,
            schema_id: None,
        }
    }
}

/// The normalized form of a report; only [`Report::normalise`] creates one.
#[derive(Debug)]
pub struct Event {
    record: Record,
}

impl Event {
    pub(super) fn new(report: &Report<'_>, format: EventFormat) -> Self {
        let attributes = Attributes::of(report);
        let value = match format.mode {
            EventMode::Binary => data(report, &attributes),
            EventMode::Structured => envelope(report, &attributes),
        };
        let mut headers = format.headers(attributes);
        if let Some(trace) = &report.arrival.trace {
            headers.extend(trace.clone().into_headers());
        }
        let timestamp = report.arrival.at.as_millisecond();
        Self {
            record: Record {
                key: Some(report.message_id.to_string()),
                headers,
                value,
                timestamp,
            },
        }
    }

    /// Replaces the trace context of the record.
    pub fn continue_trace(&mut self, context: &TraceContext) {
        self.record.continue_trace(context);
    }

    /// Returns the event's record.
    #[must_use]
    pub fn into_record(self) -> Record {
        self.record
    }
}

/// Returns the id of the event for one status of one message. A sender's retry and a replay have the same id.
///
/// The id is the UUIDv5 in [`EVENT_NAMESPACE`] of `channel_id`, `message_id` and `status`. Each is encoded as its
/// length in bytes (a big-endian `u32`), followed by its UTF-8 bytes. An example:
///
/// ```
/// let id = koobridge::contract::event_id(
///     "202105102694809992", "044852ee407b40ec88ea65adb73ff5c27", "read",
/// );
/// // uuid5(3ec62cdd-10cf-5bac-9e13-235e22b65ecf,
/// //   00000012 "202105102694809992" 00000021 "044852ee407b40ec88ea65adb73ff5c27" 00000004 "read")
/// assert_eq!(id.to_string(), "84620b2a-4736-5985-914a-42930cc3132d");
/// ```
#[must_use]
pub fn event_id(channel_id: &str, message_id: &str, status: &str) -> Uuid {
    let parts = [channel_id, message_id, status];
    let mut name = Vec::with_capacity(parts.iter().map(|part| 4 + part.len()).sum());
    for part in parts {
        let length = u32::try_from(part.len()).expect("a member is at most a kibibyte");
        name.extend_from_slice(&length.to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&EVENT_NAMESPACE, &name)
}

/// The attributes that differ from event to event.
struct Attributes {
    id: String,
    source: String,
    time: String,
    subject: String,
}

impl Attributes {
    fn of(report: &Report<'_>) -> Self {
        let channel = report.channel.as_str();
        let id = event_id(channel, &report.message_id, report.status.as_str());
        let id = id.hyphenated();
        Self {
            id: (*id.encode_lower(&mut Uuid::encode_buffer())).to_owned(),
            source: source(channel),
            time: report.arrival.time(),
            subject: report.message_id.to_string(),
        }
    }

    fn into_headers(self) -> Vec<Header> {
        vec![
            ("ce_specversion".into(), "1.0".into()),
            ("ce_id".into(), self.id.into()),
            ("ce_source".into(), self.source.into()),
            ("ce_type".into(), EVENT_TYPE.into()),
            ("ce_time".into(), self.time.into()),
            ("ce_subject".into(), self.subject.into()),
            ("ce_dataschema".into(), EVENT_SCHEMA.into()),
            ("content-type".into(), "application/json".into()),
        ]
    }
}

impl From<EventFields<'_>> for Attributes {
    fn from(fields: EventFields<'_>) -> Self {
        Self {
            source: source(&fields.channel_id),
            id: fields.event_id.into_owned(),
            time: fields.received_at.into_owned(),
            subject: fields.message_id.into_owned(),
        }
    }
}

fn source(channel: &str) -> String {
    let mut source = String::with_capacity(SOURCE_PREFIX.len() + channel.len());
    source.push_str(SOURCE_PREFIX);
    source.push_str(channel);
    source
}

/// Returns the headers of an event, without its trace context.
pub(super) fn headers(format: EventFormat, fields: EventFields<'_>) -> Vec<Header> {
    format.headers(Attributes::from(fields))
}

fn envelope(report: &Report<'_>, attributes: &Attributes) -> Vec<u8> {
    let mut json = Object::new(1024);
    json.plain("specversion", "1.0");
    json.plain("id", &attributes.id);
    json.plain("source", &attributes.source);
    json.plain("type", EVENT_TYPE);
    json.plain("time", &attributes.time);
    json.string("subject", &attributes.subject);
    json.plain("dataschema", EVENT_SCHEMA);
    json.plain("datacontenttype", "application/json");
    json.raw("data", &data(report, attributes));
    json.end()
}

fn data(report: &Report<'_>, attributes: &Attributes) -> Vec<u8> {
    let extra: usize = report
        .extra
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    let mut json = Object::new(512 + extra);
    json.plain("event_id", &attributes.id);
    json.plain("provider", "koomessage");
    json.plain("channel", "whatsapp");
    json.plain("channel_id", report.channel.as_str());
    json.string("message_id", &report.message_id);
    json.string("sender", &report.sender);
    json.string("recipient", &report.user_number);
    json.plain("status", report.status.as_str());
    json.plain("received_at", &attributes.time);
    json.raw_object("extra", &report.extra);
    json.end()
}

/// A writer of a JSON object. It exists because `Serialize` can't write the raw text of a member's name.
struct Object(Vec<u8>);

impl Object {
    fn new(capacity: usize) -> Self {
        let mut text = Vec::with_capacity(capacity);
        text.push(b'{');
        Self(text)
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn string(&mut self, name: &str, value: &str) {
        self.name(name);
        serde_json::to_writer(&mut self.0, value).expect("writing to memory can't fail");
    }

    /// Adds a text that needs no JSON escapes.
    fn plain(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
    }

    fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name);
        self.0.extend_from_slice(json);
    }

    fn raw_object(&mut self, name: &str, members: &[(&str, &str)]) {
        self.name(name);
        self.0.push(b'{');
        for (position, (raw_name, raw_value)) in members.iter().enumerate() {
            if position > 0 {
                self.0.push(b',');
            }
            self.0.extend_from_slice(raw_name.as_bytes());
            self.0.push(b':');
            self.0.extend_from_slice(raw_value.as_bytes());
        }
        self.0.push(b'}');
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

#[cfg(test)]
mod tests;
