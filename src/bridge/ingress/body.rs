//! The body of a request, with limits on its size and time.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use tokio::time::timeout_at;

use super::answer::Refusal;
use super::head;
use crate::bridge::delivery::{BodyPermit, PublishError};

/// The initial buffer, in bytes. It fits most bodies, and grows with the others.
const INITIAL_CAPACITY: usize = 4 << 10;
/// The limit on reading and discarding the body of a refused request, in bytes, so that the connection can be used
/// again.
const DISCARD_LIMIT: u64 = 64 << 10;
/// The time limit for that.
const DISCARD_TIMEOUT: Duration = Duration::from_millis(500);

/// The body of a request.
pub(super) struct RequestBody {
    incoming: Incoming,
    is_started: bool,
}

impl RequestBody {
    /// Makes a body from an unread one.
    pub(super) fn new(incoming: Incoming) -> Self {
        Self {
            incoming,
            is_started: false,
        }
    }

    /// Reads the body to its end. `permit` counts its bytes. When the sender waits for `100 Continue`, reading sends
    /// it.
    pub(super) async fn read(
        &mut self,
        limit: usize,
        deadline: Instant,
        permit: &mut BodyPermit,
    ) -> Result<Vec<u8>, Refusal> {
        // The size of a chunked body is not known yet: 0.
        if self.declared() > limit as u64 {
            return Err(Refusal::BodyTooLarge);
        }
        self.is_started = true;
        match timeout_at(deadline.into(), self.collect(limit, permit)).await {
            Ok(whole) => whole,
            Err(_) => Err(Refusal::BodyTimeout),
        }
    }

    fn declared(&self) -> u64 {
        self.incoming.size_hint().lower()
    }

    async fn collect(&mut self, limit: usize, permit: &mut BodyPermit) -> Result<Vec<u8>, Refusal> {
        let declared = usize::try_from(self.declared()).unwrap_or(limit);
        let mut whole = Vec::with_capacity(declared.min(limit).min(INITIAL_CAPACITY));
        while let Some(frame) = self.incoming.frame().await {
            // Trailers are ignored: the contract has none.
            let Ok(data) = frame.map_err(|_| Refusal::BodyBroken)?.into_data() else {
                continue;
            };
            if whole.len() + data.len() > limit {
                return Err(Refusal::BodyTooLarge);
            }
            if !permit.grow(data.len()) {
                return Err(Refusal::Publish(PublishError::Overloaded));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole)
    }

    /// Reads and discards the remaining body, if it is small and arrives soon, and before `deadline`. Returns whether
    /// the whole body was read: only then can the connection be used for another request.
    pub(super) async fn discard(&mut self, head: &Parts, deadline: Instant) -> bool {
        if self.incoming.is_end_stream() {
            return true;
        }
        let is_awaited = !self.is_started && head::expects_continue(head);
        if is_awaited || self.declared() > DISCARD_LIMIT {
            return false;
        }
        let deadline = deadline.min(Instant::now() + DISCARD_TIMEOUT);
        matches!(timeout_at(deadline.into(), self.drain()).await, Ok(true))
    }

    async fn drain(&mut self) -> bool {
        let mut remaining = DISCARD_LIMIT;
        while let Some(frame) = self.incoming.frame().await {
            let Ok(frame) = frame else { return false };
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match remaining.checked_sub(length) {
                Some(rest) => remaining = rest,
                None => return false,
            }
        }
        true
    }
}
