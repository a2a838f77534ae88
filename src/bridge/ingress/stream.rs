//! The stream of a connection, with the time limits that hyper does not have: for each state (see [`super::state`]),
//! for the peer to read, and for a closed connection to linger.

use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::foreign::ForeignProtocol;
use super::read_ahead::ReadAhead;
use super::state::{ConnectionState, State};
use crate::config::Limits;

/// How long the bytes of a closed connection are read and discarded. Otherwise the system answers them with a reset,
/// which can overtake the answer (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(1);
/// The limit on those bytes.
const LINGER_BYTES: usize = 1 << 20;

/// The progress of a connection, shared by its stream and its requests.
pub(super) struct Progress<'a> {
    state: &'a ConnectionState,
    read_ahead: ReadAhead,
    foreign: OnceLock<ForeignProtocol>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(state: &'a ConnectionState) -> Self {
        state.set(State::Idle);
        Self {
            state,
            read_ahead: ReadAhead::new(),
            foreign: OnceLock::new(),
        }
    }

    /// Returns the state of the connection.
    pub(super) fn state(&self) -> &'a ConnectionState {
        self.state
    }

    /// Records that a head is complete. It may have arrived together with an earlier request.
    pub(super) fn begin_request(&self) {
        if matches!(self.state.current().state(), State::Idle | State::Displaced) {
            self.state.set(State::Head);
        }
    }

    /// Records that the request is answered. Its body had this length (`None` if it was chunked).
    pub(super) fn end_request(&self, body: Option<u64>) {
        let next = if self.read_ahead.end_request(body) {
            State::Head
        } else {
            State::Idle
        };
        self.state.set(next);
    }

    /// Returns the protocol that the peer speaks instead of HTTP/1.1, if it is known.
    pub(super) fn foreign(&self) -> Option<ForeignProtocol> {
        self.foreign.get().copied()
    }

    /// Records bytes that were read.
    fn note(&self, bytes: &[u8]) {
        let state = self.state.current().state();
        self.read_ahead.note(bytes, state != State::Busy);
        if matches!(state, State::Idle | State::Displaced) {
            self.state.set(State::Head);
            if let Some(foreign) = ForeignProtocol::of(bytes) {
                self.foreign.get_or_init(|| foreign);
            }
        }
    }
}

/// A stream that ends when its peer takes too long.
pub(super) struct TimedStream<'a, S> {
    stream: S,
    progress: &'a Progress<'a>,
    timer: Pin<Box<Sleep>>,
    limits: Limits,
    /// Since when the peer has not read everything that was written.
    unflushed: Option<Instant>,
    ending: Ending,
}

/// The progress of a connection's shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    NotYet,
    ShuttingDown,
    /// The last answer was sent. The peer may still send this number of bytes, which are discarded.
    Lingering(usize),
}

/// The time limit that a peer has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overdue {
    /// For sending the next request.
    Idle,
    /// For sending the rest of a request, or for reading.
    Late,
}

impl<'a, S: AsyncRead + Unpin> TimedStream<'a, S> {
    pub(super) fn new(stream: S, progress: &'a Progress<'a>, limits: &Limits) -> Self {
        Self {
            stream,
            progress,
            timer: Box::pin(sleep_until(Instant::now() + limits.idle_timeout)),
            limits: *limits,
            unflushed: None,
            ending: Ending::NotYet,
        }
    }

    /// Returns the deadline for the peer to send, and the limit that it then exceeds.
    fn read_deadline(&self) -> Option<(Instant, Overdue)> {
        let state = self.progress.state;
        let overdue = match state.current().state() {
            State::Idle => Overdue::Idle,
            _ => Overdue::Late,
        };
        let deadline = state.deadline(&self.limits)?;
        Some((Instant::from_std(deadline), overdue))
    }

    /// Returns the deadline for the peer to read.
    fn write_deadline(&self) -> Option<(Instant, Overdue)> {
        let since = self.unflushed?;
        Some((since + self.limits.head_timeout, Overdue::Late))
    }

    /// Waits until a deadline has passed. The deadline can change while this waits.
    ///
    /// The timer is reset only when it would fire too late. When it fires too early, the deadline is checked again:
    /// this is cheaper than a reset for every request.
    fn poll_overdue(
        &mut self,
        deadline: impl Fn(&Self) -> Option<(Instant, Overdue)>,
        cx: &mut Context<'_>,
    ) -> Poll<Overdue> {
        while let Some((deadline, overdue)) = deadline(self) {
            if Instant::now() >= deadline {
                return Poll::Ready(overdue);
            }
            if self.timer.deadline() > deadline || self.timer.is_elapsed() {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
        }
        Poll::Pending
    }

    /// Fails a pending write when the peer has taken too long.
    fn in_time<T>(
        &mut self,
        done: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            return done;
        }
        self.unflushed.get_or_insert_with(Instant::now);
        self.poll_overdue(Self::write_deadline, cx)
            .map(|_| Err(timed_out()))
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waste = [0; 4096];
        while let Ending::Lingering(left @ 1..) = self.ending {
            if self.timer.as_mut().poll(cx).is_ready() {
                break;
            }
            let mut buffer = ReadBuf::new(&mut waste);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => break,
            }
            self.ending = Ending::Lingering(left.saturating_sub(buffer.filled().len()));
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) else {
            let overdue = self.poll_overdue(Self::read_deadline, cx);
            return overdue.map(|overdue| match overdue {
                // The end of the stream, so that the connection is closed in good order.
                Overdue::Idle => Ok(()),
                Overdue::Late => Err(timed_out()),
            });
        };
        let bytes = &buffer.filled()[before..];
        if !bytes.is_empty() {
            self.progress.note(bytes);
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimedStream<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.in_time(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Over TLS, an answer may still be buffered here when the socket is full.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.unflushed = None;
        }
        self.in_time(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ending == Ending::NotYet {
            self.ending = Ending::ShuttingDown;
            self.timer.as_mut().reset(Instant::now() + LINGER);
        }
        if self.ending == Ending::ShuttingDown {
            match Pin::new(&mut self.stream).poll_shutdown(cx) {
                Poll::Ready(shut_down) => shut_down?,
                // TLS sends a close_notify, which a peer that does not read never receives.
                Poll::Pending => return self.timer.as_mut().poll(cx).map(Ok),
            }
            self.ending = Ending::Lingering(LINGER_BYTES);
        }
        self.poll_linger(cx).map(Ok)
    }
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, IoSlice};
    use std::pin::pin;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter, duplex};

    use super::super::state::tests::limits;
    use super::*;

    const NONE: Duration = Duration::ZERO;
    const ENDLESS: Duration = Duration::from_hours(1);

    type Outcome = Poll<Result<usize, ErrorKind>>;
    const TOO_LATE: Outcome = Poll::Ready(Err(ErrorKind::TimedOut));
    const END: Outcome = Poll::Ready(Ok(0));

    /// Polls a future once.
    fn now<T>(future: impl Future<Output = io::Result<T>>) -> Poll<Result<T, ErrorKind>> {
        let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
        polled.map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn each_state_has_its_time_limit() {
        for (state, head, idle, expected) in [
            (State::Idle, ENDLESS, NONE, END),
            (State::Idle, NONE, ENDLESS, Poll::Pending),
            (State::Head, NONE, ENDLESS, TOO_LATE),
            (State::Head, ENDLESS, NONE, Poll::Pending),
            (State::Busy, NONE, NONE, Poll::Pending),
            (State::Displaced, NONE, ENDLESS, TOO_LATE),
        ] {
            let connection = ConnectionState::new(State::Idle);
            let progress = Progress::new(&connection);
            let (ours, _peer) = duplex(1);
            let mut stream = TimedStream::new(ours, &progress, &limits(head, idle));
            connection.set(state);
            assert_eq!(now(stream.read(&mut [0])), expected, "{state:?}");
        }
    }

    #[tokio::test]
    async fn the_first_byte_of_a_request_begins_a_head_and_an_end_of_stream_does_not() {
        for (state, then) in [
            (State::Idle, State::Head),
            (State::Displaced, State::Head),
            (State::Busy, State::Busy),
        ] {
            let connection = ConnectionState::new(State::Idle);
            let progress = Progress::new(&connection);
            let (ours, mut peer) = duplex(1);
            let mut stream = TimedStream::new(ours, &progress, &limits(ENDLESS, ENDLESS));
            assert_eq!(now(peer.write(b"P")), Poll::Ready(Ok(1)));
            connection.set(state);
            assert_eq!(now(stream.read(&mut [0])), Poll::Ready(Ok(1)));
            assert_eq!(connection.current().state(), then);

            drop(peer);
            connection.set(state);
            assert_eq!(now(stream.read(&mut [0])), END);
            assert_eq!(connection.current().state(), state);
        }
    }

    #[tokio::test]
    async fn a_started_pipelined_head_is_a_head_after_the_answer() {
        for (next, then) in [(&b""[..], State::Idle), (b"P", State::Head)] {
            let connection = ConnectionState::new(State::Idle);
            let progress = Progress::new(&connection);
            let (ours, mut peer) = duplex(100);
            let mut stream = TimedStream::new(ours, &progress, &limits(ENDLESS, ENDLESS));
            let bytes = [&b"POST / HTTP/1.1\r\n\r\n{}"[..], next].concat();
            assert_eq!(now(peer.write(&bytes)), Poll::Ready(Ok(bytes.len())));
            let read = now(stream.read(&mut [0; 100]));
            assert_eq!(read, Poll::Ready(Ok(bytes.len())));
            progress.begin_request();
            progress.end_request(Some(2));
            assert_eq!(connection.current().state(), then);
        }
    }

    #[tokio::test]
    async fn an_unfinished_head_ends_before_the_idle_timeout() {
        let connection = ConnectionState::new(State::Idle);
        let progress = Progress::new(&connection);
        let (ours, _peer) = duplex(1);
        let limits = limits(Duration::from_millis(1), ENDLESS);
        let mut stream = TimedStream::new(ours, &progress, &limits);
        // The timer has been set for the end of idleness.
        assert_eq!(now(stream.read(&mut [0])), Poll::Pending);
        connection.set(State::Head);
        let ended = stream.read(&mut [0]).await;
        assert_eq!(
            ended.map_err(|error| error.kind()),
            Err(ErrorKind::TimedOut)
        );
    }

    #[tokio::test]
    async fn in_every_state_a_peer_has_the_head_timeout_to_read_an_answer() {
        for state in [State::Idle, State::Head, State::Busy] {
            for (head, expected) in [(ENDLESS, Poll::Pending), (NONE, TOO_LATE)] {
                let connection = ConnectionState::new(State::Idle);
                let progress = Progress::new(&connection);
                connection.set(state);
                let limits = limits(head, NONE);
                let (ours, _peer) = duplex(4);
                let mut stream = TimedStream::new(ours, &progress, &limits);
                let slices = [IoSlice::new(b"ans"), IoSlice::new(b"wer")];
                assert_eq!(now(stream.write(b"an")), Poll::Ready(Ok(2)));
                assert_eq!(now(stream.write_vectored(&slices)), Poll::Ready(Ok(2)));
                assert_eq!(now(stream.write(b"er")), expected);
                assert_eq!(now(stream.write_vectored(&slices)), expected);

                // As over TLS, the answer is buffered before the peer has room for it.
                let (ours, _peer) = duplex(4);
                let mut stream = TimedStream::new(BufWriter::new(ours), &progress, &limits);
                assert_eq!(now(stream.write(b"answer")), Poll::Ready(Ok(6)));
                assert_eq!(now(stream.flush()).map_ok(|()| 0), expected);
            }
        }
    }

    #[tokio::test]
    async fn after_a_late_read_the_next_answer_has_its_full_time() {
        let connection = ConnectionState::new(State::Idle);
        let progress = Progress::new(&connection);
        let (ours, mut peer) = duplex(4);
        let mut stream = TimedStream::new(ours, &progress, &limits(ENDLESS, ENDLESS));
        assert_eq!(now(stream.write(b"answer")), Poll::Ready(Ok(4)));
        assert_eq!(now(stream.write(b"er")), Poll::Pending);
        assert!(stream.unflushed.is_some());
        assert_eq!(now(peer.read(&mut [0; 4])), Poll::Ready(Ok(4)));
        assert_eq!(now(stream.write(b"er")), Poll::Ready(Ok(2)));
        assert!(stream.unflushed.is_some(), "some of it has been written");
        assert_eq!(now(stream.flush()), Poll::Ready(Ok(())));
        assert!(stream.unflushed.is_none());
    }

    #[tokio::test]
    async fn a_closed_connection_shuts_down_at_once_and_discards_further_bytes() {
        let connection = ConnectionState::new(State::Idle);
        let progress = Progress::new(&connection);
        let (ours, mut peer) = duplex(4);
        let mut stream = TimedStream::new(ours, &progress, &limits(ENDLESS, ENDLESS));
        for _ in 0..2 {
            assert_eq!(now(peer.write(b"more")), Poll::Ready(Ok(4)));
            assert_eq!(now(stream.shutdown()), Poll::Pending);
            assert_eq!(now(peer.read(&mut [0])), Poll::Ready(Ok(0)));
        }
        drop(peer);
        assert_eq!(now(stream.shutdown()), Poll::Ready(Ok(())));
    }
}
