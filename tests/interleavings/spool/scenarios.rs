//! Scenarios of the spool's queue.

use std::sync::Arc;
use std::thread;
use std::time::{self, Duration};

use super::queue::{Queue, Waiting, Write};
use super::{LaneKey, Mark};
use crate::contract::Record;
use crate::{LONG, Scenario};

pub const SCENARIOS: &[Scenario] = &[
    (
        "queue: each write is taken once and in order, and its mark is not taken before it",
        || writes_and_marks(0),
        1000,
    ),
    (
        "queue: a full group is taken first, and the marks of the other writes are taken later",
        || writes_and_marks(4096),
        50,
    ),
    (
        "queue: a deletion is taken when it is due, without another event that wakes the thread",
        deletion_is_due,
        1000,
    ),
    (
        "queue: a close is taken last, with all earlier entries",
        close_comes_last,
        1000,
    ),
];

fn lane() -> LaneKey {
    LaneKey {
        topic: "events".into(),
        partition: Some(0),
    }
}

fn write(number: u64) -> Write<u64> {
    let record = Record {
        key: None,
        headers: Vec::new(),
        value: Vec::new(),
        timestamp: 0,
    };
    Write {
        lane: lane(),
        number,
        record: Arc::new(record),
        ticket: number,
    }
}

/// Takes entries until the close is taken.
fn take_all(queue: &Queue<u64>, mut each: impl FnMut(&Waiting<u64>)) {
    loop {
        let taken = queue.take(LONG);
        each(&taken);
        if taken.is_closing {
            return;
        }
    }
}

/// Two threads write and mark while a third one takes. The queue has `before` writes at the start.
fn writes_and_marks(before: u64) {
    let queue = Arc::new(Queue::default());
    for number in 1..=before {
        queue.write(write(number));
    }
    let first = before + 1;
    let writers = [first, first + 10].map(|first| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            for number in first..first + 2 {
                queue.write(write(number));
                queue.mark(lane(), number, Mark::SenderGone);
            }
        })
    });
    let taking = Arc::clone(&queue);
    let taker = thread::spawn(move || {
        let (mut written, mut marked) = (Vec::new(), Vec::new());
        take_all(&taking, |taken| {
            written.extend(taken.writes.iter().map(|write| write.ticket));
            let marks = taken.marks.iter().map(|(_, number, _)| *number);
            marked.extend(marks.inspect(|number| assert!(written.contains(number))));
        });
        (written, marked)
    });
    for writer in writers {
        writer.join().expect("a writer");
    }
    queue.close();
    let (mut written, mut marked) = taker.join().expect("a taker");
    let of_first = written.iter().filter(|number| **number < first + 10);
    assert!(of_first.is_sorted());
    written.sort_unstable();
    marked.sort_unstable();
    let late = [first, first + 1, first + 10, first + 11];
    assert_eq!(written, (1..first).chain(late).collect::<Vec<_>>());
    assert_eq!(marked, late);
}

fn deletion_is_due() {
    let queue = Arc::new(Queue::<u64>::default());
    let taking = Arc::clone(&queue);
    let thread = thread::spawn(move || taking.take(LONG));
    queue.delete(lane(), 1);
    queue.delete(lane(), 2);
    time::pass(Duration::from_millis(500));
    let taken = thread.join().expect("a taker");
    assert_eq!(taken.deletions, [(lane(), 1), (lane(), 2)]);
}

fn close_comes_last() {
    let queue = Arc::new(Queue::default());
    let threads = [1, 2].map(|number| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            queue.delete(lane(), number);
            queue.write(write(number));
        })
    });
    let closing = Arc::clone(&queue);
    let closer = thread::spawn(move || {
        for thread in threads {
            thread.join().expect("a writer");
        }
        closing.close();
    });
    let (mut written, mut deleted) = (0, 0);
    take_all(&queue, |taken| {
        written += taken.writes.len();
        deleted += taken.deletions.len();
    });
    closer.join().expect("a closer");
    assert_eq!((written, deleted), (2, 2));
}
