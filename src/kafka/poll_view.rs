//! A view of the thread that polls Kafka: how long its request has been unanswered, and a way to start one now.
//!
//! When Kafka hangs, the last answer stays in force until the request times out. This view shows a missing answer
//! before that. Delivery does not use this view.

use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

/// The minimum pause between two rounds. A round that began within this time counts as a new one.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// The state of the polling.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PollState {
    /// When the open request was sent.
    pub(super) open_since: Option<Instant>,
    /// When the last completed round began.
    pub(super) last_round: Option<Instant>,
}

/// A view of the polling.
#[derive(Clone, Debug)]
pub struct PollView {
    pub(super) poll: watch::Receiver<PollState>,
    pub(super) wake: SyncSender<()>,
}

impl PollView {
    /// Returns how long the open request has been unanswered.
    #[must_use]
    pub fn unanswered_for(&self) -> Option<Duration> {
        self.poll.borrow().open_since.map(|since| since.elapsed())
    }

    /// Starts a round of requests, and waits until it is complete or one request has been open for `patience`.
    pub async fn poll_now(&self, patience: Duration) {
        let began = Instant::now();
        // A full channel means that a round is due already.
        let _asked = self.wake.try_send(());
        // Limits the whole wait, because each of the two requests of a round may take nearly `patience`.
        let _answered = timeout(
            MIN_INTERVAL + patience,
            self.wait_for_round(began, patience),
        )
        .await;
    }

    /// Waits until a round is complete that counts as one begun at `began`.
    async fn wait_for_round(&self, began: Instant, patience: Duration) {
        let mut poll = self.poll.clone();
        loop {
            let PollState {
                open_since,
                last_round,
            } = *poll.borrow_and_update();
            if last_round.is_some_and(|last_round| last_round + MIN_INTERVAL >= began) {
                return;
            }
            let until = open_since.unwrap_or_else(Instant::now) + patience;
            if !matches!(timeout_at(until.into(), poll.changed()).await, Ok(Ok(()))) {
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

    fn view(poll: PollState) -> (PollView, watch::Sender<PollState>, Receiver<()>) {
        let (sender, poll) = watch::channel(poll);
        let (wake, woken) = sync_channel(1);
        (PollView { poll, wake }, sender, woken)
    }

    #[tokio::test]
    async fn poll_now_starts_a_round_and_waits_for_its_end() {
        let (view, polls, woken) = view(PollState::default());
        assert_eq!(view.unanswered_for(), None);
        let asked = tokio::spawn({
            let view = view.clone();
            async move { view.poll_now(Duration::from_mins(1)).await }
        });
        while woken.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let now = Some(Instant::now());
        polls.send_replace(PollState {
            open_since: now,
            last_round: None,
        });
        tokio::task::yield_now().await;
        assert!(view.unanswered_for().is_some() && !asked.is_finished());
        polls.send_replace(PollState {
            open_since: None,
            last_round: now,
        });
        asked.await.expect("it ends");
    }

    #[tokio::test]
    async fn poll_now_does_not_wait_for_a_long_open_request() {
        let patience = Duration::from_secs(10);
        let long_ago = Instant::now().checked_sub(patience);
        let (view, _polls, _woken) = view(PollState {
            open_since: Some(long_ago.expect("the machine has run for longer")),
            last_round: None,
        });
        let began = Instant::now();
        view.poll_now(patience).await;
        assert!(began.elapsed() < patience);
        assert!(view.unanswered_for() >= Some(patience));
    }

    #[tokio::test]
    async fn poll_now_waits_for_a_new_request_until_the_patience_is_over() {
        let (view, _polls, _woken) = view(PollState {
            open_since: Some(Instant::now()),
            last_round: None,
        });
        view.poll_now(PATIENCE).await;
        assert!(view.unanswered_for() >= Some(PATIENCE));
    }

    #[tokio::test]
    async fn poll_now_accepts_a_round_that_has_just_ended() {
        let (view, _polls, _woken) = view(PollState {
            open_since: None,
            last_round: Some(Instant::now()),
        });
        let began = Instant::now();
        view.poll_now(Duration::from_mins(1)).await;
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
