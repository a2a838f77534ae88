//! Kafka records, to be produced and as consumed: key, headers, value and timestamp.

use std::borrow::Cow;

use super::trace::TraceContext;
use serde::{Deserialize, Serialize};

/// The memory that a record in flight needs in addition to its own bytes, in librdkafka and in the bridge.
const OVERHEAD: usize = 1024;

/// The name and value of a record header.
pub(super) type Header = (Cow<'static, str>, HeaderValue);

/// The value of a record header. The spool writes text as a JSON string, and other bytes as an array.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum HeaderValue {
    Text(Cow<'static, str>),
    Bytes(Vec<u8>),
}

impl HeaderValue {
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_owned().into_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl From<&'static str> for HeaderValue {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<u8>> for HeaderValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// Returns whether a header belongs to a trace context.
pub(super) fn is_trace_header(name: &str) -> bool {
    matches!(name, "traceparent" | "tracestate")
}

/// A record to produce. The value is never null, because a compacted topic would treat it as a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The `message_id`, so that reports of one message share a partition.
    pub key: Option<String>,
    pub headers: Vec<Header>,
    pub value: Vec<u8>,
    /// The arrival time, in milliseconds since 1970.
    pub timestamp: i64,
}

impl Record {
    /// Returns the number of bytes of key, headers and value.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.as_bytes().len())
            .sum();
        self.key.as_ref().map_or(0, String::len) + headers + self.value.len()
    }

    /// Replaces the trace context.
    pub(super) fn continue_trace(&mut self, context: &TraceContext) {
        self.headers.retain(|(name, _)| !is_trace_header(name));
        self.headers.extend(context.clone().into_headers());
    }

    /// Returns the number of bytes that the record counts for while it is in flight. librdkafka's copy needs the same
    /// again.
    #[must_use]
    pub fn footprint(&self) -> usize {
        self.size() + OVERHEAD
    }
}

/// The name and value of a consumed record's header.
pub type HeaderRef<'a> = (Cow<'a, str>, Option<Cow<'a, [u8]>>);

/// A consumed record. Any producer may have written it: it can contain any bytes, and any part can be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub key: Option<Cow<'a, [u8]>>,
    pub headers: Vec<HeaderRef<'a>>,
    pub value: Option<Cow<'a, [u8]>>,
    /// In milliseconds since 1970; `None` if the record has no timestamp.
    pub timestamp: Option<i64>,
}

impl<'a> RecordRef<'a> {
    /// Returns the text of a header. If there are several with that name, the last one counts.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter().rev();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        str::from_utf8(value.as_deref()?).ok()
    }

    /// Returns the key if it is UTF-8 text.
    #[must_use]
    pub fn text_key(&self) -> Option<&str> {
        str::from_utf8(self.key.as_deref()?).ok()
    }

    /// Returns the number of bytes of key, headers and value.
    #[must_use]
    pub fn size(&self) -> usize {
        let length = |part: &Option<Cow<'_, [u8]>>| part.as_ref().map_or(0, |part| part.len());
        let headers = self.headers.iter();
        let headers: usize = headers
            .map(|(name, value)| name.len() + length(value))
            .sum();
        length(&self.key) + headers + length(&self.value)
    }

    /// Appends a header.
    pub fn add_header(&mut self, name: &'a str, value: String) {
        let value = Some(Cow::Owned(value.into_bytes()));
        self.headers.push((Cow::Borrowed(name), value));
    }
}

impl From<Record> for RecordRef<'_> {
    fn from(record: Record) -> Self {
        let headers = record.headers.into_iter();
        Self {
            key: record.key.map(|key| Cow::Owned(key.into_bytes())),
            headers: headers
                .map(|(name, value)| (name, Some(Cow::Owned(value.into_bytes()))))
                .collect(),
            value: Some(Cow::Owned(record.value)),
            timestamp: Some(record.timestamp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: Option<&str>) -> Record {
        Record {
            key: key.map(str::to_owned),
            headers: vec![
                ("a".into(), "23".into()),
                ("456".into(), vec![0, 0xff, 1, 2].into()),
            ],
            value: vec![0; 100],
            timestamp: 1_795_000_000_000,
        }
    }

    /// The in-flight limits and the spool's limit count these bytes.
    #[test]
    fn the_size_is_the_bytes_of_key_headers_and_value() {
        for (key, size) in [(Some("k\u{e9}"), 113), (None, 110)] {
            let record = record(key);
            assert_eq!(record.size(), size);
            assert_eq!(RecordRef::from(record).size(), size);
        }
        let bare = RecordRef {
            headers: vec![("null".into(), None)],
            ..RecordRef::default()
        };
        assert_eq!(bare.size(), 4);
    }

    #[test]
    fn a_header_has_the_same_value_after_the_spool() {
        let headers: Vec<Header> = vec![
            ("a".into(), "\u{0}x\"".into()),
            ("b".into(), Vec::new().into()),
            ("c".into(), vec![0, 65, 0xff].into()),
        ];
        let text = r#"[["a","\u0000x\""],["b",[]],["c",[0,65,255]]]"#;
        assert_eq!(serde_json::to_string(&headers).expect("JSON"), text);
        let read: Vec<Header> = serde_json::from_str(text).expect("headers");
        assert_eq!(read, headers);
        assert!(serde_json::from_str::<Vec<Header>>(r#"[["a",[256]]]"#).is_err());
    }

    #[test]
    fn a_key_that_is_not_utf_8_has_no_text() {
        for (key, text) in [
            (Some(&b"m1"[..]), Some("m1")),
            (Some(b""), Some("")),
            (Some(b"\xff"), None),
            (None, None),
        ] {
            let record = RecordRef {
                key: key.map(Cow::Borrowed),
                ..RecordRef::default()
            };
            assert_eq!(record.text_key(), text);
        }
    }
}
