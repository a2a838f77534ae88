//! A moment on the command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::parse;

/// The longest accepted time ago: a hundred years, which is before any record.
const LONGEST: Duration = Duration::from_hours(24 * 36_500);

/// A moment on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimePoint {
    /// Before the first record.
    Beginning,
    /// The start of the command.
    Now,
    At(Moment),
}

/// A time on the command line.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub at: Timestamp,
    /// The time ago, if it was written so.
    ago: Option<Duration>,
}

impl PartialEq for Moment {
    /// Compares times ago by their text, so that a command can be repeated later.
    fn eq(&self, other: &Self) -> bool {
        match (self.ago, other.ago) {
            (None, None) => self.at == other.at,
            (ago, other) => ago == other,
        }
    }
}

impl Eq for Moment {}

impl Moment {
    pub(super) fn now() -> Self {
        Self {
            at: Timestamp::now(),
            ago: Some(Duration::ZERO),
        }
    }

    /// Compares milliseconds, as Kafka's times have.
    pub(super) fn is_before(self, other: Self) -> bool {
        match (self.ago, other.ago) {
            (Some(ago), Some(other)) => ago > other,
            _ => self.at.as_millisecond() < other.at.as_millisecond(),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ago.map(SignedDuration::try_from) {
            Some(Ok(ago)) => write!(f, "{ago:#}"),
            _ => write!(f, "{:.3}", self.at),
        }
    }
}

impl FromStr for TimePoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginning" => return Ok(Self::Beginning),
            "now" => return Ok(Self::Now),
            _ => {}
        }
        if let Ok(at) = text.parse() {
            return Ok(Self::At(Moment { at, ago: None }));
        }
        let wrong = || {
            format!(
                "\"{text}\" is not a time; write 2026-11-22T08:00:00Z (RFC 3339, with an offset), 2h \
                 (ago; also 90s, 30m, 2d), beginning or now"
            )
        };
        let ago = parse::duration(text).ok().filter(|ago| *ago < LONGEST);
        let at = Timestamp::now() - ago.ok_or_else(wrong)?;
        Ok(Self::At(Moment { at, ago }))
    }
}

impl fmt::Display for TimePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("beginning"),
            Self::Now => f.write_str("now"),
            Self::At(moment) => write!(f, "{moment}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_a_time_ago() {
        let at: Timestamp = "2026-11-22T08:00:00Z".parse().expect("a time");
        let at = Ok(TimePoint::At(Moment { at, ago: None }));
        assert_eq!("2026-11-22T08:00:00Z".parse(), at);
        assert_eq!("2026-11-22T09:00:00+01:00".parse(), at);
        assert_eq!("beginning".parse(), Ok(TimePoint::Beginning));
        assert_eq!("now".parse(), Ok(TimePoint::Now));
        for (text, seconds) in [("2h", 7200), ("90s", 90), ("30m", 1800), ("2d", 172_800)] {
            let Ok(TimePoint::At(moment)) = text.parse() else {
                panic!("{text}");
            };
            let off = Timestamp::now().as_second() - moment.at.as_second() - seconds;
            assert!((0..5).contains(&off), "{text}: {off}");
        }
    }

    #[test]
    fn other_text_is_refused_with_examples() {
        for text in [
            "",
            "yesterday",
            "2026-11-22",
            "2026-11-22T08:00:00",
            "-2h",
            "2 fortnights",
            "999999d",
        ] {
            let wrong = text.parse::<TimePoint>().expect_err(text);
            assert!(
                wrong.starts_with(&format!("\"{text}\" is not a time; write 20")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn equal_times_ago_are_equal_and_shown_as_written() {
        let two_hours = |text: &str| text.parse::<TimePoint>().expect("a time");
        let before = two_hours("2h");
        while Timestamp::now().as_millisecond() == now_of(before) {}
        assert_eq!(before, two_hours("2h"));
        assert_eq!(before, two_hours("120m"));
        assert_ne!(before, two_hours("3h"));
        assert_eq!(before.to_string(), "2h");
        let absolute = two_hours("2026-11-22T09:00:00+01:00");
        assert_eq!(absolute.to_string(), "2026-11-22T08:00:00.000Z");
        assert_ne!(absolute, before);
    }

    fn now_of(two_hours_ago: TimePoint) -> i64 {
        let TimePoint::At(moment) = two_hours_ago else {
            panic!("{two_hours_ago}");
        };
        moment.at.as_millisecond() + 7_200_000
    }
}
