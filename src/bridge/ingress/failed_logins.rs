//! Wrong passwords: counted by channel, and logged at a bounded rate with the network that they came from. The
//! value is never logged.

use std::net::IpAddr;

use tracing::warn;

use super::access;
use crate::bridge::metrics::ChannelCounters;
use crate::contract::ChannelId;
use crate::telemetry::Throttle;

/// The failures of all channels, known and unknown ones alike: a failure that is treated differently can be
/// timed by a stranger.
static FAILURES: Throttle = Throttle::new();

/// Counts a failure with the counters of the channel whose name was sent, or those of the unknown channels.
pub(super) fn note(counters: &ChannelCounters, origin: Option<IpAddr>, trace_id: Option<&str>) {
    if let Some(failures) = FAILURES.count() {
        let channel = counters.channel().map_or("unknown", ChannelId::as_str);
        let network = origin.map(|origin| access::network(origin).to_string());
        warn!(
            channel,
            network,
            trace_id,
            failures,
            "authentication failed: wrong, missing or repeated passwords"
        );
    }
    counters.authentication_failed();
}
