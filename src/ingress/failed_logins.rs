//! Passwords that were wrong: counted by channel, and told in the log at a bounded rate, with the
//! network that they came from. Never the value.

use std::net::IpAddr;

use tracing::warn;

use super::access;
use crate::contract::ChannelId;
use crate::metrics::Metrics;
use crate::telemetry::Throttle;

#[derive(Debug, Default)]
pub(super) struct FailedLogins(Throttle);

impl FailedLogins {
    /// `channel` is `None` where there is none of that name: what a stranger invents becomes no label.
    pub(super) fn note(
        &self,
        channel: Option<ChannelId>,
        origin: Option<IpAddr>,
        metrics: &Metrics,
    ) {
        if let Some(failures) = self.0.count() {
            let channel = channel.as_ref().map(ChannelId::as_str);
            let network = origin.map(|origin| access::network(origin).to_string());
            warn!(
                channel,
                network, failures, "wrong, missing or repeated passwords"
            );
        }
        metrics.authentication_failed(channel);
    }
}
