//! The producers of a topic. A partition is bound to one of them for the life of the process, which preserves its
//! order.
//!
//! librdkafka puts one partition in a request, and here sends one request at a time on a connection. Hence the
//! partitions of a broker wait for each other. Each producer has its own connections, so several producers share this
//! load.

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

/// The minimum number of a broker's partitions for each producer. With fewer, more producers cost more than they gain.
const MIN_PARTITIONS: usize = 2;
/// The number of brokers that are assumed to lead the partitions until the metadata is known.
const ASSUMED_BROKERS: u32 = 3;

static NOT_STARTED: Throttle = Throttle::new();

/// The settings for producers that are started from now on.
pub(super) type CurrentSettings = Arc<ArcSwap<Settings>>;

/// A producer with its generation.
pub(super) struct StartedProducer {
    pub(super) producer: Arc<Producer<Ticket>>,
    pub(super) generation: Generation,
    /// The settings that it was started with.
    settings: Arc<Settings>,
}

/// The producers of a topic, numbered from 0.
pub(super) struct Producers {
    /// Their name in threads and logs.
    pub(super) role: &'static str,
    settings: CurrentSettings,
    /// The configured number of producers. If it is `None`, it depends on the partitions.
    wanted: Option<usize>,
    pub(super) partitions: Arc<Partitions>,
    started: [OnceLock<ArcSwap<StartedProducer>>; MOST_PRODUCERS],
    starting: Mutex<()>,
}

impl Producers {
    /// Starts the first producer. The others are started when partitions are bound to them.
    ///
    /// # Errors
    /// If librdkafka rejects the settings, or the system can't start a thread.
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

    /// Returns the started producers, in the order of their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = &ArcSwap<StartedProducer>> {
        self.started.iter().map_while(OnceLock::get)
    }

    /// Returns a started producer.
    ///
    /// # Panics
    /// If no producer has this number.
    pub(super) fn get(&self, number: usize) -> &ArcSwap<StartedProducer> {
        let started = self.started[number].get();
        started.expect("partitions are bound to producers that have been started")
    }

    /// Returns the number of the producer for a partition that has sent nothing yet. Spreads the partitions of each
    /// broker over the producers, and starts missing ones.
    pub(super) fn bind(&self, partition: u32) -> usize {
        let shared = &self.partitions.shared;
        let count = shared.known_partitions().unwrap_or_default();
        let ranks = ranks(count, &shared.watch.preferred_leaders());
        let most = ranks.iter().max().map_or(1, |last| last + 1);
        let wanted = self.wanted.unwrap_or_else(|| default_count(most));
        let started = self.start_missing(wanted.min(most));
        // A topic that was created again can have fewer partitions than before.
        let rank = ranks.get(partition as usize);
        rank.map_or(0, |rank| rank % started)
    }

    /// Starts producers until there are `wanted`. Returns their number, which is lower when one can't be started.
    fn start_missing(&self, wanted: usize) -> usize {
        if self.all().count() < wanted {
            let _one_at_a_time = self.starting.lock();
            let added = (self.all().count()..wanted).try_for_each(|number| self.add(number));
            if let Err(error) = added
                && let Some(times) = NOT_STARTED.count()
            {
                warn!(%error, times, "can't start another producer: its partitions use the others");
            }
        }
        self.all().count()
    }

    fn add(&self, number: usize) -> Result<(), ClientError> {
        let first = self.start_one(number, 1)?;
        let added = self.started[number].set(ArcSwap::from_pointee(first));
        assert!(added.is_ok(), "each producer is started once");
        Ok(())
    }

    /// Starts a generation of the producer with this number, without putting it in service.
    pub(super) fn start_one(
        &self,
        number: usize,
        generation: Generation,
    ) -> Result<StartedProducer, ClientError> {
        let name = match number {
            0 => self.role.to_owned(),
            number => format!("{}-{}", self.role, number + 1),
        };
        let partitions = Arc::clone(&self.partitions);
        let on_report = move |ticket, result| partitions.reported(ticket, result);
        let settings = self.settings.load_full();
        let producer = Producer::start(&name, &settings, on_report)?;
        Ok(StartedProducer {
            producer: Arc::new(producer),
            generation,
            settings,
        })
    }

    /// Returns whether the settings have changed since the producer was started.
    pub(super) fn is_outdated(&self, number: usize) -> bool {
        !Arc::ptr_eq(&self.get(number).load().settings, &self.settings.load())
    }

    /// Returns whether any producer is outdated.
    pub(super) fn are_outdated(&self) -> bool {
        (0..self.all().count()).any(|number| self.is_outdated(number))
    }

    /// Returns when the first client certificate of the producers expires, if they have any.
    pub(super) fn certificate_expires(&self) -> Option<Timestamp> {
        let expires = |one: &ArcSwap<StartedProducer>| {
            let current = one.load();
            let certificate = current.settings.certificate();
            certificate.map(|certificate| certificate.expires)
        };
        self.all().filter_map(expires).min()
    }
}

impl Drop for Producers {
    /// Stops all polling threads at the same time, since each takes a moment.
    fn drop(&mut self) {
        self.all().for_each(|one| one.load().producer.stop());
    }
}

/// Returns the best number of producers for this number of a broker's partitions. Measurements showed no gain for
/// numbers in between.
fn default_count(partitions: usize) -> usize {
    if partitions < MIN_PARTITIONS * CHOSEN_PRODUCERS {
        1
    } else {
        CHOSEN_PRODUCERS
    }
}

/// Returns for each partition the number of partitions before it with the same leader.
fn ranks(count: u32, leaders: &[i32]) -> Vec<usize> {
    let leader = |partition: u32| leaders.get(partition as usize).copied();
    let mut ranks = Vec::new();
    let mut led = BTreeMap::new();
    for partition in 0..count {
        let assumed = -1 - i32::try_from(partition % ASSUMED_BROKERS).unwrap_or_default();
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
    fn four_producers_are_used_if_each_has_two_partitions_of_a_broker() {
        let counts = [1, 2, 4, 7, 8, 20, 1000].map(default_count);
        assert_eq!(counts, [1, 1, 1, 1, 4, 4, 4]);
    }
}
