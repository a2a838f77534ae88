//! Passwords that were wrong: counted by channel, and told in the log at a bounded rate, with the
//! network that they came from. Never the value.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use super::access;
use crate::metrics::Metrics;

/// There is one line in this time at most.
const EACH: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct FailedLogins {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    /// How many there were since.
    untold: u64,
}

impl FailedLogins {
    /// `channel` is `None` where there is none of that name: what a stranger invents becomes no label.
    pub(super) fn note(&self, channel: Option<&str>, origin: Option<IpAddr>, metrics: &Metrics) {
        metrics.authentication_failed(channel.unwrap_or_default());
        if let Some(failures) = self.to_be_told(Instant::now()) {
            let network = origin.map(|origin| access::network(origin).to_string());
            warn!(
                channel,
                network, failures, "wrong, missing or repeated passwords"
            );
        }
    }

    /// How many there were since the last line, where it is time for one.
    fn to_be_told(&self, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.untold += 1;
        let is_time = told
            .last
            .is_none_or(|last| now.duration_since(last) >= EACH);
        is_time.then(|| {
            told.last = Some(now);
            std::mem::take(&mut told.untold)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_together() {
        let failures = FailedLogins::default();
        let start = Instant::now();
        let at = |seconds| failures.to_be_told(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(1));
        assert_eq!([at(1), at(2), at(9)], [None; 3]);
        assert_eq!(at(10), Some(4));
        assert_eq!(at(11), None);
    }
}
