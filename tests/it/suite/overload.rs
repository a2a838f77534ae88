//! Twice the load that Kafka can take: admitted reports keep their latency, the others are refused at once.
//!
//! Long round trips and small batches bring Kafka to its limit while the processors have time left.

use std::time::Duration;

use super::checker::{Checker, Tolerated};
use super::load::{Plan, SentReport};
use super::network::behind_a_proxy;
use super::rig::{Rig, lasting, seconds};
use super::row::percentile;

const ROUND_TRIP: Duration = Duration::from_millis(200);
const BATCH: &str = "20";
/// The number of reports that Kafka takes in a few round trips.
const CEILING: &str = "120";
/// Far more reports a second than Kafka takes with these settings.
const TOO_MUCH: u32 = 900;
/// The load at which no report has to be refused.
const HALF: &str = "half";
/// The first seconds of a load do not count: reports of the last load are still in flight.
const START: u64 = 2;

/// How long each load lasts.
fn length() -> u64 {
    lasting(8, 12)
}

#[test]
fn at_twice_the_load_admitted_reports_are_kept_and_others_refused_at_once() {
    let settings = [
        ("kafka.properties.batch.num.messages", BATCH),
        ("ingress.reports_in_flight", CEILING),
    ];
    let (mut rig, proxy) = behind_a_proxy("overload", false, &settings, None);
    proxy.set_round_trip(ROUND_TRIP);
    let mut reports = rig.stop();
    let answers = answers_under_load(&mut rig, TOO_MUCH, reports.len());
    let capacity = print("far too much", TOO_MUCH, &answers);
    reports.extend(answers);
    for (load, rate) in [(HALF, capacity / 2), ("twice", capacity * 2)] {
        let answers = answers_under_load(&mut rig, rate, reports.len());
        print(load, rate, &answers);
        reports.extend(answers);
    }
    proxy.set_round_trip(Duration::ZERO);
    rig.wait_until_settled();
    let evidence = rig.gather();
    let tolerated = Tolerated {
        refusals: true,
        failures: true,
        ..Tolerated::NOTHING
    };
    Checker::new(&reports, tolerated, &evidence).check();
}

/// Returns the answers to the senders of a load, without its first seconds.
fn answers_under_load(rig: &mut Rig, rate: u32, first: usize) -> Vec<SentReport> {
    rig.load(Plan {
        rate,
        first: u32::try_from(first).expect("few reports"),
        ..Plan::default()
    });
    seconds(length());
    rig.stop()
}

/// Prints a row of a table, and returns how many reports were admitted a second.
fn print(load: &str, rate: u32, reports: &[SentReport]) -> u32 {
    let began = reports
        .iter()
        .map(|report| report.sent)
        .min()
        .expect("a load");
    let counts = began + Duration::from_secs(START)..began + Duration::from_secs(length());
    let took = |is_wanted: fn(&SentReport) -> bool| {
        let wanted = reports
            .iter()
            .filter(|report| counts.contains(&report.sent) && is_wanted(report));
        let mut took: Vec<_> = wanted.map(SentReport::took).collect();
        took.sort_unstable();
        took
    };
    let (admitted, refused) = (
        took(SentReport::is_promised),
        took(|report| !report.is_promised()),
    );
    println!(
        "| {load} | {rate} | {} | {} | {} | {} | {} |",
        admitted.len(),
        refused.len(),
        percentile(&admitted, 50).as_millis(),
        percentile(&admitted, 99).as_millis(),
        percentile(&refused, 99).as_millis(),
    );
    if load != HALF {
        let (refused, admitted) = (percentile(&refused, 99), percentile(&admitted, 50));
        assert!(
            refused < admitted,
            "{load}: refused after {refused:?}, admitted after {admitted:?}"
        );
        assert!(refused > Duration::ZERO, "{load}: no report is refused");
    }
    u32::try_from(admitted.len() as u64 / (length() - START)).expect("few a second")
}
