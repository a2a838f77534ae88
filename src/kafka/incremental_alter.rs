//! Changes some settings of a topic without touching the others: Kafka's `IncrementalAlterConfigs` (KIP-339).
//!
//! rdkafka wraps only `AlterConfigs`, which resets each setting that a request does not name, and drops Kafka's answer
//! about the topic. So this module calls librdkafka directly.
#![expect(
    unsafe_code,
    reason = "rdkafka has no safe function for IncrementalAlterConfigs"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, NulError, c_char, c_int};
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::bindings::{
    rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new,
    rd_kafka_AdminOptions_set_request_timeout, rd_kafka_AdminOptions_t,
    rd_kafka_AlterConfigOpType_t, rd_kafka_ConfigResource_add_incremental_config,
    rd_kafka_ConfigResource_destroy, rd_kafka_ConfigResource_error,
    rd_kafka_ConfigResource_error_string, rd_kafka_ConfigResource_new, rd_kafka_ConfigResource_t,
    rd_kafka_IncrementalAlterConfigs, rd_kafka_IncrementalAlterConfigs_result_resources,
    rd_kafka_ResourceType_t, rd_kafka_admin_op_t, rd_kafka_error_destroy, rd_kafka_error_string,
    rd_kafka_event_IncrementalAlterConfigs_result, rd_kafka_event_destroy, rd_kafka_event_error,
    rd_kafka_event_t, rd_kafka_queue_destroy, rd_kafka_queue_new, rd_kafka_queue_poll, rd_kafka_t,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use thiserror::Error;

use super::topic_metadata::error_message;

/// The extra time to wait for the answer after the request's timeout, which librdkafka reports itself.
const MARGIN: Duration = Duration::from_secs(1);

const NOT_SENT: &str = "librdkafka rejected the request";

/// The reason why settings were not changed.
#[derive(Debug, Error)]
pub(super) enum AlterError {
    /// Kafka rejected the change, with this message.
    #[error("{words}")]
    Rejected {
        code: RDKafkaErrorCode,
        words: String,
    },
    /// The request got no answer about the topic.
    #[error("{0}")]
    Unanswered(String),
}

impl From<NulError> for AlterError {
    fn from(error: NulError) -> Self {
        Self::Unanswered(error.to_string())
    }
}

/// Sets all of `changes` on a topic, or none.
///
/// # Errors
/// If Kafka rejects the change, or does not answer within `patience`.
pub(super) fn set(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    changes: &BTreeMap<&'static str, String>,
    patience: Duration,
) -> Result<(), AlterError> {
    let client = admin.inner().native_ptr();
    let resource = resource(topic, changes)?;
    let options = options(client, patience)?;
    // SAFETY: `client` outlives this function, which borrows its owner. The queue is new, and destroyed by its owner
    // here.
    let queue = unsafe { Owned::new(rd_kafka_queue_new(client), rd_kafka_queue_destroy) }?;
    let mut resources = [resource.as_ptr()];
    // SAFETY: Every pointer is valid during the call, and librdkafka copies the resources and the options.
    unsafe {
        rd_kafka_IncrementalAlterConfigs(
            client,
            resources.as_mut_ptr(),
            resources.len(),
            options.as_ptr(),
            queue.as_ptr(),
        );
    }
    // SAFETY: The queue is valid. An event that it gives belongs to the caller; it gives null after the timeout.
    let event = unsafe { rd_kafka_queue_poll(queue.as_ptr(), milliseconds(patience + MARGIN)) };
    if event.is_null() {
        return Err(AlterError::Unanswered("no answer in time".to_owned()));
    }
    // SAFETY: The event is not null, and belongs to this function.
    outcome(&unsafe { Owned::new(event, rd_kafka_event_destroy) }?)
}

/// Returns the topic with its changes as a librdkafka resource.
fn resource(
    topic: &str,
    changes: &BTreeMap<&'static str, String>,
) -> Result<Owned<rd_kafka_ConfigResource_t>, AlterError> {
    let topic = CString::new(topic)?;
    let kind = rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
    // SAFETY: The name is a C string that librdkafka copies. The resource is new, and destroyed by its owner here.
    let resource = unsafe {
        Owned::new(
            rd_kafka_ConfigResource_new(kind, topic.as_ptr()),
            rd_kafka_ConfigResource_destroy,
        )
    }?;
    for (name, value) in changes {
        let (name, value) = (CString::new(*name)?, CString::new(value.as_str())?);
        let set = rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET;
        // SAFETY: The resource is valid, and librdkafka copies both strings.
        let error = unsafe {
            rd_kafka_ConfigResource_add_incremental_config(
                resource.as_ptr(),
                name.as_ptr(),
                set,
                value.as_ptr(),
            )
        };
        if !error.is_null() {
            // SAFETY: The error is not null, and belongs to this function.
            let error = unsafe { Owned::new(error, rd_kafka_error_destroy) }?;
            // SAFETY: An error has a text, which lives as long as the error.
            let words = unsafe { text(rd_kafka_error_string(error.as_ptr())) };
            return Err(AlterError::Unanswered(words));
        }
    }
    Ok(resource)
}

fn options(
    client: *mut rd_kafka_t,
    patience: Duration,
) -> Result<Owned<rd_kafka_AdminOptions_t>, AlterError> {
    let kind = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
    // SAFETY: `client` is valid. The options are new, and destroyed by their owner here.
    let options = unsafe {
        Owned::new(
            rd_kafka_AdminOptions_new(client, kind),
            rd_kafka_AdminOptions_destroy,
        )
    }?;
    // SAFETY: The options are valid, and librdkafka writes no error text to a buffer of length 0.
    let code = unsafe {
        rd_kafka_AdminOptions_set_request_timeout(
            options.as_ptr(),
            milliseconds(patience),
            ptr::null_mut(),
            0,
        )
    };
    answered(code).map(|()| options)
}

/// Returns the result for the one topic of the request.
fn outcome(event: &Owned<rd_kafka_event_t>) -> Result<(), AlterError> {
    // SAFETY: The event is valid.
    answered(unsafe { rd_kafka_event_error(event.as_ptr()) })?;
    // SAFETY: The event is valid; the result is part of it, and null if the event is of another kind.
    let result = unsafe { rd_kafka_event_IncrementalAlterConfigs_result(event.as_ptr()) };
    if result.is_null() {
        return Err(AlterError::Unanswered("an unexpected answer".to_owned()));
    }
    let mut count = 0;
    // SAFETY: The result is valid; the array has `count` resources, and both are part of the event.
    let resources =
        unsafe { rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count) };
    if resources.is_null() || count == 0 {
        return Err(AlterError::Unanswered(
            "an answer without the topic".to_owned(),
        ));
    }
    // SAFETY: As above, and the event outlives the slice.
    let resources = unsafe { slice::from_raw_parts(resources, count) };
    resources.iter().try_for_each(|resource| changed(*resource))
}

fn changed(resource: *const rd_kafka_ConfigResource_t) -> Result<(), AlterError> {
    // SAFETY: `resource` is one of an answer's, and the answer is alive.
    let code = unsafe { rd_kafka_ConfigResource_error(resource) };
    if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    // SAFETY: As above; a resource with an error has a text, which lives as long as the resource.
    let words = unsafe { text(rd_kafka_ConfigResource_error_string(resource)) };
    let code = code.into();
    Err(AlterError::Rejected { code, words })
}

fn answered(code: RDKafkaRespErr) -> Result<(), AlterError> {
    if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    let error = KafkaError::AdminOp(code.into());
    Err(AlterError::Unanswered(error_message(&error)))
}

fn milliseconds(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX)
}

/// Returns a message of librdkafka without the full stop at the end, to be part of a sentence.
///
/// # Safety
/// `text` is null or a C string.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return "no reason given".to_owned();
    }
    // SAFETY: The caller guarantees a C string.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().trim_end_matches('.').to_owned()
}

/// A librdkafka object, with the function that destroys it.
struct Owned<T> {
    object: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Errors
    /// If `object` is null, because librdkafka rejected an argument of its constructor.
    ///
    /// # Safety
    /// `object` is null, or nothing else destroys it and `destroy` does.
    unsafe fn new(
        object: *mut T,
        destroy: unsafe extern "C" fn(*mut T),
    ) -> Result<Self, AlterError> {
        let object = NonNull::new(object);
        let object = object.ok_or_else(|| AlterError::Unanswered(NOT_SENT.to_owned()))?;
        Ok(Self { object, destroy })
    }

    fn as_ptr(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: The caller of `new` guarantees that nothing else destroys the object.
        unsafe { (self.destroy)(self.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;

    use super::super::admin::admin_client;
    use super::*;

    fn error_message(topic: &str, value: &str) -> String {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1");
        let admin = admin_client(&config).expect("a client");
        let changes = [("retention.ms", value.to_owned())].into();
        let set = set(&admin, topic, &changes, Duration::from_millis(50));
        set.expect_err("no broker").to_string()
    }

    #[test]
    fn no_answer_is_reported_within_the_patience() {
        assert_eq!(error_message("t", "1"), "no answer in time");
    }

    #[test]
    fn arguments_that_librdkafka_rejects_are_an_error() {
        let nul = "nul byte found in provided data at position: 1";
        assert_eq!(error_message("t\0", "1"), nul);
        assert_eq!(error_message("t", "1\0"), nul);
        assert_eq!(error_message("", "1"), NOT_SENT);
    }
}
