//! The headers of a consumed record. rdkafka's own access panics when a name is not UTF-8, which any producer can
//! write.

use std::borrow::Cow;
use std::ffi::CStr;
use std::{ptr, slice};

use rdkafka::bindings::{rd_kafka_header_get_all, rd_kafka_message_headers};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;

use crate::contract::HeaderRef;

/// Returns the headers of a message, with U+FFFD for each part of a name that is not UTF-8.
#[expect(unsafe_code, reason = "rdkafka has no safe way to a name's bytes")]
pub(super) fn headers_of<'a>(message: &'a BorrowedMessage<'_>) -> Vec<HeaderRef<'a>> {
    let mut list = ptr::null_mut();
    // SAFETY: the message is alive, and `list` can be written. librdkafka keeps the list in the message.
    let found = unsafe { rd_kafka_message_headers(message.ptr(), &raw mut list) };
    let mut headers = Vec::new();
    if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return headers;
    }
    loop {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        let at = headers.len();
        // SAFETY: `list` lives as long as the message, and the other pointers can be written.
        let found = unsafe {
            rd_kafka_header_get_all(list, at, &raw mut name, &raw mut value, &raw mut size)
        };
        if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return headers;
        }
        // SAFETY: librdkafka terminates each name with NUL, and keeps it unchanged as long as the message.
        let name: &'a CStr = unsafe { CStr::from_ptr(name) };
        let value = (!value.is_null()).then(|| {
            // SAFETY: the value has `size` bytes, and lives unchanged as long as the message.
            let value: &'a [u8] = unsafe { slice::from_raw_parts(value.cast(), size) };
            Cow::Borrowed(value)
        });
        headers.push((name.to_string_lossy(), value));
    }
}
