//! The received part of an answer. It is not trusted, since any program can listen on the port.

use serde::Deserialize;

/// The beginning of every answer in HTTP/1.
const HTTP: &[u8] = b"HTTP/1.";
/// The most bytes that are read without the end of the first line.
const LONGEST_LINE: usize = 1024;
/// The most characters that are shown of an answer.
const SHOWN: usize = 300;

/// The bytes of an answer.
#[derive(Debug, Default)]
pub(super) struct Answer(Vec<u8>);

impl Answer {
    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.extend_from_slice(part);
    }

    /// Returns whether to read on: if the answer is 200, its first line is enough; otherwise its reason is read, up to
    /// `limit` bytes.
    pub(super) fn wants_more(&self, limit: usize) -> bool {
        self.can_be_http() && self.status() != Some(200) && self.0.len() < limit
    }

    /// Returns whether the received bytes can be the beginning of an HTTP answer.
    pub(super) fn can_be_http(&self) -> bool {
        let length = self.0.len().min(HTTP.len());
        let line = &self.0[..self.0.len().min(LONGEST_LINE)];
        let is_unfinished = line.len() < LONGEST_LINE && !line.contains(&b'\n');
        self.0[..length] == HTTP[..length] && (is_unfinished || self.status().is_some())
    }

    /// Returns the status, if the first line is complete and has one.
    pub(super) fn status(&self) -> Option<u16> {
        let rest = self.0.strip_prefix(HTTP)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        match &rest[..end] {
            [
                b'0' | b'1',
                b' ',
                a @ b'1'..=b'9',
                b @ b'0'..=b'9',
                c @ b'0'..=b'9',
                ..,
            ] => {
                let digits = [a, b, c].map(|digit| u16::from(digit - b'0'));
                Some(
                    digits
                        .into_iter()
                        .fold(0, |number, digit| 10 * number + digit),
                )
            }
            _ => None,
        }
    }

    /// Returns the reason that the body gives, on one line.
    pub(super) fn reason(&self) -> String {
        let body = self.body();
        let reason = match serde_json::from_slice::<Readiness>(body) {
            Ok(readiness) => readiness.reason(),
            Err(_) => String::from_utf8_lossy(body).into_owned(),
        };
        let line = reason.lines().find(|line| !line.trim().is_empty());
        let line = line.unwrap_or("no reason is given").trim();
        // Control characters could steer a terminal.
        let printable = line.chars().filter(|character| !character.is_control());
        printable.take(SHOWN).collect()
    }

    fn body(&self) -> &[u8] {
        let end = self.0.windows(4).position(|part| part == b"\r\n\r\n");
        end.map_or(&[], |end| &self.0[end + 4..])
    }
}

/// The members of the answer of `/readyz` that give the reason.
#[derive(Deserialize)]
struct Readiness {
    draining: bool,
    topics: Vec<Topic>,
    spool: Option<Spool>,
}

#[derive(Deserialize)]
struct Topic {
    name: String,
    ready: bool,
    condition: String,
}

#[derive(Deserialize)]
struct Spool {
    writable: bool,
}

impl Readiness {
    fn reason(self) -> String {
        if self.draining {
            return "not ready: it is stopping".to_owned();
        }
        // The second topic, of rejected reports, does not count.
        let events = self.topics.into_iter().next();
        let events = events.filter(|topic| !topic.ready);
        let events = events.map(|topic| format!("{}: {}", topic.name, topic.condition));
        let spool = self.spool.filter(|spool| !spool.writable);
        let spool = spool.map(|_| "the spool can't be written to".to_owned());
        let reasons: Vec<_> = events.into_iter().chain(spool).collect();
        if reasons.is_empty() {
            // Readiness follows a change with a delay.
            return "not ready yet".to_owned();
        }
        format!("not ready: {}", reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer(text.as_bytes().to_vec())
    }

    #[test]
    fn a_status_is_three_digits_in_a_whole_first_line() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 503\n", Some(503)),
            ("HTTP/1.1 200 OK", None),
            ("HTTP/1.1 20\r\n", None),
            ("HTTP/1.1 +20\r\n", None),
            ("HTTP/1.1  200\r\n", None),
            ("HTTP/1.2 200 OK\r\n", None),
            ("HTTP/2 200\r\n", None),
            ("", None),
        ] {
            assert_eq!(answer(text).status(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_reason_is_one_line_without_control_characters() {
        for (body, expected) in [
            ("", "no reason is given"),
            ("\r\n \n", "no reason is given"),
            ("\nfirst \nsecond", "first"),
            ("a\u{1b}[31mb\u{7}", "a[31mb"),
            ("{\"draining\": true}", "{\"draining\": true}"),
            (&*"x".repeat(500), &*"x".repeat(SHOWN)),
        ] {
            let whole = answer(&format!("HTTP/1.1 503 No\r\n\r\n{body}"));
            assert_eq!(whole.reason(), expected, "{body:?}");
        }
        assert_eq!(answer("HTTP/1.1 503 No\r\n").reason(), "no reason is given");
    }

    #[test]
    fn the_reason_names_the_topic_or_the_spool_at_fault() {
        let reason = |draining, ready, writable: Option<bool>| {
            let spool = writable.map(|writable| serde_json::json!({ "writable": writable }));
            let body = serde_json::json!({
                "ready": false, "draining": draining, "spool": spool, "topics": [
                    { "name": "events", "ready": ready, "condition": "a partition has no leader" },
                    { "name": "rejected", "ready": false, "condition": "missing" },
                ],
            });
            answer(&format!("HTTP/1.1 503 No\r\n\r\n{body}")).reason()
        };
        let events = "not ready: events: a partition has no leader";
        for (given, expected) in [
            ((true, false, None), "not ready: it is stopping"),
            ((false, false, None), events),
            (
                (false, false, Some(false)),
                &*format!("{events}; the spool can't be written to"),
            ),
            ((false, true, None), "not ready yet"),
        ] {
            let (draining, ready, writable) = given;
            assert_eq!(reason(draining, ready, writable), expected);
        }
    }
}
