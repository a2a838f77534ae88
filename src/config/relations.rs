//! Checks relations between valid values. If they did not hold, the bridge would start, but answer every report, or
//! every large one, with 503.

use std::time::Duration;

use super::checks::Checker;
use super::keys::PROPERTIES;
use super::{PropertyCheck, parse};

/// The space that an event needs in a Kafka record in addition to the report's body.
pub const RECORD_OVERHEAD: u64 = 16 << 10;

/// The largest record if `message.max.bytes` is not configured.
pub const DEFAULT_MESSAGE_MAX_BYTES: u64 = 1_000_000;

/// The spool needs this many times the largest report: for its log, for a file, and for moving the report.
const DISK_FOR_A_REPORT: u64 = 8;
/// The part of the deadline that must remain when a report goes to the spool: an fsync on a busy disk takes up to some
/// hundred milliseconds.
pub const SPOOL_MARGIN: Duration = Duration::from_millis(500);

impl Checker<'_> {
    /// Checks every relation whose values are valid.
    pub(super) fn relations(&mut self, check: PropertyCheck) {
        let deadline = self.if_valid("ingress.deadline", parse::time);
        let body_timeout = self.if_valid("ingress.body_timeout", parse::time);
        let has_spool = self.settings.spool_directory().is_some();
        let after = self.if_valid("spool.after", parse::time);
        let after = after.filter(|_| has_spool);
        if let (Some(deadline), Some(body_timeout)) = (deadline, body_timeout) {
            if body_timeout >= deadline {
                self.error(
                    "ingress.body_timeout",
                    "must be shorter than ingress.deadline",
                );
            } else if let Some(after) = after {
                self.check_deadline(deadline, body_timeout + after + SPOOL_MARGIN);
            }
        }
        if let Some(body) = self.if_valid("ingress.body_limit", parse::size::<u64>) {
            self.check_limits(body + RECORD_OVERHEAD, has_spool, check);
        }
        let longest = if has_spool { after } else { deadline };
        if let Some(longest) = longest {
            self.check_linger(longest, has_spool, check);
        }
    }

    /// `needed` is the size of the largest record.
    fn check_limits(&mut self, needed: u64, has_spool: bool, check: PropertyCheck) {
        self.check_body_limit(needed, check);
        self.check_queue_size(needed, check);
        let bytes = self.if_valid("ingress.bytes_in_flight", parse::size::<u64>);
        if bytes.is_some_and(|bytes| bytes < needed) {
            self.error(
                "ingress.bytes_in_flight",
                "is too small for a report of ingress.body_limit; set at least body_limit + 16 KiB",
            );
        }
        let disk = self.if_valid("spool.disk_limit", parse::size::<u64>);
        let wanted = DISK_FOR_A_REPORT.saturating_mul(needed);
        if has_spool && disk.is_some_and(|disk| disk < wanted) {
            let problem = format!(
                "is too small for a report of ingress.body_limit; set at least {wanted} bytes: {DISK_FOR_A_REPORT} times the \
                 sum of body_limit and 16 KiB"
            );
            self.error("spool.disk_limit", problem);
        }
    }

    fn check_body_limit(&mut self, needed: u64, check: PropertyCheck) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "librdkafka takes no more than 1,000,000,000, and nothing negative"
        )]
        let record = self
            .number("message.max.bytes", check)
            .map_or(DEFAULT_MESSAGE_MAX_BYTES, |number| number as u64);
        if needed > record {
            self.error(
                "ingress.body_limit",
                format!(
                    "is too large: an event with such a body does not fit a Kafka record of {record} bytes; lower it, or \
                     raise message.max.bytes (and the topic's max.message.bytes)"
                ),
            );
        }
    }

    fn check_queue_size(&mut self, needed: u64, check: PropertyCheck) {
        let name = "queue.buffering.max.kbytes";
        let needed = needed.div_ceil(1 << 10);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        if let Some(room) = self
            .number(name, check)
            .filter(|room| *room < needed as f64)
        {
            self.error(
                &format!("{PROPERTIES}{name}"),
                format!(
                    "{room} KiB is too small for a report of ingress.body_limit: librdkafka would never accept it; set at \
                     least {needed}"
                ),
            );
        }
    }

    fn check_deadline(&mut self, deadline: Duration, needed: Duration) {
        if deadline > needed {
            return;
        }
        let keys = ["spool.after", "ingress.deadline", "ingress.body_timeout"];
        let [after, deadline, body_timeout] =
            keys.map(|key| self.settings.text(key).unwrap_or_default());
        let problem = format!(
            "ingress.deadline ({deadline}) must be longer than {needed:?}, the sum of ingress.body_timeout ({body_timeout}), \
             spool.after ({after}) and {SPOOL_MARGIN:?} for the fsync; raise the deadline or lower one of the others"
        );
        let typed = keys
            .into_iter()
            .find(|key| !self.settings.source_of(key).is_empty());
        self.error(typed.unwrap_or(keys[0]), problem);
    }

    fn check_linger(&mut self, longest: Duration, has_spool: bool, check: PropertyCheck) {
        let (key, outcome) = if has_spool {
            ("spool.after", "go to the spool")
        } else {
            ("ingress.deadline", "be answered 503")
        };
        let Some(linger) = self.number("linger.ms", check) else {
            return;
        };
        if linger.is_nan() || linger >= longest.as_secs_f64() * 1000.0 {
            let longest = self.settings.text(key).unwrap_or_default();
            let problem = format!(
                "librdkafka delays each record for {linger} ms, and {key} is {longest}: every report would {outcome}; \
                 lower it"
            );
            self.error(&format!("{PROPERTIES}linger.ms"), problem);
        }
    }

    /// Returns the value of a numeric property as librdkafka reads it, for example `0x10` or `1e3`.
    fn number(&self, name: &str, check: PropertyCheck) -> Option<f64> {
        let text = self.settings.text(&format!("{PROPERTIES}{name}"))?;
        check(name, text).ok()?.parse().ok()
    }
}
