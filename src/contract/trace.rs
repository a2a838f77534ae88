//! The W3C trace context of a request (<https://www.w3.org/TR/trace-context/>). It becomes part of the record, so that
//! a subscriber can continue the trace. Invalid parts are left out.

use std::iter;

use super::record::Header;

/// The values of `traceparent` and `tracestate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    pub(super) parent: String,
    pub(super) state: Option<String>,
}

impl TraceContext {
    /// Parses the two headers; returns `None` if `traceparent` does not have the form of version 00.
    #[must_use]
    pub fn parse(parent: &[u8], states: &[&[u8]]) -> Option<Self> {
        let parent = str::from_utf8(parent)
            .ok()
            .filter(|text| is_parent(text))?
            .to_owned();
        Some(Self {
            parent,
            state: join_states(states),
        })
    }

    /// Returns the trace's id: 32 hex digits.
    #[must_use]
    pub fn id(&self) -> &str {
        // The position in version 00's form.
        &self.parent[3..35]
    }

    /// Returns the span's id: 16 hex digits.
    #[must_use]
    pub fn span_id(&self) -> &str {
        &self.parent[36..52]
    }

    /// Returns the flags: two hex digits.
    #[must_use]
    pub fn flags(&self) -> &str {
        &self.parent[53..]
    }

    /// Returns the value of `tracestate`.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Returns the record headers, with OpenTelemetry's names.
    pub(super) fn into_headers(self) -> impl Iterator<Item = Header> {
        let parent = ("traceparent".into(), self.parent.into());
        let state = self.state.map(|state| ("tracestate".into(), state.into()));
        iter::once(parent).chain(state)
    }
}

/// Returns whether `text` is `00-`, 32 hex digits, `-`, 16 hex digits, `-` and 2 hex digits, in lower case and without
/// an id of zeros.
fn is_parent(text: &str) -> bool {
    let fields: Vec<&str> = text.split('-').collect();
    let [version, trace, parent, flags] = fields[..] else {
        return false;
    };
    let is_id = |field: &str, length| is_hex(field, length) && field.bytes().any(|b| b != b'0');
    version == "00" && is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2)
}

fn is_hex(field: &str, length: usize) -> bool {
    field.len() == length
        && field
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Joins several headers into one list (section 3.3.1). A longer list than 512 characters need not be propagated.
fn join_states(states: &[&[u8]]) -> Option<String> {
    let joined = states.join(&b","[..]);
    let sound = !joined.is_empty()
        && joined.len() <= 512
        && joined
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    sound.then(|| String::from_utf8(joined).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_context_is_kept() {
        let context = TraceContext::parse(PARENT, &[b"a=1", b"b=2"]).expect("a context");
        assert_eq!(context.parent.as_bytes(), PARENT);
        assert_eq!(context.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id(), "00f067aa0ba902b7");
        assert_eq!(context.flags(), "01");
        assert_eq!(context.state(), Some("a=1,b=2"));
        assert_eq!(
            TraceContext::parse(PARENT, &[]).expect("a context").state,
            None
        );
    }

    #[test]
    fn a_context_with_an_invalid_parent_is_left_out() {
        for parent in [
            &b""[..],
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            b"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(
                TraceContext::parse(parent, &[]),
                None,
                "{}",
                parent.escape_ascii()
            );
        }
    }

    #[test]
    fn only_an_invalid_state_is_left_out() {
        let long = vec![b'x'; 513];
        for state in [&b"a=\xff"[..], &long] {
            let context = TraceContext::parse(PARENT, &[state]).expect("a context");
            assert_eq!(context.state, None);
        }
    }
}
