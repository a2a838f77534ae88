//! Tests delivery with a real spool and the embedded broker under random sequences of events: each promise is kept, and
//! each report has one fate.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tokio::task::JoinHandle;

use super::spooling::{eventually, spooling};
use super::*;
use crate::kafka::{DeliveryError, ReadStep, Reader};

type Reply = Result<Kept, PublishError>;

struct World {
    fixture: Fixture,
    settings: Settings,
    /// Each report, and the task of its sender.
    senders: Vec<(String, JoinHandle<Reply>)>,
    /// The number of reports whose senders disconnected.
    gone: usize,
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let spooling = spooling(directory.path(), Duration::from_millis(20));
        let fixture = Fixture::start("later", 1000, &[("linger.ms", "1")], Some(spooling));
        let broker = fixture.broker.as_ref().expect("a broker");
        let servers = broker.bootstrap_servers();
        Self {
            settings: Settings::new([("bootstrap.servers", servers.as_str())]),
            fixture,
            senders: Vec::new(),
            gone: 0,
            _directory: directory,
        }
    }

    fn create_topics(&self) {
        let broker = self.fixture.broker.as_ref().expect("a broker");
        for (topic, partitions) in [("later", 2), ("rejected", 1)] {
            // The topic may exist already.
            let _created = broker.create_topic(topic, partitions);
        }
    }

    async fn step(&mut self, (action, choice): (u8, u8)) {
        let events = Arc::clone(&self.fixture.delivery.events);
        let all = events.partitions.all();
        let lane = all.get(usize::from(choice) % all.len().max(1));
        match action % 16 {
            0..=4 => self.deliver(LONG, choice),
            5 | 6 => self.deliver(Duration::from_millis(choice.into()), choice),
            7 => self.hang_up(),
            8 => {
                let in_flight = lane.and_then(|lane| {
                    let generation = events.producers.get(lane.producer()?).load().generation;
                    lane.lane(|lane| {
                        lane.in_flight_of(generation)
                            .first()
                            .map(|number| (*number, generation))
                    })
                });
                if let (Some(lane), Some((number, generation))) = (lane, in_flight) {
                    lane.failed(number, generation, DeliveryError::PURGED);
                }
            }
            9 => all.iter().for_each(|lane| lane.feed(Input::SpillAll)),
            10 if choice < 40 => {
                let producer = usize::from(choice) % events.producers.all().count();
                let generation = events.producers.get(producer).load().generation;
                let by = Some((producer, generation));
                events
                    .shared()
                    .failed(by, DeliveryError::INVALID_PRODUCER_ID);
            }
            // Large records are redirected from now on.
            11 => events.shared().rejected_size.learn(1000),
            12 if choice < 128 => self.create_topics(),
            _ => sleep(Duration::from_millis(u64::from(choice) / 16)).await,
        }
        tokio::task::yield_now().await;
    }

    fn deliver(&mut self, within: Duration, choice: u8) {
        let id = format!("m{}", self.senders.len());
        let record = Record {
            key: Some(id.clone()),
            headers: Vec::new(),
            value: vec![b'x'; if choice.is_multiple_of(8) { 2000 } else { 10 }],
            timestamp: 1_795_000_000_000,
        };
        let events = Arc::clone(&self.fixture.delivery.events);
        let deadline = Instant::now() + within;
        let sender = tokio::spawn(async move { events.deliver(record, deadline).await });
        self.senders.push((id, sender));
    }

    fn hang_up(&mut self) {
        if let Some((_, sender)) = self
            .senders
            .iter()
            .rev()
            .find(|(_, task)| !task.is_finished())
        {
            sender.abort();
        }
    }

    /// Lets everything work, and checks that each promised report is on a topic and that each report has one fate.
    async fn check(mut self) {
        self.create_topics();
        let mut promised = BTreeSet::new();
        let mut shed = 0;
        let count = self.senders.len();
        for (id, sender) in std::mem::take(&mut self.senders) {
            match sender.await {
                Ok(Ok(_)) => _ = promised.insert(id),
                Ok(Err(PublishError::Overloaded)) => shed += 1,
                Ok(Err(_)) => {}
                Err(_) => self.gone += 1,
            }
        }
        let delivery = &self.fixture.delivery;
        let is_over = || {
            let reports = delivery.spool_level().expect("a spool").reports;
            delivery.is_delivered() && reports == 0
        };
        eventually("not everything is delivered", is_over).await;
        let found: BTreeSet<_> = ["later", "rejected"]
            .into_iter()
            .flat_map(|topic| self.keys(topic))
            .collect();
        assert!(promised.is_subset(&found), "{promised:?} {found:?}");
        let fates: u64 = self.fixture.fates().iter().map(|fate| count_of(fate)).sum();
        // A sender can hang up before its report is admitted.
        let admitted = (count - shed) as u64;
        assert!(
            (admitted - self.gone as u64..=admitted).contains(&fates),
            "{fates} of {admitted}"
        );
    }

    fn keys(&self, topic: &str) -> Vec<String> {
        let mut reader = Reader::open(&self.settings, topic).expect("a reader");
        let partitions = 0..reader.partitions().expect("partitions");
        let ranges = partitions.map(|partition| reader.full_range(partition).expect("a range"));
        let ranges: Vec<_> = ranges.collect();
        reader.read(&ranges).expect("ranges");
        let mut keys = Vec::new();
        loop {
            match reader.next(LONG).expect("a record") {
                ReadStep::Record(found) => {
                    keys.extend(found.record().text_key().map(str::to_owned));
                }
                ReadStep::Finished => return keys,
                ReadStep::Nothing | ReadStep::Waiting(_) | ReadStep::Deleted(_) => {
                    panic!("{topic} is not read")
                }
            }
        }
    }
}

fn count_of(fate: &str) -> u64 {
    let (_, count) = fate.rsplit_once(' ').expect("a count");
    count.parse().expect("a number")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8) })]

    #[test]
    fn the_promises_hold_whatever_happens(
        steps in proptest::collection::vec((any::<u8>(), any::<u8>()), 20..120)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut world = World::new();
            for step in steps {
                world.step(step).await;
            }
            world.check().await;
        });
    }
}
