//! A request's body, within limits of size and time.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use tokio::time::timeout_at;

use super::answer::Refusal;
use super::head;
use crate::bridge::delivery::{BodyPermit, NotTaken};

/// Memory for the first bytes, which most bodies fit in; more is taken as more comes.
const FIRST: usize = 4 << 10;
/// How much of a refused request's body is read and thrown away, so that the connection can go on.
const DISCARDED: u64 = 64 << 10;
/// How long the rest of such a body may take.
const DISCARD_TIMEOUT: Duration = Duration::from_millis(500);

/// The body of a request.
pub(super) struct RequestBody {
    incoming: Incoming,
    is_begun: bool,
}

impl RequestBody {
    /// Takes a body of which nothing has been read yet.
    pub(super) fn new(incoming: Incoming) -> Self {
        Self {
            incoming,
            is_begun: false,
        }
    }

    /// Reads the body to its end; `permit` counts the bytes that have come. Reading it sends `100 Continue` if the
    /// sender waits for that.
    pub(super) async fn read(
        &mut self,
        limit: usize,
        deadline: Instant,
        permit: &mut BodyPermit,
    ) -> Result<Vec<u8>, Refusal> {
        // Of a chunked body nothing is known yet.
        if self.declared() > limit as u64 {
            return Err(Refusal::BodyTooLarge);
        }
        self.is_begun = true;
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
        let mut whole = Vec::with_capacity(declared.min(limit).min(FIRST));
        while let Some(frame) = self.incoming.frame().await {
            // Trailers say nothing that the contract knows.
            let Ok(data) = frame.map_err(|_| Refusal::BodyBroken)?.into_data() else {
                continue;
            };
            if whole.len() + data.len() > limit {
                return Err(Refusal::BodyTooLarge);
            }
            if !permit.grow(data.len()) {
                return Err(Refusal::NotTaken(NotTaken::Overloaded));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole)
    }

    /// Reads and drops the rest, if it is little and comes soon, by the `deadline` of the answer at the latest.
    /// Returns whether nothing is left: only then can the connection take another request.
    pub(super) async fn discard(&mut self, head: &Parts, deadline: Instant) -> bool {
        if self.incoming.is_end_stream() {
            return true;
        }
        let is_awaited = !self.is_begun && head::expects_continue(head);
        if is_awaited || self.declared() > DISCARDED {
            return false;
        }
        let deadline = deadline.min(Instant::now() + DISCARD_TIMEOUT);
        matches!(timeout_at(deadline.into(), self.drain()).await, Ok(true))
    }

    async fn drain(&mut self) -> bool {
        let mut left = DISCARDED;
        while let Some(frame) = self.incoming.frame().await {
            let Ok(frame) = frame else { return false };
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        true
    }
}
