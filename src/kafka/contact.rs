//! The time since which no broker answers a reader.

use std::time::{Duration, Instant};

use super::cluster::Unreached;

/// How long brokers may refuse a login or a TLS handshake: a broker that restarts can do so for a while.
const REFUSED: Duration = Duration::from_secs(30);
/// How long no broker may answer before the clients are replaced. If librdkafka knows brokers, it does not look up the
/// bootstrap servers again, so it misses that all brokers have moved.
const LOST: Duration = Duration::from_mins(1);

/// The time since which no broker answers.
#[derive(Default)]
pub(super) struct Contact {
    lost_since: Option<Instant>,
}

impl Contact {
    pub(super) fn answered(&mut self) {
        self.lost_since = None;
    }

    /// Notes that a request of this time was not answered. Returns whether to replace the clients.
    ///
    /// # Errors
    /// The refusal, if brokers have refused this client for too long.
    pub(super) fn lost(
        &mut self,
        asked: Instant,
        now: Instant,
        refusal: Option<Unreached>,
    ) -> Result<bool, Unreached> {
        let since = *self.lost_since.get_or_insert(asked);
        let lasts = now.saturating_duration_since(since);
        match refusal {
            Some(refusal) if lasts >= REFUSED => return Err(refusal),
            Some(_) => return Ok(false),
            None => {}
        }
        let is_lost = lasts >= LOST;
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
        let mut lost = |asked, now| contact.lost(at(asked), at(now), None).expect("no refusal");
        assert!(!lost(0, 59));
        assert!(lost(55, 60));
        assert!(!lost(61, 119));
        assert!(lost(110, 120));
        contact.answered();
        let later = contact.lost(at(121), at(180), None);
        assert!(matches!(later, Ok(false)));
    }

    #[test]
    fn a_refused_login_is_an_error_once_it_has_stood_for_half_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let refusal = || Some(Unreached::Login("wrong password".to_owned()));
        let mut contact = Contact::default();
        assert!(matches!(contact.lost(at(0), at(29), refusal()), Ok(false)));
        let refused = contact.lost(at(28), at(30), refusal());
        assert!(matches!(refused, Err(Unreached::Login(_))));
    }
}
