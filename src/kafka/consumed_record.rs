//! A consumed record.

use std::borrow::Cow;

use rdkafka::message::{BorrowedMessage, Message as _};

use super::header_names::headers_of;
use super::numbers::{to_u32, to_u64};
use crate::contract::RecordRef;

/// A consumed record with its position.
pub struct ConsumedRecord<'a>(pub(super) BorrowedMessage<'a>);

impl ConsumedRecord<'_> {
    #[must_use]
    pub fn partition(&self) -> u32 {
        to_u32(self.0.partition())
    }

    #[must_use]
    pub fn offset(&self) -> u64 {
        to_u64(self.0.offset())
    }

    #[must_use]
    pub fn record(&self) -> RecordRef<'_> {
        RecordRef {
            key: self.0.key().map(Cow::Borrowed),
            headers: headers_of(&self.0),
            value: self.0.payload().map(Cow::Borrowed),
            timestamp: self.0.timestamp().to_millis(),
        }
    }
}
