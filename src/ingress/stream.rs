//! A connection's bytes, with the time limits that hyper leaves open: how long it may be idle, how
//! long a head may take from its first byte, and how long to linger once it is closed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::stage::{Doing, Stage};
use crate::config::Limits;

/// How long a closed connection's unread bytes are thrown away. Without that the system answers
/// them with a reset, which can overtake the answer (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// A stream that fails with `TimedOut` where its peer takes too long.
pub(super) struct TimedStream<'a, S> {
    stream: S,
    stage: &'a Stage,
    timer: Pin<Box<Sleep>>,
    head_timeout: Duration,
    idle_timeout: Duration,
    ending: Ending,
}

/// How far a connection is with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    NotYet,
    ShuttingDown,
    /// Its last answer is out, and what the peer still sends is read.
    Lingering,
}

impl<'a, S: AsyncRead + Unpin> TimedStream<'a, S> {
    pub(super) fn new(stream: S, stage: &'a Stage, limits: &Limits) -> Self {
        Self {
            stream,
            stage,
            timer: Box::pin(sleep_until(Instant::now() + limits.idle_timeout)),
            head_timeout: limits.head_timeout,
            idle_timeout: limits.idle_timeout,
            ending: Ending::NotYet,
        }
    }

    /// When the peer will have taken too long; `None` while a request is on its journey.
    fn deadline(&self) -> Option<Instant> {
        let mark = self.stage.mark();
        let since = Instant::from_std(mark.since());
        match mark.doing() {
            Doing::Idle => Some(since + self.idle_timeout),
            Doing::Head => Some(since + self.head_timeout),
            Doing::Busy | Doing::Leaving => None,
        }
    }

    /// Whether the peer has taken too long; else the timer wakes the task when it will have.
    ///
    /// The timer is only moved where it would be late. Woken early, it looks again: moving it for
    /// every request would cost more.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(deadline) = self.deadline() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            if self.timer.deadline() > deadline || self.timer.is_elapsed() {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
        }
        Poll::Pending
    }

    /// Fails what is pending once the peer has taken too long: to send, or to read its answers.
    fn in_time<T>(
        &mut self,
        done: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match done {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => self
                .poll_overdue(cx)
                .map(|()| Err(io::Error::from(io::ErrorKind::TimedOut))),
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waste = [0; 4096];
        loop {
            if self.timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut waste);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                let doing = self.stage.mark().doing();
                if buffer.filled().len() > before && matches!(doing, Doing::Idle | Doing::Leaving) {
                    self.stage.set(Doing::Head);
                }
                Poll::Ready(read)
            }
            Poll::Pending => self.in_time(Poll::Pending, cx),
        }
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
        // Over TLS an answer may still be here when the socket takes no more.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
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
                // TLS has a last word, which a peer that reads nothing does not take.
                Poll::Pending => return self.timer.as_mut().poll(cx).map(Ok),
            }
            self.ending = Ending::Lingering;
        }
        self.poll_linger(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, IoSlice};
    use std::pin::pin;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter, duplex};

    use super::*;

    const NONE: Duration = Duration::ZERO;
    const ENDLESS: Duration = Duration::from_hours(1);

    type Outcome = Poll<Result<usize, ErrorKind>>;
    const TOO_LATE: Outcome = Poll::Ready(Err(ErrorKind::TimedOut));

    fn limits(head_timeout: Duration, idle_timeout: Duration) -> Limits {
        Limits {
            deadline: ENDLESS,
            head: 0,
            head_timeout,
            body: 0,
            body_timeout: ENDLESS,
            idle_timeout,
        }
    }

    /// What comes of it without waiting.
    fn now<T>(future: impl Future<Output = io::Result<T>>) -> Poll<Result<T, ErrorKind>> {
        let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
        polled.map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn idleness_and_a_head_have_limits_of_their_own_and_nothing_else_has_one() {
        for (doing, head, idle, expected) in [
            (Doing::Idle, ENDLESS, NONE, TOO_LATE),
            (Doing::Idle, NONE, ENDLESS, Poll::Pending),
            (Doing::Head, NONE, ENDLESS, TOO_LATE),
            (Doing::Head, ENDLESS, NONE, Poll::Pending),
            (Doing::Busy, NONE, NONE, Poll::Pending),
            (Doing::Leaving, NONE, NONE, Poll::Pending),
        ] {
            let stage = Stage::new();
            let (ours, _peer) = duplex(1);
            let mut stream = TimedStream::new(ours, &stage, &limits(head, idle));
            stage.set(doing);
            assert_eq!(now(stream.read(&mut [0])), expected, "{doing:?}");
        }
    }

    #[tokio::test]
    async fn the_first_byte_of_a_request_begins_a_head_and_the_end_begins_none() {
        for (doing, then) in [
            (Doing::Idle, Doing::Head),
            (Doing::Leaving, Doing::Head),
            (Doing::Busy, Doing::Busy),
        ] {
            let stage = Stage::new();
            let (ours, mut peer) = duplex(1);
            let mut stream = TimedStream::new(ours, &stage, &limits(ENDLESS, ENDLESS));
            assert_eq!(now(peer.write(b"P")), Poll::Ready(Ok(1)));
            stage.set(doing);
            assert_eq!(now(stream.read(&mut [0])), Poll::Ready(Ok(1)));
            assert_eq!(stage.mark().doing(), then);

            drop(peer);
            stage.set(doing);
            assert_eq!(now(stream.read(&mut [0])), Poll::Ready(Ok(0)));
            assert_eq!(stage.mark().doing(), doing);
        }
    }

    #[tokio::test]
    async fn a_head_that_stays_without_its_end_is_ended_before_the_limit_for_idleness() {
        let stage = Stage::new();
        let (ours, _peer) = duplex(1);
        let limits = limits(Duration::from_millis(1), ENDLESS);
        let mut stream = TimedStream::new(ours, &stage, &limits);
        // The timer has been set for the end of idleness.
        assert_eq!(now(stream.read(&mut [0])), Poll::Pending);
        stage.set(Doing::Head);
        let ended = stream.read(&mut [0]).await;
        assert_eq!(
            ended.map_err(|error| error.kind()),
            Err(ErrorKind::TimedOut)
        );
    }

    #[tokio::test]
    async fn whoever_takes_no_answers_is_idle() {
        for (idle, expected) in [(ENDLESS, Poll::Pending), (NONE, TOO_LATE)] {
            let stage = Stage::new();
            let (ours, _peer) = duplex(4);
            let mut stream = TimedStream::new(ours, &stage, &limits(ENDLESS, idle));
            let slices = [IoSlice::new(b"ans"), IoSlice::new(b"wer")];
            assert_eq!(now(stream.write(b"an")), Poll::Ready(Ok(2)));
            assert_eq!(now(stream.write_vectored(&slices)), Poll::Ready(Ok(2)));
            assert_eq!(now(stream.write(b"er")), expected);
            assert_eq!(now(stream.write_vectored(&slices)), expected);

            // As over TLS, the answer is taken here before the peer has room for it.
            let (ours, _peer) = duplex(4);
            let ours = BufWriter::new(ours);
            let mut stream = TimedStream::new(ours, &stage, &limits(ENDLESS, idle));
            assert_eq!(now(stream.write(b"answer")), Poll::Ready(Ok(6)));
            assert_eq!(now(stream.flush()).map_ok(|()| 0), expected);
        }
    }

    #[tokio::test]
    async fn a_closed_connection_is_ended_at_once_and_what_still_comes_is_thrown_away() {
        let stage = Stage::new();
        let (ours, mut peer) = duplex(4);
        let mut stream = TimedStream::new(ours, &stage, &limits(ENDLESS, ENDLESS));
        for _ in 0..2 {
            assert_eq!(now(peer.write(b"more")), Poll::Ready(Ok(4)));
            assert_eq!(now(stream.shutdown()), Poll::Pending);
            assert_eq!(now(peer.read(&mut [0])), Poll::Ready(Ok(0)));
        }
        drop(peer);
        assert_eq!(now(stream.shutdown()), Poll::Ready(Ok(())));
    }
}
