//! The URL of a collector.

use std::net::Ipv6Addr;

/// Checks an HTTP or HTTPS URL; returns whether it has a path. An error does not repeat the URL, because it may contain
/// a password.
pub(super) fn check(text: &str) -> Result<bool, String> {
    let example = "write for example \"http://collector:4318/v1/traces\"";
    let rest = ["http://", "https://"].map(|scheme| text.strip_prefix(scheme));
    let rest = rest.into_iter().flatten().next();
    let rest = rest
        .ok_or_else(|| format!("is not a URL that starts with http:// or https://; {example}"))?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("contains a password; set it in OTEL_EXPORTER_OTLP_HEADERS".to_owned());
    }
    if path.contains('?') {
        return Err("contains a query; set its values in OTEL_EXPORTER_OTLP_HEADERS".to_owned());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_sound = is_host(host)
        && port.is_none_or(is_port)
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_sound && !path.contains('#') {
        Ok(path.len() > 1)
    } else {
        Err(format!("is not a URL; {example}"))
    }
}

/// Returns whether `text` is a host name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    let address = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = address {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}
