//! Counts wrong passwords by channel, and logs them at a limited rate with the network of the sender. Passwords are
//! never logged.

use std::net::IpAddr;

use tracing::warn;

use super::access;
use crate::bridge::metrics::ChannelCounters;
use crate::contract::ChannelId;
use crate::telemetry::Throttle;

/// One throttle for all channels, known and unknown, so that the response time does not tell whether a channel exists.
static FAILURES: Throttle = Throttle::new();

/// Counts a failure with the counters of the channel, or those of the unknown channels, and logs it.
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
