//! Senders that do everything right, beside a flood of others: a few connections, each kept for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{PATIENCE, Report};
use crate::suite::rig::pause;
use crate::suite::row::percentile;
use crate::support::http::{Connection, body, report};
use crate::support::records::until;

const SENDERS: usize = 8;
/// The pause between two reports of one sender: 200 reports a second in sum, if answers take no longer.
const PERIOD: Duration = Duration::from_millis(40);
/// Reports that are sent over one connection.
const REPORTS_PER_CONNECTION: usize = 50;
/// Reports that are answered before the disturbance begins.
const UNDISTURBED: usize = 500;

pub struct Normal {
    progress: Arc<Progress>,
    senders: Vec<JoinHandle<Vec<Answered>>>,
    /// The time at which the disturbance began.
    disturbed_since: Instant,
}

/// The progress of all senders.
#[derive(Default)]
struct Progress {
    answered: AtomicUsize,
    is_over: AtomicBool,
}

struct Answered {
    report: Report,
    at: Instant,
    took: Duration,
}

impl Normal {
    /// Starts the senders with connections from `open`, and waits until [`UNDISTURBED`] reports are answered.
    pub fn start(open: impl Fn() -> Connection + Clone + Send + 'static) -> Self {
        let progress = Arc::new(Progress::default());
        let start = |number| {
            let (progress, open) = (Arc::clone(&progress), open.clone());
            thread::spawn(move || send(number, &progress, open))
        };
        let senders = (0..SENDERS).map(start).collect();
        let alone = until(PATIENCE, || {
            match progress.answered.load(Ordering::Relaxed) {
                answered if answered >= UNDISTURBED => Ok(()),
                answered => Err(format!("{answered} reports are answered")),
            }
        });
        alone.unwrap_or_else(|why| panic!("{why}"));
        Self {
            progress,
            senders,
            disturbed_since: Instant::now(),
        }
    }

    /// Stops the senders, prints how long they waited, and returns their reports. Each was answered 200.
    pub fn stop(mut self, others: &str) -> Vec<Report> {
        self.progress.is_over.store(true, Ordering::Relaxed);
        let senders = std::mem::take(&mut self.senders).into_iter();
        let answered: Vec<Answered> = senders
            .flat_map(|sender| sender.join().expect("every report is answered 200"))
            .collect();
        let is_before = |answered: &&Answered| answered.at < self.disturbed_since;
        let (before, during): (Vec<_>, Vec<_>) = answered.iter().partition(is_before);
        assert!(!during.is_empty(), "no report was sent beside {others}");
        let [before, during] = [before, during].map(waits);
        println!("beside {others}: {during}; before: {before}");
        answered
            .into_iter()
            .map(|answered| answered.report)
            .collect()
    }
}

impl Drop for Normal {
    fn drop(&mut self) {
        self.progress.is_over.store(true, Ordering::Relaxed);
    }
}

/// Sends reports until the test is over.
fn send(number: usize, progress: &Progress, open: impl Fn() -> Connection) -> Vec<Answered> {
    let (mut answered, mut connection) = (Vec::new(), open());
    while !progress.is_over.load(Ordering::Relaxed) {
        let count = answered.len();
        if count > 0 && count.is_multiple_of(REPORTS_PER_CONNECTION) {
            connection = open();
        }
        let id = format!("normal-{number}-{count}");
        let sent = Instant::now();
        connection.send(&report(&body(&id, "read")));
        assert_eq!(connection.answer().status, 200);
        answered.push(Answered {
            report: (id, "read".to_owned()),
            at: Instant::now(),
            took: sent.elapsed(),
        });
        progress.answered.fetch_add(1, Ordering::Relaxed);
        pause(PERIOD.saturating_sub(sent.elapsed()));
    }
    answered
}

fn waits(answered: Vec<&Answered>) -> String {
    let mut took: Vec<Duration> = answered.iter().map(|answered| answered.took).collect();
    took.sort_unstable();
    let [half, most] = [50, 99].map(|percent| percentile(&took, percent));
    format!("{} reports, p50 {half:.1?}, p99 {most:.1?}", took.len())
}
