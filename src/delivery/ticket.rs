//! Between a record's hand-over and its delivery report: librdkafka holds the ticket, whoever waits
//! the receipt, and each may outlive the other.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::NotTaken;
use super::ceilings::Place;
use crate::contract::Record;
use crate::kafka::Failed;
use crate::metrics::{Metrics, ReportFate};

/// A record that Kafka did not take, with its place.
pub(super) struct Returned {
    pub(super) record: Record,
    pub(super) place: Place,
    pub(super) error: String,
}

/// What a delivery report says.
pub(super) enum Reply {
    Acknowledged,
    Returned(Box<Returned>),
}

/// What librdkafka holds for each record until its delivery report.
pub(super) struct Ticket {
    pub(super) place: Place,
    reply: oneshot::Sender<Reply>,
    race: Arc<Race>,
}

impl Ticket {
    pub(super) fn new(place: Place) -> (Self, Receipt) {
        let (reply, replied) = oneshot::channel();
        let race = Arc::new(Race::default());
        let metrics = Arc::clone(place.metrics());
        let receipt = Receipt {
            replied,
            race: Arc::clone(&race),
            metrics,
        };
        (Self { place, reply, race }, receipt)
    }

    /// Takes the delivery report. Runs on the producer's polling thread. Whoever is told of it finds
    /// everything counted.
    pub(super) fn settle(self, result: Result<(), Failed>) {
        let Self { place, reply, race } = self;
        let first = race.finish(Runner::Report);
        if first == Runner::Deadline {
            place.metrics().reports_unsure.dec();
        }
        let reply_with = match result {
            Ok(()) => {
                place.settle(match first {
                    Runner::Report => ReportFate::Delivered,
                    Runner::Deadline => ReportFate::DeliveredLate,
                    Runner::Sender => ReportFate::SenderGone,
                });
                Reply::Acknowledged
            }
            Err(Failed { record, error }) => Reply::Returned(Box::new(Returned {
                record,
                place,
                error,
            })),
        };
        // Where nobody waits any more, a record that came back is dropped here: it has failed.
        let _heard = reply.send(reply_with).is_ok();
    }
}

/// The waiting side of a ticket.
pub(super) struct Receipt {
    replied: oneshot::Receiver<Reply>,
    race: Arc<Race>,
    metrics: Arc<Metrics>,
}

impl Receipt {
    /// Waits for the delivery report until `deadline`; delivery goes on beyond it.
    pub(super) async fn wait(mut self, deadline: Instant) -> Result<Reply, NotTaken> {
        if let Ok(reply) = timeout_at(deadline.into(), &mut self.replied).await {
            return reply.map_err(|_| NotTaken::Deadline);
        }
        // Counted first: the delivery report may take it off again at any moment from here on.
        self.metrics.reports_unsure.inc();
        if self.race.finish(Runner::Deadline) == Runner::Deadline {
            return Err(NotTaken::Deadline);
        }
        // The delivery report came this very moment, and is about to be told.
        self.metrics.reports_unsure.dec();
        (&mut self.replied).await.map_err(|_| NotTaken::Deadline)
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.race.finish(Runner::Sender);
    }
}

/// What can end the wait for a delivery report; the first one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    /// The delivery report itself.
    Report,
    /// The sender was told 503.
    Deadline,
    /// The sender hung up.
    Sender,
}

/// Which runner came first.
#[derive(Default)]
struct Race(OnceLock<Runner>);

impl Race {
    /// Comes in as `runner`, and says who was first.
    fn finish(&self, runner: Runner) -> Runner {
        *self.0.get_or_init(|| runner)
    }
}
