//! The work of a run, and its id.

use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;

use super::operation::Operation;
use super::options::RunId;
use crate::interrupt::Interrupt;
use crate::jitter;
use crate::kafka::{Batching, Settings, Transactions};

/// The work of a run, and its id.
#[derive(Clone, Debug)]
pub struct Job {
    pub operation: Operation,
    pub id: String,
}

impl Job {
    /// Returns a job with this id, or with a new id: the time and a random number.
    pub(super) fn new(operation: Operation, id: &RunId) -> Self {
        let new = || {
            let now = Timestamp::now().strftime("%Y%m%d-%H%M%S");
            format!("{now}-{:04x}", jitter::number() & 0xffff)
        };
        let id = id.text().map_or_else(new, str::to_owned);
        Self { operation, id }
    }

    /// Returns the command and the id.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.operation.name(), self.id)
    }

    /// Returns the transactional id of the run, which is also the name of its group.
    pub(super) fn kafka_name(&self) -> String {
        format!("koobridge-{}-{}", self.operation.name(), self.id)
    }

    pub(super) fn start_transactions(
        &self,
        settings: &Settings,
        batching: Batching,
        interrupt: &Arc<Interrupt>,
    ) -> anyhow::Result<Transactions> {
        let name = self.kafka_name();
        Transactions::start(settings, &name, batching, interrupt)
            .with_context(|| format!("can't start transactions as {name}"))
    }
}

/// Returns a unique name for a process that runs a job.
pub(super) fn new_holder() -> String {
    format!("{:016x}", jitter::number())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::replay::Selection;

    #[test]
    fn every_run_has_its_own_id() {
        let ids: Vec<String> = (0..100).map(|_| new_holder()).collect();
        assert!(
            ids.iter()
                .all(|id| ids.iter().filter(|other| *other == id).count() == 1)
        );
        let operation = Operation::Replay {
            selection: Selection::default(),
            include_replays: false,
        };
        let job = Job::new(operation.clone(), &RunId::New);
        assert_eq!(job.id.len(), "20261123-120000-abcd".len());
        let named = Job::new(operation, &RunId::Named("nightly".to_owned()));
        assert_eq!(named.kafka_name(), "koobridge-replay-nightly");
    }
}
