//! The producers of a topic. A partition is bound to one of them for the life of the process, so that its order holds.
//!
//! librdkafka sends one partition in a request, and here one request at a time on a connection: the partitions of a
//! broker wait for each other. Each producer has connections of its own, which take their share of them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use tracing::warn;

use super::lane::Generation;
use super::partitions::Partitions;
use super::shared::Ticket;
use crate::config::{CHOSEN_PRODUCERS, MOST_PRODUCERS};
use crate::kafka::{ClientError, Producer, Settings};
use crate::telemetry::Throttle;

/// How many partitions of a broker each of them has at least: with fewer, they cost more than they gain.
const LEAST: usize = 2;
/// How many brokers are assumed to lead the partitions until Kafka has said it.
const BROKERS: u32 = 3;

static NOT_STARTED: Throttle = Throttle::new();

/// The settings that producers are started with from now on.
pub(super) type CurrentSettings = Arc<ArcSwap<Settings>>;

/// A producer, in one generation.
pub(super) struct InService {
    pub(super) producer: Arc<Producer<Ticket>>,
    pub(super) generation: Generation,
    /// The settings that it was started with.
    settings: Arc<Settings>,
}

/// The producers of a topic, by their numbers from 0.
pub(super) struct Producers {
    /// What they are called in threads and logs.
    pub(super) role: &'static str,
    settings: CurrentSettings,
    /// How many there are to be; chosen by the partitions if it is not given.
    wanted: Option<usize>,
    pub(super) partitions: Arc<Partitions>,
    started: [OnceLock<ArcSwap<InService>>; MOST_PRODUCERS],
    starting: Mutex<()>,
}

impl Producers {
    /// Starts the first one. The others are started when partitions are bound to them.
    ///
    /// # Errors
    /// If librdkafka refuses the settings as a whole, or the system can't start a thread.
    pub(super) fn start(
        role: &'static str,
        settings: &CurrentSettings,
        wanted: Option<usize>,
        partitions: Arc<Partitions>,
    ) -> Result<Self, ClientError> {
        let producers = Self {
            role,
            settings: Arc::clone(settings),
            wanted,
            partitions,
            started: [const { OnceLock::new() }; MOST_PRODUCERS],
            starting: Mutex::new(()),
        };
        producers.add(0)?;
        Ok(producers)
    }

    /// Returns the producers that have been started, in their order.
    pub(super) fn all(&self) -> impl Iterator<Item = &ArcSwap<InService>> {
        self.started.iter().map_while(OnceLock::get)
    }

    /// Returns a producer to which a partition is bound.
    pub(super) fn get(&self, number: usize) -> &ArcSwap<InService> {
        let started = self.started[number].get();
        started.expect("partitions are bound to producers that have been started")
    }

    /// Returns the number of the producer for a partition that has sent nothing yet.
    ///
    /// The partitions that one broker leads are spread over the producers.
    pub(super) fn bind(&self, partition: u32) -> usize {
        let shared = &self.partitions.shared;
        let count = shared.known_partitions().unwrap_or_default();
        let ranks = ranks(count, &shared.watch.preferred_leaders());
        let most = ranks.iter().max().map_or(1, |last| last + 1);
        let wanted = self.wanted.unwrap_or_else(|| chosen(most));
        let started = self.start_missing(wanted.min(most));
        // The topic can have fewer partitions than it once had.
        let rank = ranks.get(partition as usize);
        rank.map_or(0, |rank| rank % started)
    }

    /// Starts producers until there are so many. Returns how many there are: fewer if the system has no thread left.
    fn start_missing(&self, wanted: usize) -> usize {
        if self.all().count() < wanted {
            let _one_at_a_time = self.starting.lock();
            let added = (self.all().count()..wanted).try_for_each(|number| self.add(number));
            if let Err(error) = added
                && let Some(times) = NOT_STARTED.count()
            {
                warn!(%error, times, "can't start another producer: its partitions go to the others");
            }
        }
        self.all().count()
    }

    fn add(&self, number: usize) -> Result<(), ClientError> {
        let first = self.start_one(number, 1)?;
        let added = self.started[number].set(ArcSwap::from_pointee(first));
        assert!(added.is_ok(), "it is started once");
        Ok(())
    }

    /// Starts a producer with this number, the first or one that replaces another.
    pub(super) fn start_one(
        &self,
        number: usize,
        generation: Generation,
    ) -> Result<InService, ClientError> {
        let name = match number {
            0 => self.role.to_owned(),
            number => format!("{}-{}", self.role, number + 1),
        };
        let partitions = Arc::clone(&self.partitions);
        let on_report = move |ticket, result| partitions.reported(ticket, result);
        let settings = self.settings.load_full();
        let producer = Producer::start(&name, &settings, on_report)?;
        Ok(InService {
            producer: Arc::new(producer),
            generation,
            settings,
        })
    }

    /// Returns whether the settings have changed since a producer was started.
    pub(super) fn is_outdated(&self, number: usize) -> bool {
        !Arc::ptr_eq(&self.get(number).load().settings, &self.settings.load())
    }

    /// Returns whether the settings have changed since one of the producers was started.
    pub(super) fn are_outdated(&self) -> bool {
        (0..self.all().count()).any(|number| self.is_outdated(number))
    }

    /// Returns when the first of the certificates expires that the producers show, if there are any.
    pub(super) fn certificate_expires(&self) -> Option<Timestamp> {
        let expires = |one: &ArcSwap<InService>| {
            let in_service = one.load();
            let certificate = in_service.settings.certificate();
            certificate.map(|certificate| certificate.expires)
        };
        self.all().filter_map(expires).min()
    }
}

impl Drop for Producers {
    /// Ends their polling threads, which takes a moment, at the same time.
    fn drop(&mut self) {
        self.all().for_each(|one| one.load().producer.stop());
    }
}

/// Returns how many producers serve so many partitions of a broker best. A number between these gained less than it
/// cost.
fn chosen(partitions: usize) -> usize {
    if partitions < LEAST * CHOSEN_PRODUCERS {
        1
    } else {
        CHOSEN_PRODUCERS
    }
}

/// Returns for each partition how many before it the same broker leads.
fn ranks(count: u32, leaders: &[i32]) -> Vec<usize> {
    let leader = |partition: u32| leaders.get(partition as usize).copied();
    let mut ranks = Vec::new();
    let mut led = BTreeMap::new();
    for partition in 0..count {
        let assumed = -1 - i32::try_from(partition % BROKERS).unwrap_or_default();
        let rank = led.entry(leader(partition).unwrap_or(assumed)).or_insert(0);
        ranks.push(*rank);
        *rank += 1;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partitions_of_a_broker_are_spread_over_the_producers() {
        assert_eq!(ranks(6, &[1, 2, 3, 1, 2, 3]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(ranks(6, &[3, 3, 3, 3, 1, 1]), [0, 1, 2, 3, 0, 1]);
        assert_eq!(ranks(6, &[]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(ranks(3, &[7]), [0, 0, 0]);
    }

    #[test]
    fn there_are_four_producers_if_each_has_two_partitions_of_a_broker() {
        let chosen = [1, 2, 4, 7, 8, 20, 1000].map(chosen);
        assert_eq!(chosen, [1, 1, 1, 1, 4, 4, 4]);
    }
}
