//! Recognizes the variables that Kubernetes sets in every pod for each Service of the namespace.

use std::net::{IpAddr, SocketAddr};

/// Returns whether Kubernetes has set a variable for a Service whose name starts with `koobridge`. The value
/// distinguishes it from a misspelt setting.
pub(super) fn is_service_link(variable: &str, value: &str) -> bool {
    if variable.ends_with("_SERVICE_HOST") {
        return value.parse::<IpAddr>().is_ok();
    }
    if variable.ends_with("_SERVICE_PORT") || variable.contains("_SERVICE_PORT_") {
        return value.parse::<u16>().is_ok();
    }
    match variable.rsplit_once("_PORT_") {
        Some((_, port)) => is_part_of_link(port, value),
        None => {
            variable.ends_with("_PORT") && PROTOCOLS.iter().any(|scheme| is_link(value, scheme))
        }
    }
}

/// Returns whether a variable describes a port; `port` is its name after `_PORT_`, for example `9_TCP_ADDR`.
fn is_part_of_link(port: &str, value: &str) -> bool {
    let Some((number, protocol)) = port.split_once('_') else {
        return false;
    };
    let (protocol, detail) = protocol.split_once('_').unwrap_or((protocol, ""));
    let protocol = protocol.to_ascii_lowercase();
    let is_whole = match detail {
        "" => is_link(value, &protocol),
        "PROTO" => value == protocol,
        "PORT" => value == number,
        "ADDR" => value.parse::<IpAddr>().is_ok(),
        _ => false,
    };
    is_whole && number.parse::<u16>().is_ok() && PROTOCOLS.contains(&&*protocol)
}

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Returns whether `value` has the form `tcp://10.0.0.1:9`.
fn is_link(value: &str, protocol: &str) -> bool {
    let address = value
        .strip_prefix(protocol)
        .and_then(|rest| rest.strip_prefix("://"));
    address.is_some_and(|address| address.parse::<SocketAddr>().is_ok())
}
