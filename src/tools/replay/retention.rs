//! The warning of records that are older than a topic keeps them.

use std::time::Duration;

use indicatif::HumanDuration;
use jiff::Timestamp;

use super::tally::{Tally, time};
use crate::kafka::{Settings, topic_setting};

/// Warns if Kafka may delete some of the records before any subscriber reads them.
pub(super) fn warn_of_retention(settings: &Settings, target: &str, tally: &Tally) {
    let Some([first, _]) = tally.times else {
        return;
    };
    let retention = topic_setting(settings, target, "retention.ms");
    let retention = retention.ok().flatten();
    let retention = retention.and_then(|text| text.parse::<i64>().ok());
    let Some(retention) = retention.filter(|retention| *retention > 0) else {
        return;
    };
    if first < Timestamp::now().as_millisecond() - retention {
        crate::tell!(
            "beware: {target} keeps records for {} by their time, and these begin at {}: Kafka may \
             delete the older ones at once. Raise its retention.ms first",
            HumanDuration(Duration::from_millis(retention.unsigned_abs())),
            time(first)
        );
    }
}
