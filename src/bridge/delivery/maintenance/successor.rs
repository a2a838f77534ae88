//! A producer with new settings that will take over from one in service. Its connections are tested first, with a
//! question about the topic on a separate thread.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::bridge::delivery::producers::StartedProducer;
use crate::bridge::delivery::shared::Ticket;
use crate::kafka::{Condition, Producer};

/// How long Kafka may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a question that failed sooner.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A started producer that is being tested.
pub(super) struct Successor {
    producer: StartedProducer,
    /// The state of the topic in Kafka's answer, or `Unreachable` if it did not answer in time.
    answer: Arc<OnceLock<Condition>>,
}

impl Successor {
    /// Starts to ask Kafka about `topic` through `producer`.
    ///
    /// # Errors
    /// If the system can't start a thread.
    pub(super) fn connect(producer: StartedProducer, role: &str, topic: &str) -> io::Result<Self> {
        let (client, topic) = (Arc::clone(&producer.producer), topic.to_owned());
        let answer = Arc::new(OnceLock::new());
        let answered = Arc::clone(&answer);
        let thread = thread::Builder::new().name(format!("try-{role}"));
        thread.spawn(move || {
            let _first = answered.set(first_answer(&client, &topic));
        })?;
        Ok(Self { producer, answer })
    }

    /// Returns whether Kafka has answered or the time is over.
    pub(super) fn has_result(&self) -> bool {
        self.answer.get().is_some()
    }

    /// Returns the producer and the state of the topic, which is `Unknown` if there is no result yet.
    pub(super) fn into_parts(self) -> (StartedProducer, Condition) {
        let answer = self.answer.get().cloned();
        (self.producer, answer.unwrap_or_default())
    }
}

fn first_answer(client: &Producer<Ticket>, topic: &str) -> Condition {
    let until = Instant::now() + CONNECT_TIMEOUT;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let answer = client.condition(topic, left);
        let is_answer = !matches!(answer, Condition::Unreachable(_));
        if is_answer || Instant::now() + RETRY_PAUSE >= until {
            return answer;
        }
        thread::park_timeout(RETRY_PAUSE);
    }
}
