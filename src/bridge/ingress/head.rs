//! The checks of a request's head before its body is read, in addition to those of hyper (RFC 9112 sections 3.2 and
//! 6.1, RFC 9110 sections 8.3, 8.4 and 10.1.1).

use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName,
    HeaderValue, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Version};
use jiff::Timestamp;

use super::answer::Refusal;
use crate::contract::{Arrival, ChannelId, Reason, SOURCE_PREFIX, TraceContext};

/// Returns the current time, as the time when the head was complete, and the trace context of the head.
pub(super) fn arrival(head: &Parts) -> Arrival {
    let parent = only(&head.headers, &HeaderName::from_static("traceparent"));
    let trace = parent.and_then(|parent| {
        let states = head.headers.get_all("tracestate").iter();
        let states: Vec<&[u8]> = states.map(HeaderValue::as_bytes).collect();
        TraceContext::parse(parent.as_bytes(), &states)
    });
    Arrival {
        at: Timestamp::now(),
        trace,
    }
}

/// Returns the channel of the request, after checks of the framing, the path and the method.
pub(super) fn route(head: &Parts) -> Result<&str, Refusal> {
    check_framing(head)?;
    // The raw path counts: nothing is decoded, and no dot segment is resolved.
    let channel = head
        .uri
        .path()
        .strip_prefix(SOURCE_PREFIX)
        .filter(|id| ChannelId::is_valid(id));
    let channel = channel.ok_or(Refusal::NotFound)?;
    if head.method == Method::POST {
        Ok(channel)
    } else {
        Err(Refusal::MethodNotAllowed)
    }
}

fn check_framing(head: &Parts) -> Result<(), Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host) => {}
        (Some(_), None) => return Err(Refusal::HostMalformed),
        (Some(_), Some(_)) => return Err(Refusal::HostRepeated),
        (None, _) if head.version == Version::HTTP_10 => {}
        (None, _) => return Err(Refusal::HostMissing),
    }
    let mut encodings = head.headers.get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(()),
        (Some(one), None)
            if one.as_bytes().eq_ignore_ascii_case(b"chunked")
                && head.version == Version::HTTP_11 =>
        {
            Ok(())
        }
        _ => Err(Refusal::TransferEncoding),
    }
}

fn is_host(host: &HeaderValue) -> bool {
    if is_name_and_port(host.as_bytes()) {
        return true;
    }
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let (name, whole) = (authority.host(), authority.as_str());
    // There is no user before the name.
    let Some(port) = whole.strip_prefix(name).filter(|_| !name.is_empty()) else {
        return false;
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    digits.is_empty()
        || digits.bytes().all(|byte| byte.is_ascii_digit()) && authority.port_u16().is_some()
}

/// Returns whether this is a name or an IPv4 address, and maybe a port. Most senders send such a host, and the check is
/// fast.
fn is_name_and_port(host: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let end = host.iter().position(|byte| !is_of_name(byte));
    let (name, port) = host.split_at(end.unwrap_or(host.len()));
    let digits = match port {
        [] => return !name.is_empty(),
        [b':', digits @ ..] if digits.len() <= 5 => digits,
        _ => return false,
    };
    let number = |number, digit: &u8| 10 * number + u32::from(digit - b'0');
    !name.is_empty()
        && digits.iter().all(u8::is_ascii_digit)
        && digits.iter().fold(0, number) < 1_u32 << 16
}

/// Returns the password, or `None` if it is missing or repeated.
pub(super) fn password(head: &Parts) -> Option<&[u8]> {
    only(&head.headers, &AUTHORIZATION).map(HeaderValue::as_bytes)
}

/// Returns whether the sender waits for `100 Continue`, which reading the body sends.
pub(super) fn expects_continue(head: &Parts) -> bool {
    head.headers.get_all(EXPECT).iter().any(is_continue)
}

/// Refuses every expectation other than `100-continue`.
pub(super) fn check_expectation(head: &Parts) -> Result<(), Refusal> {
    if head.headers.get_all(EXPECT).iter().all(is_continue) {
        Ok(())
    } else {
        Err(Refusal::Expectation)
    }
}

fn is_continue(expectation: &HeaderValue) -> bool {
    expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

/// Returns why the body can't be a report, with the values of the wrong header: its type or its encoding is not the
/// contract's.
pub(super) fn unsupported(head: &Parts) -> Option<(Reason, String)> {
    let headers = &head.headers;
    if !only(headers, &CONTENT_TYPE).is_some_and(is_json_in_utf8) {
        return Some((Reason::ContentType, values(headers, &CONTENT_TYPE)));
    }
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if !encodings.all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Some((Reason::ContentEncoding, values(headers, &CONTENT_ENCODING)));
    }
    None
}

/// Returns all values of a header, as text.
fn values(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter();
    let texts: Vec<_> = values
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    texts.join(", ")
}

/// Returns whether a type is `application/json` with UTF-8 or no charset. Case and space are ignored, because the
/// sample in the interface document and its Chinese edition differ in them.
fn is_json_in_utf8(value: &HeaderValue) -> bool {
    // As KooMessage sends it.
    if value == "application/json; charset=UTF-8" {
        return true;
    }
    let text: Vec<u8> = value
        .as_bytes()
        .iter()
        .filter(|byte| !matches!(byte, b' ' | b'\t'))
        .map(u8::to_ascii_lowercase)
        .collect();
    let mut parts = text.split(|byte| *byte == b';');
    let is_json = parts.next() == Some(b"application/json");
    let mut parameters = parts.filter(|part| !part.is_empty());
    let is_utf8 = |part: &[u8]| {
        let charset = part.strip_prefix(b"charset=");
        matches!(
            charset,
            Some(b"utf-8" | b"utf8" | b"\"utf-8\"" | b"\"utf8\"")
        )
    };
    is_json && parameters.next().is_none_or(is_utf8) && parameters.next().is_none()
}

/// Returns the value of a header, if there is exactly one.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_utf8_is_recognised_however_it_is_written() {
        for value in [
            "application/json; charset=UTF-8",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "Application/JSON ; Charset = \"Utf-8\"",
            "application/json",
            "application/json;",
            "application/json; charset=utf8",
            "application/json;charset=\"UTF8\"",
        ] {
            assert!(is_json_in_utf8(&HeaderValue::from_static(value)), "{value}");
        }
    }

    #[test]
    fn every_other_type_is_refused() {
        for value in [
            "",
            "text/json",
            "application/json; charset=latin1",
            "application/json; charset=utf-8; charset=utf-8",
            "application/json; charset=utf-8; boundary=x",
            "application/json; charset='utf-8'",
            "application/jsonx",
            "application/json, application/json",
        ] {
            assert!(
                !is_json_in_utf8(&HeaderValue::from_static(value)),
                "{value}"
            );
        }
    }

    #[test]
    fn a_host_is_a_name_or_address_with_an_optional_port() {
        for value in [
            "bridge",
            "bridge:",
            "bridge:18446",
            "10.10.10.2:18446",
            "[::1]",
            "[::1]:18446",
        ] {
            assert!(is_host(&HeaderValue::from_static(value)), "{value}");
        }
        for value in [
            "",
            "a b",
            "user@bridge",
            "bridge/path",
            "http://bridge",
            ":80",
            "bridge:https",
            "bridge:80:80",
            "bridge:65536",
            "bridge:+80",
            "bridge:-1",
            "[::1]:x",
        ] {
            assert!(!is_host(&HeaderValue::from_static(value)), "{value}");
        }
    }
}
