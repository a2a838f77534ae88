//! Relations between values that are sound by themselves. With others the bridge would run, and answer every report, or
//! every large one, with 503.

use std::time::Duration;

use super::checks::Checker;
use super::keys::PROPERTIES;
use super::{PropertyCheck, parse};

/// The room that an event needs in a Kafka record beside the body that it was made of.
pub const RECORD_OVERHEAD: u64 = 16 << 10;

/// What librdkafka takes for a record where `message.max.bytes` is not configured.
pub const DEFAULT_MESSAGE_MAX_BYTES: u64 = 1_000_000;

/// The spool has room for the largest report in its log and in a file, and for moving it.
const DISK_FOR_A_REPORT: u64 = 8;
/// What a report that goes to the spool has left of its deadline: an fsync on a busy disk takes up to some hundred
/// milliseconds.
pub const SPOOL_MARGIN: Duration = Duration::from_millis(500);

impl Checker<'_> {
    /// Checks each relation of which every value is sound.
    pub(super) fn relations(&mut self, check: PropertyCheck) {
        let deadline = self.sound("ingress.deadline", parse::time);
        let body_timeout = self.sound("ingress.body_timeout", parse::time);
        let has_spool = self.settings.spool_directory().is_some();
        let after = self.sound("spool.after", parse::time);
        let after = after.filter(|_| has_spool);
        if let (Some(deadline), Some(body_timeout)) = (deadline, body_timeout) {
            if body_timeout >= deadline {
                self.error(
                    "ingress.body_timeout",
                    "must be shorter than ingress.deadline",
                );
            } else if let Some(after) = after {
                self.deadline_has_room_for_an_fsync(deadline, body_timeout + after + SPOOL_MARGIN);
            }
        }
        if let Some(body) = self.sound("ingress.body_limit", parse::size::<u64>) {
            self.limits_hold_a_report(body + RECORD_OVERHEAD, has_spool, check);
        }
        let longest = if has_spool { after } else { deadline };
        if let Some(longest) = longest {
            self.linger_leaves_time(longest, has_spool, check);
        }
    }

    /// `needed` is the size of the largest record.
    fn limits_hold_a_report(&mut self, needed: u64, has_spool: bool, check: PropertyCheck) {
        self.body_fits_a_record(needed, check);
        self.queue_holds_a_report(needed, check);
        let bytes = self.sound("ingress.bytes_in_flight", parse::size::<u64>);
        if bytes.is_some_and(|bytes| bytes < needed) {
            self.error(
                "ingress.bytes_in_flight",
                "is less than one report of body_limit needs; make it at least body_limit + 16 KiB",
            );
        }
        let disk = self.sound("spool.disk_limit", parse::size::<u64>);
        let wanted = DISK_FOR_A_REPORT.saturating_mul(needed);
        if has_spool && disk.is_some_and(|disk| disk < wanted) {
            let problem = format!(
                "has no room for a report of ingress.body_limit; make it at least {wanted} ({DISK_FOR_A_REPORT} times \
                 body_limit + 16 KiB)"
            );
            self.error("spool.disk_limit", problem);
        }
    }

    fn body_fits_a_record(&mut self, needed: u64, check: PropertyCheck) {
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
                    "a body this large does not fit a Kafka record of {record} bytes; lower it, or \
                     raise message.max.bytes (and the topic's max.message.bytes)"
                ),
            );
        }
    }

    fn queue_holds_a_report(&mut self, needed: u64, check: PropertyCheck) {
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
                    "{room} KiB hold no report of ingress.body_limit: librdkafka would never take it; make it at \
                     least {needed}"
                ),
            );
        }
    }

    fn deadline_has_room_for_an_fsync(&mut self, deadline: Duration, needed: Duration) {
        if deadline > needed {
            return;
        }
        let keys = ["spool.after", "ingress.deadline", "ingress.body_timeout"];
        let [after, deadline, body_timeout] =
            keys.map(|key| self.settings.text(key).unwrap_or_default());
        let problem = format!(
            "ingress.deadline ({deadline}) has to be longer than {needed:?}: ingress.body_timeout ({body_timeout}), \
             spool.after ({after}) and {SPOOL_MARGIN:?} for the fsync; raise the deadline or lower one of the two"
        );
        let typed = keys
            .into_iter()
            .find(|key| !self.settings.place(key).is_empty());
        self.error(typed.unwrap_or(keys[0]), problem);
    }

    fn linger_leaves_time(&mut self, longest: Duration, has_spool: bool, check: PropertyCheck) {
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
                "librdkafka holds each record back for {linger} ms, and {key} is {longest}: every report would \
                 {outcome}; lower it"
            );
            self.error(&format!("{PROPERTIES}linger.ms"), problem);
        }
    }

    /// The value of a property that is a number, as librdkafka reads it: it also takes `0x10` and `1e3`.
    fn number(&self, name: &str, check: PropertyCheck) -> Option<f64> {
        let text = self.settings.text(&format!("{PROPERTIES}{name}"))?;
        check(name, text).ok()?.parse().ok()
    }
}
