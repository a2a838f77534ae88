//! The open request to Kafka: since when it has been open, and a way to send one now. If Kafka is frozen, its last
//! answer stays valid until the request times out; code that must notice earlier looks here. Delivery decides by the
//! answers alone.

use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

/// The least pause between two rounds, even if the last answer is doubted. A round that began within this time counts
/// as a new one.
pub(super) const REST: Duration = Duration::from_millis(250);

/// The progress of the requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// Since when a request has been open.
    pub(super) open: Option<Instant>,
    /// When the last finished round began.
    pub(super) over: Option<Instant>,
}

/// A view of the requests.
#[derive(Clone, Debug)]
pub struct Asking {
    pub(super) turn: watch::Receiver<Turn>,
    pub(super) wake: SyncSender<()>,
}

impl Asking {
    /// Returns how long the open request has had no answer.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        self.turn.borrow().open.map(|since| since.elapsed())
    }

    /// Requests an answer now, and waits until it comes, or until one request has been open for `patience`.
    pub async fn ask(&self, patience: Duration) {
        let began = Instant::now();
        // A full channel means that a request was already ordered.
        let _asked = self.wake.try_send(());
        // Longer than a pause and two requests of nearly the longest duration.
        let _answered = timeout(REST + patience, self.answer(began, patience)).await;
    }

    /// Waits for the end of a round that counts as one from `began` on.
    async fn answer(&self, began: Instant, patience: Duration) {
        let mut turn = self.turn.clone();
        loop {
            let Turn { open, over } = *turn.borrow_and_update();
            if over.is_some_and(|over| over + REST >= began) {
                return;
            }
            let until = open.unwrap_or_else(Instant::now) + patience;
            if !matches!(timeout_at(until.into(), turn.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    fn asking(turn: Turn) -> (Asking, watch::Sender<Turn>, Receiver<()>) {
        let (sender, turn) = watch::channel(turn);
        let (wake, woken) = sync_channel(1);
        (Asking { turn, wake }, sender, woken)
    }

    #[tokio::test]
    async fn a_question_is_asked_and_its_answer_waited_for() {
        let (asking, turns, woken) = asking(Turn::default());
        assert_eq!(asking.silence(), None);
        let asked = tokio::spawn({
            let asking = asking.clone();
            async move { asking.ask(Duration::from_mins(1)).await }
        });
        while woken.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let now = Some(Instant::now());
        turns.send_replace(Turn {
            open: now,
            over: None,
        });
        tokio::task::yield_now().await;
        assert!(asking.silence().is_some() && !asked.is_finished());
        turns.send_replace(Turn {
            open: None,
            over: now,
        });
        asked.await.expect("it ends");
    }

    #[tokio::test]
    async fn a_question_that_has_been_open_for_long_is_not_waited_for() {
        let patience = Duration::from_secs(10);
        let long_ago = Instant::now().checked_sub(patience);
        let (asking, _turns, _woken) = asking(Turn {
            open: Some(long_ago.expect("the machine has run for longer")),
            over: None,
        });
        let began = Instant::now();
        asking.ask(patience).await;
        assert!(began.elapsed() < patience);
        assert!(asking.silence() >= Some(patience));
    }

    #[tokio::test]
    async fn a_new_question_is_waited_for_as_long_as_patience_lasts() {
        let (asking, _turns, _woken) = asking(Turn {
            open: Some(Instant::now()),
            over: None,
        });
        asking.ask(PATIENCE).await;
        assert!(asking.silence() >= Some(PATIENCE));
    }

    #[tokio::test]
    async fn what_was_asked_just_now_is_not_asked_again() {
        let (asking, _turns, _woken) = asking(Turn {
            open: None,
            over: Some(Instant::now()),
        });
        let began = Instant::now();
        asking.ask(Duration::from_mins(1)).await;
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
