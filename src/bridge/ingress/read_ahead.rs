//! Finds out whether the next request of a connection has begun: hyper reads ahead without a notification. A started
//! head has a shorter time limit than an idle connection.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

const HEAD_END: &[u8] = b"\r\n\r\n";
const UNKNOWN: usize = usize::MAX;

/// The number of bytes that were read after the head of the current request. Only the connection's task uses it.
#[derive(Debug)]
pub(super) struct ReadAhead {
    /// [`UNKNOWN`] if the end of the head was not seen: the head is incomplete, or arrived with an earlier request.
    after_head: AtomicUsize,
    /// The last four bytes; the last one is the least significant.
    tail: AtomicU32,
}

impl ReadAhead {
    pub(super) fn new() -> Self {
        Self {
            after_head: AtomicUsize::new(UNKNOWN),
            tail: AtomicU32::new(0),
        }
    }

    /// Records bytes that were read. `is_head` is true if a head is expected or incomplete.
    pub(super) fn note(&self, bytes: &[u8], is_head: bool) {
        let after = match self.after_head.load(Ordering::Relaxed) {
            UNKNOWN if is_head => bytes
                .windows(HEAD_END.len())
                .position(|window| window == HEAD_END)
                .map_or(UNKNOWN, |at| bytes.len() - at - HEAD_END.len()),
            UNKNOWN => UNKNOWN,
            after => after + bytes.len(),
        };
        self.after_head.store(after, Ordering::Relaxed);
        let last = &bytes[bytes.len().saturating_sub(4)..];
        let tail = last
            .iter()
            .fold(self.tail.load(Ordering::Relaxed), |tail, byte| {
                tail << 8 | u32::from(*byte)
            });
        self.tail.store(tail, Ordering::Relaxed);
    }

    /// Ends the current request, whose body had this length (`None` if it was chunked). Returns whether bytes of the
    /// next request have arrived, or `false` if that is unknown, as after pipelined requests.
    pub(super) fn end_request(&self, body: Option<u64>) -> bool {
        let after = self.after_head.swap(UNKNOWN, Ordering::Relaxed);
        let tail = self.tail.load(Ordering::Relaxed).to_be_bytes();
        match body {
            _ if after == UNKNOWN => false,
            // The last chunk ends with a blank line, with or without trailers.
            None => tail != HEAD_END,
            Some(length) => {
                match after.saturating_sub(usize::try_from(length).unwrap_or(UNKNOWN)) {
                    // Some clients send a line end after a body.
                    beyond @ 0..=2 => !tail
                        .iter()
                        .rev()
                        .take(beyond)
                        .all(|byte| b"\r\n".contains(byte)),
                    _ => true,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// Returns whether the next request has begun after these reads: first those of the head, then the others.
    fn has_begun(head: &[&[u8]], rest: &[&[u8]], body: Option<u64>) -> bool {
        let ahead = ReadAhead::new();
        for bytes in head {
            ahead.note(bytes, true);
        }
        for bytes in rest {
            ahead.note(bytes, false);
        }
        ahead.end_request(body)
    }

    #[test]
    fn one_byte_after_a_body_of_known_length_begins_a_request() {
        let with = |body: &str| [HEAD, body.as_bytes()].concat();
        for (text, expected) in [
            ("{}", false),
            ("{}P", true),
            ("\r\n", false),
            ("{}\r\n", false),
            ("{}\r\nP", true),
            ("{}\r\nPOST", true),
        ] {
            let (whole, parts) = (with(text), [HEAD, text.as_bytes()]);
            assert_eq!(has_begun(&[&whole], &[], Some(2)), expected, "{text}");
            assert_eq!(has_begun(&parts, &[], Some(2)), expected, "{text}");
            assert_eq!(has_begun(&parts[..1], &parts[1..], Some(2)), expected);
        }
        assert!(!has_begun(&[HEAD], &[], Some(0)));
        assert!(!has_begun(&[&HEAD[..9], &HEAD[9..]], &[b"{}"], Some(2)));
    }

    #[test]
    fn bytes_after_the_last_chunk_begin_a_request() {
        for (last, expected) in [
            (&["2\r\n{}\r\n0\r\n\r\n"][..], false),
            (&["0\r\nTrailer: a\r\n\r\n"], false),
            (&["0\r\n", "\r\n"], false),
            (&["0", "\r\n\r", "\n"], false),
            (&["0\r\n\r\nP"], true),
            (&["0\r\n\r\nPOST / HTTP/1.1\r\n"], true),
        ] {
            let last: Vec<&[u8]> = last.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(has_begun(&[HEAD], &last, None), expected, "{last:?}");
        }
    }

    #[test]
    fn an_unknown_start_does_not_count() {
        let ahead = ReadAhead::new();
        ahead.note(&[HEAD, b"{}", HEAD, b"{}"].concat(), true);
        assert!(ahead.end_request(Some(2)), "the second of two requests has");
        assert!(!ahead.end_request(Some(2)));
        ahead.note(&[HEAD, b"{}P"].concat(), true);
        assert!(ahead.end_request(Some(2)));
        // The end of a head in two reads, and bare line feeds.
        assert!(!has_begun(
            &[&HEAD[..HEAD.len() - 2], b"\r\n{}"],
            &[],
            Some(2)
        ));
        assert!(!has_begun(&[b"POST / HTTP/1.1\n\n{}"], &[], Some(2)));
    }
}
