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
