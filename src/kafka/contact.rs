//! Tracks how long no broker has answered a reader.

use std::time::{Duration, Instant};

use super::cluster::ConnectError;

/// How long authentication or the TLS handshake may fail: both can fail for a while when a broker restarts.
const REJECTED_LIMIT: Duration = Duration::from_secs(30);
/// How long no broker may answer before the clients are replaced. librdkafka does not resolve the bootstrap servers
/// again when it knows other brokers, although all of these may have moved.
const UNANSWERED_LIMIT: Duration = Duration::from_mins(1);

/// The time since which no broker has answered.
#[derive(Default)]
pub(super) struct Contact {
    lost_since: Option<Instant>,
}

impl Contact {
    pub(super) fn answered(&mut self) {
        self.lost_since = None;
    }

    /// Records that the request sent at `asked` got no answer. Returns whether the clients are to be replaced.
    ///
    /// # Errors
    /// `rejection`, if brokers have rejected this client for 30 seconds.
    pub(super) fn answer_missing(
        &mut self,
        asked: Instant,
        now: Instant,
        rejection: Option<ConnectError>,
    ) -> Result<bool, ConnectError> {
        let since = *self.lost_since.get_or_insert(asked);
        let duration = now.saturating_duration_since(since);
        match rejection {
            Some(rejection) if duration >= REJECTED_LIMIT => return Err(rejection),
            Some(_) => return Ok(false),
            None => {}
        }
        let is_lost = duration >= UNANSWERED_LIMIT;
        if is_lost {
            self.lost_since = Some(now);
        }
        Ok(is_lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_replaced_after_each_minute_without_an_answer() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut contact = Contact::default();
        let mut answer_missing = |asked, now| {
            contact
                .answer_missing(at(asked), at(now), None)
                .expect("no rejection")
        };
        assert!(!answer_missing(0, 59));
        assert!(answer_missing(55, 60));
        assert!(!answer_missing(61, 119));
        assert!(answer_missing(110, 120));
        contact.answered();
        let later = contact.answer_missing(at(121), at(180), None);
        assert!(matches!(later, Ok(false)));
    }

    #[test]
    fn a_rejected_login_is_an_error_after_half_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let rejection = || Some(ConnectError::Authentication("wrong password".to_owned()));
        let mut contact = Contact::default();
        assert!(matches!(
            contact.answer_missing(at(0), at(29), rejection()),
            Ok(false)
        ));
        let rejected = contact.answer_missing(at(28), at(30), rejection());
        assert!(matches!(rejected, Err(ConnectError::Authentication(_))));
    }
}
