//! The channels and their counters, which are swapped together: a request finds both with one lookup.

use std::sync::Arc;

use jiff::Timestamp;

use super::metrics::{ChannelCounters, Metrics};
use crate::contract::{Authenticated, Channels};

/// The configured channels, each with its counters.
#[derive(Debug)]
pub struct CountedChannels {
    channels: Arc<Channels>,
    /// Indexed by the places of the channels.
    counters: Vec<Arc<ChannelCounters>>,
    unknown: Arc<ChannelCounters>,
}

impl CountedChannels {
    /// Adds counters to the channels. From now on, `metrics` shows them.
    #[must_use]
    pub fn new(channels: Channels, metrics: &Metrics) -> Self {
        let unknown = metrics.channel(None);
        let mut counters = vec![Arc::clone(&unknown); channels.len()];
        for (channel, place) in channels.indices() {
            counters[place] = metrics.channel(Some(channel));
        }
        Self {
            channels: Arc::new(channels),
            counters,
            unknown,
        }
    }

    /// Returns the channels without their counters.
    #[must_use]
    pub fn channels(&self) -> &Arc<Channels> {
        &self.channels
    }

    /// Returns the sender and the counters of its channel.
    ///
    /// # Errors
    /// If the password is wrong, the counters of the channel; if the channel is unknown, those of the unknown channels.
    /// The steps are the same for both, so that the response time does not tell whether the channel exists.
    pub fn authenticate(
        &self,
        channel: &str,
        password: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<(Authenticated, Arc<ChannelCounters>), Arc<ChannelCounters>> {
        let sender = self.channels.authenticate(channel, password, now);
        let place = match &sender {
            Some(sender) => Some(sender.index()),
            None => self.channels.index(channel),
        };
        let counters = place.map_or(&self.unknown, |place| &self.counters[place]);
        let counters = Arc::clone(counters);
        match sender {
            Some(sender) => Ok((sender, counters)),
            None => Err(counters),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{ChannelId, Password};

    fn counted(ids: &[&str], metrics: &Metrics) -> CountedChannels {
        let mut channels = Channels::default();
        for id in ids {
            let channel = ChannelId::parse(id).expect("an id");
            let password = Password::parse(id.as_bytes()).expect("a password");
            channels.insert(channel, password, None);
        }
        CountedChannels::new(channels, metrics)
    }

    #[test]
    fn a_sender_has_the_counters_of_its_channel() {
        let metrics = Metrics::new();
        let channels = counted(&["c1", "c2", "c3"], &metrics);
        for id in ["c1", "c2", "c3"] {
            let sender = channels.authenticate(id, Some(id.as_bytes()), Timestamp::UNIX_EPOCH);
            let (sender, counters) = sender.expect("the right password");
            assert_eq!(sender.channel().as_str(), id);
            assert_eq!(counters.channel(), Some(sender.channel()));
        }
    }

    #[test]
    fn a_failure_has_the_counters_of_a_known_channel_or_those_of_all_others() {
        let metrics = Metrics::new();
        let channels = counted(&["c1", "c2"], &metrics);
        for (id, password, expected) in [
            ("c2", Some(&b"wrong"[..]), Some("c2")),
            ("c2", None, Some("c2")),
            ("c3", Some(b"c3"), None),
            ("", None, None),
        ] {
            let failed = channels.authenticate(id, password, Timestamp::UNIX_EPOCH);
            let counters = failed.expect_err("no right password");
            let channel = counters.channel().map(ChannelId::as_str);
            assert_eq!(channel, expected, "{id}");
        }
    }

    #[test]
    fn the_counters_of_a_channel_that_is_removed_and_added_again_continue() {
        let metrics = Metrics::new();
        for ids in [&["c1", "c2"][..], &["c1"], &["c3", "c2"]] {
            let channels = counted(ids, &metrics);
            let sender = channels.authenticate("c2", Some(b"c2"), Timestamp::UNIX_EPOCH);
            let (Ok((_, counters)) | Err(counters)) = sender;
            counters.report_received("read");
        }
        let text = metrics.text();
        let series = "koobridge_reports_received_total{channel=\"c2\",status=\"read\"} 2";
        assert!(text.lines().any(|line| line == series), "{text}");
    }
}
