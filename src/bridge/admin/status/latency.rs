//! Times from a histogram's counts.

use super::words;

/// The time within which `share` of what was counted came, in seconds: in its bucket they are taken to be
/// spread evenly. `None` where nothing was counted.
#[expect(
    clippy::cast_precision_loss,
    reason = "the bucket's width is the larger error"
)]
fn quantile(buckets: &[(f64, u64)], share: f64) -> Option<f64> {
    let total = buckets.last().map_or(0, |(_, count)| *count);
    if total == 0 {
        return None;
    }
    let wanted = share * total as f64;
    let (mut bound, mut before) = (0.0, 0.0);
    for &(upper, count) in buckets {
        let count = count as f64;
        if count >= wanted {
            // What is beyond the last bound is that long at least.
            let width = if upper.is_finite() {
                upper - bound
            } else {
                0.0
            };
            return Some(bound + width * (wanted - before) / (count - before).max(1.0));
        }
        (bound, before) = (upper, count);
    }
    Some(bound)
}

/// The median and the 99th percentile in words; `None` where nothing was counted.
pub(super) fn in_words(buckets: &[(f64, u64)]) -> Option<[String; 2]> {
    let longest = buckets.iter().rev().find(|(bound, _)| bound.is_finite());
    let longest = longest.map_or(0.0, |(bound, _)| *bound);
    let word = |share| {
        quantile(buckets, share).map(|seconds| {
            let words = words::latency(seconds);
            if seconds >= longest {
                format!("{words} or more")
            } else {
                words
            }
        })
    };
    Some([word(0.5)?, word(0.99)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: f64 = f64::INFINITY;

    #[test]
    fn a_time_is_found_in_its_bucket() {
        let buckets = [(0.01, 50), (0.02, 100), (LAST, 100)];
        assert_eq!(quantile(&buckets, 0.5), Some(0.01));
        assert_eq!(quantile(&buckets, 0.25), Some(0.005));
        assert_eq!(quantile(&buckets, 0.75), Some(0.015));
        assert_eq!(quantile(&buckets, 1.0), Some(0.02));
    }

    #[test]
    fn nothing_has_no_time() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(in_words(&[(0.01, 0), (LAST, 0)]), None);
    }

    #[test]
    fn what_is_past_the_last_bound_took_that_long_or_more() {
        let buckets = [(0.01, 90), (120.0, 90), (LAST, 100)];
        let expected = ["5.6 ms".to_owned(), "120 s or more".to_owned()];
        assert_eq!(in_words(&buckets), Some(expected));
    }
}
