//! One topic's way to Kafka: its lanes, and which of them a record belongs to.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use arc_swap::ArcSwap;
use tokio::time::timeout_at;

use super::NotTaken;
use super::cell::Cell;
use super::lane::Lane;
use super::receipt::Receipt;
use super::rider::{KeptBy, Origin};
use super::route::Route;
use crate::contract::Record;
use crate::kafka::{Condition, TopicState, partition_for};
use crate::spool::{LaneKey, Restored};

pub(super) struct Outlet {
    pub(super) route: Arc<Route>,
    /// A lane a partition, and more where an earlier run left any.
    cells: ArcSwap<Vec<Arc<Cell>>>,
    growing: Mutex<()>,
    /// For what comes before the topic's partitions are known, where there is a spool.
    unplaced: Option<Arc<Cell>>,
    /// That lane takes in nothing more: the partitions' own lanes may be sending, and what Kafka gives
    /// back to it must not draw new reports after it.
    unplaced_is_over: AtomicBool,
    /// Records without a key go to the lanes by turns.
    turn: AtomicUsize,
}

impl Outlet {
    /// An outlet with the lanes that an earlier run left.
    pub(super) fn new(route: Arc<Route>, restored: Vec<Restored>) -> Self {
        let (placed, unplaced): (Vec<_>, Vec<_>) = restored
            .into_iter()
            .partition(|lane| lane.lane.partition.is_some());
        let outlet = Self {
            unplaced: route.is_hedged().then(|| {
                let left = unplaced.first();
                let lane =
                    left.map_or_else(Lane::behind, |left| Lane::restored(left.first, left.last));
                Cell::new(key(&route, None), lane, Arc::clone(&route))
            }),
            route,
            unplaced_is_over: AtomicBool::new(false),
            cells: ArcSwap::default(),
            growing: Mutex::new(()),
            turn: AtomicUsize::new(0),
        };
        let partitions = placed.iter().filter_map(|lane| lane.lane.partition);
        outlet.grow(partitions.max().map_or(0, |last| last + 1), &placed);
        outlet
    }

    /// Makes lanes for so many partitions, where there are fewer.
    fn grow(&self, partitions: u32, restored: &[Restored]) -> Arc<Vec<Arc<Cell>>> {
        let _one_at_a_time = self.growing.lock();
        let mut cells = Vec::clone(&self.cells.load());
        let unplaced = self.unplaced.as_ref();
        let others_first = unplaced.is_some_and(|cell| !cell.is_clear() || !cell.is_direct());
        for partition in u32::try_from(cells.len()).unwrap_or(u32::MAX)..partitions {
            let left = restored
                .iter()
                .find(|left| left.lane.partition == Some(partition));
            let lane = match left {
                Some(left) => Lane::restored(left.first, left.last),
                None if others_first => Lane::behind(),
                None => Lane::new(self.route.is_hedged()),
            };
            cells.push(Cell::new(
                key(&self.route, Some(partition)),
                lane,
                Arc::clone(&self.route),
            ));
        }
        self.route.lanes.store(cells.len(), Ordering::Relaxed);
        let cells = Arc::new(cells);
        self.cells.store(Arc::clone(&cells));
        self.route.wake();
        cells
    }

    /// Hands over what is due in each lane; says when the first of them wants to be seen again.
    ///
    /// What came before the partitions were known goes to the same ones as what comes after. It goes
    /// first, and alone in its partition: of two lanes with one partition neither could tell which of
    /// their records Kafka has refused a batch for.
    pub(super) fn drain(&self) -> Option<Instant> {
        let mut taken = HashSet::new();
        if let Some(unplaced) = &self.unplaced {
            let later = unplaced.drain();
            if !unplaced.is_direct() {
                return later;
            }
            self.unplaced_is_over.store(true, Ordering::SeqCst);
            taken = unplaced.partitions_in_flight();
        }
        let cells = self.cells.load();
        let free = |cell: &&Arc<Cell>| {
            cell.key
                .partition
                .is_none_or(|partition| !taken.contains(&partition))
        };
        cells.iter().filter(free).filter_map(Cell::drain).min()
    }

    pub(super) fn topic(&self) -> &str {
        &self.route.topic.name
    }

    pub(super) fn topic_state(&self) -> TopicState {
        self.route.topic.state()
    }

    /// Every lane.
    pub(super) fn cells(&self) -> Vec<Arc<Cell>> {
        let cells = self.cells.load();
        // The records without a place are older than all others.
        self.unplaced.iter().chain(cells.iter()).cloned().collect()
    }

    /// Delivers a record: `Ok` only where Kafka or the spool has it.
    pub(super) async fn deliver(
        &self,
        record: Record,
        deadline: Instant,
    ) -> Result<KeptBy, NotTaken> {
        self.admit(record, deadline).await?.wait(deadline).await
    }

    async fn admit(&self, record: Record, deadline: Instant) -> Result<Receipt, NotTaken> {
        let mut place = self
            .route
            .ceilings
            .admit(record.footprint())
            .ok_or(NotTaken::Overloaded)?;
        let record = Arc::new(record);
        if let Some(unplaced) = self.open_unplaced() {
            match unplaced.admit_behind(&record, place) {
                Ok(receipt) => return Ok(receipt),
                Err(back) => place = back,
            }
        }
        match self.partitions(deadline).await {
            Ok(partitions) => Ok(self.cell_for(&record, partitions).admit(record, place)),
            Err(why) => {
                place.withdraw();
                Err(why)
            }
        }
    }

    /// The number of partitions, waiting for Kafka's first answer.
    async fn partitions(&self, deadline: Instant) -> Result<u32, NotTaken> {
        if let Some(known) = self.route.known_partitions() {
            return Ok(known);
        }
        let first = self.route.topic.clone();
        let answer = timeout_at(deadline.into(), async { first.clone().partitions().await });
        answer
            .await
            .map_err(|_| NotTaken::Deadline)?
            .ok_or(NotTaken::NoTopic)
    }

    /// Takes over what Kafka refuses on another topic.
    pub(super) fn take_over(&self, record: Record, origin: Origin) {
        let record = Arc::new(record);
        let origin = match self.open_unplaced() {
            None => origin,
            Some(unplaced) => match unplaced.admit_from_behind(&record, origin) {
                Ok(()) => return,
                Err(back) => back,
            },
        };
        match self.route.known_partitions() {
            Some(partitions) => {
                self.cell_for(&record, partitions)
                    .admit_from(record, origin);
            }
            // Kafka's first answer is still to come.
            None if self.topic_state().condition == Condition::Unknown => origin.later(),
            None => origin.settle(Err(NotTaken::NoTopic)),
        }
    }

    /// The lane for what comes before the partitions are known, as long as it takes in any.
    fn open_unplaced(&self) -> Option<&Arc<Cell>> {
        let is_over = self.unplaced_is_over.load(Ordering::SeqCst);
        self.unplaced.as_ref().filter(|_| !is_over)
    }

    fn cell_for(&self, record: &Record, partitions: u32) -> Arc<Cell> {
        let mut cells = self.cells.load_full();
        if cells.len() < partitions as usize {
            cells = self.grow(partitions, &[]);
        }
        let cells = &cells[..partitions as usize];
        let place = match &record.key {
            Some(key) => partition_for(key.as_bytes(), partitions) as usize,
            None => self.next_in_turn(cells),
        };
        Arc::clone(&cells[place])
    }

    /// A lane for a record that may go anywhere: one that does not stand still, if there is any.
    fn next_in_turn(&self, cells: &[Arc<Cell>]) -> usize {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut places = (0..cells.len()).map(|step| (first + step) % cells.len());
        places
            .clone()
            .find(|place| cells[*place].is_direct())
            .or_else(|| places.next())
            .unwrap_or(0)
    }

    /// Takes note of what Kafka says of the topic; `true` where the partitions are known.
    pub(super) fn note_partitions(&self) -> bool {
        if let Some(known) = self.route.topic.known_partitions() {
            let before = self.route.partitions.swap(known, Ordering::Relaxed);
            if before != known
                && let Some(spool) = &self.route.spool
            {
                spool.remember(self.topic(), known);
            }
        }
        self.route.known_partitions().is_some()
    }
}

fn key(route: &Route, partition: Option<u32>) -> LaneKey {
    LaneKey {
        topic: route.topic.name.as_str().into(),
        partition,
    }
}

#[cfg(test)]
mod tests;
