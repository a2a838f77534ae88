//! A producer that is replaced: its last results count, and nothing that it says later does.

use super::spooling::{HELD_BACK, eventually};
use super::*;
use crate::kafka::Failed;

/// A report in flight with the first producer, and number 1 in its lane.
async fn in_flight(properties: &[(&str, &str)]) -> Fixture {
    let fixture = Fixture::with("there", 10, properties);
    assert_eq!(fixture.partitions().await, Some(1));
    let told = fixture.deliver(Duration::ZERO).await;
    assert_eq!(told, Err(NotTaken::Deadline));
    assert!(fixture.lane().lane(|lane| lane.report(1).is_some()));
    fixture
}

impl Fixture {
    fn lane(&self) -> Arc<partition::Partition> {
        Arc::clone(&self.delivery.events.partitions.all()[0])
    }

    /// The producer's id is not valid any more.
    fn wedge(&self) {
        let events = self.delivery.events.shared();
        events.failed(Some(1), Failed::WEDGED);
    }

    fn rebuilds(&self) -> u64 {
        self.metrics.producer_rebuilds.get()
    }
}

#[tokio::test]
async fn a_failure_that_an_earlier_producer_reports_changes_nothing() {
    let fixture = in_flight(&HELD_BACK).await;
    fixture.lane().failed(1, 0, Failed::WEDGED);
    let shared = fixture.delivery.events.shared();
    assert_eq!(shared.wedged.load(Ordering::Relaxed), 0);
    assert!(fixture.lane().lane(|lane| lane.mode() == Mode::Direct));
    assert_eq!(fixture.lane().lane(Lane::in_flight), 1);
}

#[tokio::test]
async fn a_failure_of_the_producer_in_service_has_it_replaced_once() {
    let fixture = in_flight(&[("linger.ms", "100")]).await;
    fixture.wedge();
    eventually("it is not replaced", || fixture.rebuilds() == 1).await;
    // The generation that was wedged is over.
    fixture.wedge();
    assert_eq!(fixture.deliver(LONG).await.map(drop), Ok(()));
    eventually("not everything is delivered", || {
        fixture.delivery.is_delivered()
    })
    .await;
    assert_eq!(fixture.rebuilds(), 1);
}

#[tokio::test]
async fn the_true_results_of_a_replaced_producer_are_waited_for() {
    // Longer than the pause before a replacement.
    let fixture = in_flight(&[("linger.ms", "2000")]).await;
    fixture.wedge();
    eventually("it is not replaced", || fixture.rebuilds() == 1).await;
    let text = fixture.metrics.text();
    let acknowledged = "koobridge_kafka_acknowledgement_seconds_count 1\n";
    assert!(text.contains(acknowledged), "{text}");
    assert!(fixture.delivery.is_delivered());
    assert_eq!(fixture.fates(), ["{fate=\"delivered_late\"} 1"]);
}

#[tokio::test]
async fn a_producer_is_not_ended_by_a_thread_that_still_has_it() {
    let fixture = in_flight(&HELD_BACK).await;
    let held = fixture.delivery.events.producer.load_full();
    let weak = Arc::downgrade(&held);
    fixture.lane().acknowledged(1);
    fixture.wedge();
    eventually("it is not replaced", || fixture.rebuilds() == 1).await;
    // The thread that ends it waits for this one.
    assert_eq!(weak.strong_count(), 2);
    drop(held);
    eventually("it is not ended", || weak.strong_count() == 0).await;
}
