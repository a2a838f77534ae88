//! Messages about rights (ACLs) that a client lacks.

use rdkafka::error::RDKafkaErrorCode;

/// Returns a message that names the missing right if `code` is an authorization error. The array holds the right that a
/// topic needs and the topic's name; `name` is the transactional id and the name of the consumer group.
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
        "Kafka denied access: grant this client {right} on the {resource}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authorization_error_names_the_right_and_the_resource() {
        let words = |code| missing_right(code, ["WRITE", "t"], "koobridge-replay-x");
        assert_eq!(
            words(RDKafkaErrorCode::TopicAuthorizationFailed).as_deref(),
            Some("Kafka denied access: grant this client WRITE on the topic t")
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
