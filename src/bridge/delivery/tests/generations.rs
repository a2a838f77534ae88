//! Tests the replacement of producers. Results that arrive before it count; later failures do not.

use super::spooling::{HELD_BACK, eventually};
use super::*;
use crate::kafka::DeliveryError;

/// Starts with report number 1 in flight with the first producer.
async fn in_flight(properties: &[(&str, &str)]) -> Fixture {
    let fixture = Fixture::with("there", 10, properties);
    assert_eq!(fixture.partitions().await, Some(1));
    let reply = fixture.deliver(Duration::ZERO).await;
    assert_eq!(reply, Err(PublishError::Deadline));
    assert!(fixture.lane().lane(|lane| lane.report(1).is_some()));
    fixture
}

impl Fixture {
    fn lane(&self) -> Arc<partition::Partition> {
        Arc::clone(&self.delivery.events.partitions.all()[0])
    }

    /// Makes the id of the first producer invalid.
    fn invalidate_producer(&self) {
        self.invalidate_one_producer(0);
    }

    /// Makes the id of the first generation of a producer invalid.
    fn invalidate_one_producer(&self, producer: usize) {
        let events = self.delivery.events.shared();
        events.failed(Some((producer, 1)), DeliveryError::INVALID_PRODUCER_ID);
    }

    fn is_up(&self) -> bool {
        let series = "\nkoobridge_producer_up{topic=\"two\"} 1\n";
        self.metrics.text().contains(series)
    }

    fn mode(&self, partition: usize) -> Mode {
        self.delivery.events.partitions.all()[partition].lane(Lane::mode)
    }

    fn generations(&self) -> Vec<u64> {
        let producers = self.delivery.events.producers.all();
        producers
            .map(|producer| producer.load().generation)
            .collect()
    }

    fn rebuilds(&self) -> u64 {
        self.metrics.producer_rebuilds.get()
    }
}

#[tokio::test]
async fn a_failure_that_an_earlier_producer_reports_changes_nothing() {
    let fixture = in_flight(&HELD_BACK).await;
    fixture
        .lane()
        .failed(1, 0, DeliveryError::INVALID_PRODUCER_ID);
    let shared = fixture.delivery.events.shared();
    assert_eq!(
        shared.producer_health[0]
            .invalid_generation
            .load(Ordering::Relaxed),
        0
    );
    assert!(fixture.lane().lane(|lane| lane.mode() == Mode::Direct));
    assert_eq!(fixture.lane().lane(Lane::in_flight), 1);
}

#[tokio::test]
async fn a_producer_with_an_invalid_id_is_replaced_once() {
    let fixture = in_flight(&[("linger.ms", "100")]).await;
    fixture.invalidate_producer();
    eventually("it is not replaced", || fixture.rebuilds() == 1).await;
    // The first generation is no longer in service.
    fixture.invalidate_producer();
    assert_eq!(fixture.deliver(LONG).await.map(drop), Ok(()));
    eventually("not everything is delivered", || {
        fixture.delivery.is_delivered()
    })
    .await;
    assert_eq!(fixture.rebuilds(), 1);
}

#[tokio::test]
async fn a_replacement_waits_for_the_true_results() {
    // Longer than the pause before a replacement.
    let fixture = in_flight(&[("linger.ms", "2000")]).await;
    fixture.invalidate_producer();
    eventually("it is not replaced", || fixture.rebuilds() == 1).await;
    let text = fixture.metrics.text();
    let acknowledged = "koobridge_kafka_acknowledgement_seconds_count 1\n";
    assert!(text.contains(acknowledged), "{text}");
    assert!(fixture.delivery.is_delivered());
    assert_eq!(fixture.fates(), ["{fate=\"delivered_late\"} 1"]);
}

#[tokio::test]
async fn a_producer_ends_when_no_thread_uses_it() {
    let fixture = in_flight(&HELD_BACK).await;
    let held = fixture.delivery.events.producers.get(0).load_full();
    let weak = Arc::downgrade(&held);
    fixture.lane().acknowledged(1, POSITION);
    fixture.invalidate_producer();
    eventually("it is not replaced", || fixture.rebuilds() == 1).await;
    // The thread that ends it waits until this one drops it.
    assert_eq!(weak.strong_count(), 2);
    drop(held);
    eventually("it is not ended", || weak.strong_count() == 0).await;
}

/// Properties with which two reports are sent together and a single one stays in the queue.
const PAIRS: [(&str, &str); 2] = [("linger.ms", "60000"), ("batch.num.messages", "2")];

/// A key for each of two partitions.
const OF_EACH: [&str; 2] = ["m1", "m0"];

/// A topic with two partitions of the same broker.
async fn empty_partitions() -> Fixture {
    let fixture = Fixture::start("two", 10, &PAIRS, None);
    let broker = fixture.broker.as_ref().expect("a broker");
    broker.create_topic("two", 2).expect("a topic");
    let known = || fixture.delivery.events.update_partitions() == Some(2);
    eventually("the topic is not noticed", known).await;
    fixture
}

/// A topic with two partitions of the same broker, each with its own producer and a report in flight.
async fn two_partitions() -> Fixture {
    let fixture = empty_partitions().await;
    for key in OF_EACH {
        let reply = routing::deliver(&fixture, key, Duration::ZERO).await;
        assert_eq!(reply, Err(PublishError::Deadline));
    }
    let all = fixture.delivery.events.partitions.all();
    let bound: Vec<_> = all.iter().map(|partition| partition.producer()).collect();
    assert_eq!(bound, [Some(0), Some(1)]);
    fixture
}

#[tokio::test]
async fn a_producer_that_is_replaced_pauses_only_the_partitions_that_are_bound_to_it() {
    let fixture = two_partitions().await;
    fixture.invalidate_one_producer(0);
    eventually("it is not paused", || fixture.mode(0) != Mode::Direct).await;
    assert!(!fixture.is_up());
    // With the report in flight, these make two pairs.
    let [first, second, third] = [(); 3].map(|()| routing::deliver(&fixture, OF_EACH[1], LONG));
    let reply = tokio::join!(first, second, third);
    assert_eq!(
        reply,
        (Ok(KeptBy::Kafka), Ok(KeptBy::Kafka), Ok(KeptBy::Kafka))
    );
    assert_eq!(fixture.mode(1), Mode::Direct);
    assert_eq!(fixture.generations(), [1, 1]);
    fixture.delivery.events.partitions.all()[0].acknowledged(1, POSITION);
    eventually("it is not replaced", || fixture.rebuilds() == 1).await;
    assert_eq!(fixture.generations(), [2, 1]);
    assert!(fixture.is_up());
    let [first, second] = [(); 2].map(|()| routing::deliver(&fixture, OF_EACH[0], LONG));
    let reply = tokio::join!(first, second);
    assert_eq!(reply, (Ok(KeptBy::Kafka), Ok(KeptBy::Kafka)));
}

#[tokio::test]
async fn a_topic_is_not_up_until_each_of_its_producers_is_in_service() {
    let fixture = two_partitions().await;
    fixture.invalidate_one_producer(0);
    fixture.invalidate_one_producer(1);
    let paused = || [0, 1].map(|partition| fixture.mode(partition) != Mode::Direct);
    eventually("not both are paused", || paused() == [true, true]).await;
    let all = fixture.delivery.events.partitions.all();
    all[0].acknowledged(1, POSITION);
    eventually("it is not replaced", || fixture.rebuilds() == 1).await;
    assert_eq!(fixture.generations(), [2, 1]);
    assert!(!fixture.is_up());
    all[1].acknowledged(2, POSITION);
    eventually("it is not replaced", || fixture.rebuilds() == 2).await;
    eventually("it is not up", || fixture.is_up()).await;
}

impl Fixture {
    /// Renews the producers with settings that do not delay records.
    fn renew(&self) {
        let broker = self.broker.as_ref().expect("a broker");
        let servers = broker.bootstrap_servers();
        let settings = Settings::new([("bootstrap.servers", servers.as_str())]);
        self.delivery.renew(settings);
    }
}

#[tokio::test]
async fn producers_with_new_settings_take_over_in_turn_and_send_unsent_records() {
    let fixture = empty_partitions().await;
    let is_given = |partition: &Arc<partition::Partition>| partition.lane(Lane::in_flight) == 1;
    let renewal = async {
        let all = fixture.delivery.events.partitions.all();
        eventually("not both are in flight", || all.iter().all(is_given)).await;
        fixture.renew();
        eventually("not both are replaced", || {
            let generations = fixture.generations();
            assert_ne!(generations, [1, 2]);
            assert!(fixture.is_up());
            generations == [2, 2]
        })
        .await;
    };
    let within = 3 * LONG;
    let [first, second] = OF_EACH.map(|key| routing::deliver(&fixture, key, within));
    let (first, second, ()) = tokio::join!(first, second, renewal);
    assert_eq!([first, second], [Ok(KeptBy::Kafka), Ok(KeptBy::Kafka)]);
    assert_eq!(fixture.rebuilds(), 0);
}

#[tokio::test]
async fn a_topic_is_up_after_a_replacement_during_a_renewal() {
    let fixture = two_partitions().await;
    fixture.renew();
    let is_paused = |partition| fixture.mode(partition) != Mode::Direct;
    eventually("the first is not paused", || is_paused(0)).await;
    fixture.invalidate_one_producer(1);
    eventually("the second is not paused", || is_paused(1)).await;
    let all = fixture.delivery.events.partitions.all();
    all[1].acknowledged(2, POSITION);
    eventually("not both are replaced", || fixture.generations() == [2, 2]).await;
    eventually("it is not up", || fixture.is_up()).await;
}

#[tokio::test]
async fn a_producer_stays_in_service_if_its_successor_does_not_find_the_topic() {
    let fixture = Fixture::new("there");
    assert_eq!(fixture.partitions().await, Some(1));
    let other = EmbeddedBroker::start().expect("an embedded broker");
    let servers = other.bootstrap_servers();
    let settings = Settings::new([("bootstrap.servers", servers.as_str())]);
    fixture.delivery.renew(settings);
    let problem = || fixture.delivery.renewal_problem();
    eventually("no problem is shown", || problem().is_some()).await;
    assert_eq!(
        problem().unwrap_or_default(),
        "there: the topic does not exist; create it with `koobridge topics --apply`"
    );
    assert_eq!(fixture.deliver(LONG).await, Ok(KeptBy::Kafka));
    assert_eq!(fixture.generations(), [1]);
}
