//! The thread that writes to standard error.

use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use prometheus_client::metrics::counter::Counter;

/// The writer of this process.
pub(super) static WRITER: std::sync::LazyLock<Writer> = std::sync::LazyLock::new(Writer::default);

/// The limit on queued bytes. When a reader pauses for a moment, no line is lost.
const LIMIT: usize = 1 << 20;
/// The size of the pieces in which a text is queued, in bytes.
const PIECE: usize = 64 << 10;
/// Additional room for the message of a thread that panics, in bytes.
const PANIC_ROOM: usize = 16 << 10;
/// Pause before another attempt when standard error would block.
const PAUSE: Duration = Duration::from_millis(10);

/// Writes lines to standard error in order, on a separate thread, so that logging never blocks. A line that does not
/// fit into the queue, or that can't be written, is dropped and counted.
#[derive(Default)]
pub(super) struct Writer {
    queue: Mutex<Queue>,
    changed: Condvar,
    dropped: Counter,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    is_started: bool,
    is_writing: bool,
}

/// Queues a line of the log. `tracing_subscriber` writes each line with one call.
pub(super) struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        WRITER.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer {
    /// Starts the thread, if it does not run yet.
    pub(super) fn start(&'static self) -> io::Result<()> {
        let mut queue = self.lock();
        if !queue.is_started {
            thread::Builder::new()
                .name("log".to_owned())
                .spawn(|| self.run(&mut io::stderr()))?;
            queue.is_started = true;
        }
        Ok(())
    }

    pub(super) fn dropped(&self) -> Counter {
        self.dropped.clone()
    }

    /// Queues a line if there is room for it.
    fn put(&self, line: &[u8]) {
        let limit = LIMIT + if thread::panicking() { PANIC_ROOM } else { 0 };
        let mut queue = self.lock();
        if queue.bytes.len() + line.len() > limit {
            self.dropped.inc();
            return;
        }
        let was_empty = queue.bytes.is_empty();
        queue.bytes.extend_from_slice(line);
        drop(queue);
        if was_empty {
            self.changed.notify_all();
        }
    }

    /// Queues text after the lines so far, and waits for room, for `timeout` at most. Without the thread, writes it
    /// directly.
    pub(super) fn print(&self, text: &[u8], timeout: Duration) {
        if !self.lock().is_started {
            let _unread = io::stderr().write_all(text);
            return;
        }
        let until = Instant::now() + timeout;
        for piece in text.chunks(PIECE) {
            self.wait_while(until, |queue| queue.bytes.len() + piece.len() > LIMIT);
            self.put(piece);
        }
    }

    /// Waits until everything is written, for `timeout` at most.
    pub(super) fn flush(&self, timeout: Duration) {
        self.wait_while(Instant::now() + timeout, |queue| {
            queue.is_writing || queue.is_started && !queue.bytes.is_empty()
        });
    }

    fn wait_while(&self, until: Instant, condition: impl FnMut(&mut Queue) -> bool) {
        self.changed
            .wait_while_until(&mut self.lock(), condition, until);
    }

    fn run(&self, out: &mut impl Write) {
        loop {
            let bytes = self.take();
            let unwritten = write(&bytes, out);
            let lines = unwritten.split_inclusive(|byte| *byte == b'\n');
            self.dropped.inc_by(lines.count() as u64);
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for queued bytes and returns them.
    fn take(&self) -> Vec<u8> {
        let mut queue = self.lock();
        self.changed
            .wait_while(&mut queue, |queue| queue.bytes.is_empty());
        queue.is_writing = true;
        std::mem::take(&mut queue.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
}

/// Writes `bytes`. If `out` is broken, returns the unwritten ones.
fn write<'a>(mut bytes: &'a [u8], out: &mut impl Write) -> &'a [u8] {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return bytes,
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process made the shared terminal or pipe non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(PAUSE),
            Err(_) => return bytes,
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts this number of bytes, and then fails.
    struct Full(Vec<u8>, usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.1 - self.0.len();
            if room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(room);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn unwritten_bytes_are_returned() {
        for (room, expected) in [(9, ""), (4, "two\n"), (6, "o\n")] {
            let mut out = Full(Vec::new(), room);
            let left = write(b"one\ntwo\n", &mut out);
            assert_eq!(str::from_utf8(left), Ok(expected));
        }
    }

    #[test]
    fn lines_beyond_the_limit_are_dropped_and_counted() {
        let writer = Writer::default();
        let line = [b'x'; 1 << 10];
        for _ in 0..LIMIT / line.len() {
            writer.put(&line);
        }
        assert_eq!(writer.dropped.get(), 0);
        writer.put(b"\n");
        writer.put(b"\n");
        assert_eq!(writer.dropped.get(), 2);
        assert_eq!(writer.lock().bytes.len(), LIMIT);
    }

    #[test]
    fn a_text_above_the_limit_is_written_in_pieces() {
        let writer: &'static Writer = Box::leak(Box::default());
        writer.lock().is_started = true;
        thread::spawn(|| writer.run(&mut io::sink()));
        writer.print(&vec![b'x'; 3 * LIMIT], Duration::from_mins(1));
        writer.flush(Duration::from_mins(1));
        assert_eq!(writer.dropped.get(), 0);
    }

    #[test]
    fn a_flush_waits_for_the_last_lines_up_to_its_timeout() {
        let writer: &'static Writer = Box::leak(Box::default());
        writer.lock().is_started = true;
        writer.put(b"last\n");
        let started = Instant::now();
        writer.flush(Duration::from_millis(10));
        assert!(started.elapsed() >= Duration::from_millis(10), "no thread");
        thread::spawn(|| writer.run(&mut io::sink()));
        writer.flush(Duration::from_mins(1));
        assert!(writer.lock().bytes.is_empty());
        assert_eq!(writer.dropped.get(), 0);
    }
}
