//! The rights that Kafka requires of a client, as text.

use rdkafka::error::RDKafkaErrorCode;

/// Returns the sentence for a right that a client lacks, if the error is about one. `topic` is the right on a topic and
/// the topic; `name` is the name of the transactional id and of the consumer group.
pub(super) fn missing_right(
    code: RDKafkaErrorCode,
    [right, topic]: [&str; 2],
    name: &str,
) -> Option<String> {
    use RDKafkaErrorCode as Code;
    let (right, resource) = match code {
        Code::TopicAuthorizationFailed => (right, format!("topic {topic}")),
        Code::TransactionalIdAuthorizationFailed => ("WRITE", format!("transactional id {name}")),
        Code::GroupAuthorizationFailed => ("READ", format!("group {name}")),
        Code::ClusterAuthorizationFailed => ("IDEMPOTENT_WRITE", "cluster".to_owned()),
        _ => return None,
    };
    Some(format!(
        "Kafka does not let this client go on: grant it {right} on the {resource}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_and_the_resource_are_named() {
        let words = |code| missing_right(code, ["WRITE", "t"], "koobridge-replay-x");
        assert_eq!(
            words(RDKafkaErrorCode::TopicAuthorizationFailed).as_deref(),
            Some("Kafka does not let this client go on: grant it WRITE on the topic t")
        );
        for (code, resource) in [
            (
                RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
                "WRITE on the transactional id koobridge-replay-x",
            ),
            (
                RDKafkaErrorCode::GroupAuthorizationFailed,
                "READ on the group koobridge-replay-x",
            ),
        ] {
            assert!(words(code).is_some_and(|words| words.ends_with(resource)));
        }
        assert_eq!(words(RDKafkaErrorCode::OperationTimedOut), None);
    }
}
