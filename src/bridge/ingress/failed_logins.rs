//! Wrong passwords: counted by channel, and logged at a bounded rate with the network that they came from. The
//! value is never logged.

use std::net::IpAddr;

use tracing::warn;

use super::access;
use crate::bridge::metrics::Metrics;
use crate::contract::ChannelId;
use crate::telemetry::Throttle;

/// The failures of all channels, known and unknown ones alike: a failure that is treated differently can be
/// timed by a stranger.
static FAILURES: Throttle = Throttle::new();

/// Counts a failure. `channel` is `None` if no channel has the name that was sent.
pub(super) fn note(
    channel: Option<ChannelId>,
    origin: Option<IpAddr>,
    trace_id: Option<&str>,
    metrics: &Metrics,
) {
    if let Some(failures) = FAILURES.count() {
        let channel = channel.as_ref().map_or("unknown", ChannelId::as_str);
        let network = origin.map(|origin| access::network(origin).to_string());
        warn!(
            channel,
            network, trace_id, failures, "wrong, missing or repeated passwords"
        );
    }
    metrics.authentication_failed(channel);
}
