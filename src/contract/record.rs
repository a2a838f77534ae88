//! A record as it goes to Kafka: key, headers, value and timestamp, whatever topic it is for.

use std::borrow::Cow;

/// Name and value of a record header. Values are text throughout.
pub(super) type Header = (Cow<'static, str>, Cow<'static, str>);

/// What is handed to Kafka. The value is never null, which a compacted topic would take for a
/// deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The `message_id`, so that reports of one message share a partition.
    pub key: Option<String>,
    pub headers: Vec<Header>,
    pub value: Vec<u8>,
    /// Milliseconds since 1970: the arrival time.
    pub timestamp: i64,
}

impl Record {
    /// The bytes of key, headers and value.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.key.as_ref().map_or(0, String::len) + headers + self.value.len()
    }
}
