//! Passwords that were wrong: counted by channel, and told in the log at a bounded rate, with the
//! network that they came from. Never the value.

use std::net::IpAddr;

use tracing::warn;

use super::access;
use crate::contract::ChannelId;
use crate::metrics::Metrics;
use crate::telemetry::Throttle;

/// Strangers who try channels that there are not do not keep the others out of the log.
#[derive(Debug, Default)]
pub(super) struct FailedLogins {
    known: Throttle,
    strangers: Throttle,
}

impl FailedLogins {
    /// `channel` is `None` where there is none of that name: what a stranger invents becomes no label.
    pub(super) fn note(
        &self,
        channel: Option<ChannelId>,
        origin: Option<IpAddr>,
        trace_id: Option<&str>,
        metrics: &Metrics,
    ) {
        let throttle = match channel {
            Some(_) => &self.known,
            None => &self.strangers,
        };
        if let Some(failures) = throttle.count() {
            let channel = channel.as_ref().map(ChannelId::as_str);
            let network = origin.map(|origin| access::network(origin).to_string());
            warn!(
                channel,
                network, trace_id, failures, "wrong, missing or repeated passwords"
            );
        }
        metrics.authentication_failed(channel);
    }
}
