//! A request's body, whole, within its limits of size and time.

use std::time::Instant;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout_at;

use super::answer::Refusal;
use crate::delivery::{Hold, NotTaken};

/// Memory for the first bytes, which most bodies fit in; more is taken as more comes.
const FIRST: usize = 4 << 10;

/// Reads the body to its end; `hold` counts what has come. Its declared length was checked before:
/// polling a body sends `100 Continue` where the sender waits for it.
pub(super) async fn read(
    body: Incoming,
    limit: usize,
    deadline: Instant,
    hold: &mut Hold,
) -> Result<Vec<u8>, Refusal> {
    match timeout_at(deadline.into(), collect(body, limit, hold)).await {
        Ok(whole) => whole,
        Err(_) => Err(Refusal::BodyTimeout),
    }
}

async fn collect(mut body: Incoming, limit: usize, hold: &mut Hold) -> Result<Vec<u8>, Refusal> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
    let mut whole = Vec::with_capacity(declared.min(limit).min(FIRST));
    while let Some(frame) = body.frame().await {
        // Trailers say nothing that the contract knows.
        let Ok(data) = frame.map_err(|_| Refusal::BodyBroken)?.into_data() else {
            continue;
        };
        if whole.len() + data.len() > limit {
            return Err(Refusal::BodyTooLarge);
        }
        if !hold.grow(data.len()) {
            return Err(Refusal::NotTaken(NotTaken::Overloaded));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}
