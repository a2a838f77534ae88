//! Prints the configuration in force as TOML, each value with its origin. Secrets stay hidden.

use std::fmt::Write as _;

use super::keys::{self, PROPERTIES};
use super::layers::{Origin, Settings};
use super::{PropertyCheck, parse, properties};

const REDACTED: &str = "(redacted)";
/// The origin of a default that must not be set. Its line is a comment, so that the output is a valid configuration.
const LEAVE_OUT: &str = "default; setting it is an error";

/// Returns the settings in force as TOML. `defaults` are the bridge's own librdkafka properties. If `check` refuses a
/// property, its value is not shown: it may be a secret under a misspelt name.
#[must_use]
pub fn print(settings: &Settings, defaults: &[(&str, &str)], check: PropertyCheck) -> String {
    let mut lines: Vec<(String, String, String)> = settings
        .values
        .iter()
        .map(|(key, setting)| {
            let value = match key.strip_prefix(PROPERTIES) {
                _ if setting.from_file.is_some() => REDACTED,
                // The URL may contain a password, which is an error.
                None if key == "traces.endpoint" && setting.text.contains('@') => REDACTED,
                Some(name) if properties::is_secret(name) => REDACTED,
                Some(name) if check(name, &setting.text).is_err() => "(refused by librdkafka)",
                _ => &setting.text,
            };
            (key.clone(), value.to_owned(), setting.origin.to_string())
        })
        .collect();
    for (name, value) in defaults {
        let key = format!("{PROPERTIES}{name}");
        if settings.text(&key).is_none() {
            let origin = if is_refused_if_set(settings, name, value) {
                LEAVE_OUT.to_owned()
            } else {
                Origin::Default.to_string()
            };
            lines.push((key, (*value).to_owned(), origin));
        }
    }
    lines.sort_by_key(|(key, ..)| (section(key).to_owned(), key.clone()));
    let mut text = String::new();
    let mut current = "";
    for (key, value, origin) in &lines {
        if section(key) != current {
            let gap = if current.is_empty() { "" } else { "\n" };
            current = section(key);
            writeln!(text, "{gap}[{current}]").expect("writing to memory can't fail");
        }
        let name = &key[current.len() + 1..];
        let value = toml::Value::String(value.clone());
        let comment = if origin == LEAVE_OUT { "# " } else { "" };
        writeln!(text, "{comment}{name} = {value}  # {origin}")
            .expect("writing to memory can't fail");
    }
    text
}

/// Returns whether a default of the bridge is an error in a configuration that sets it.
fn is_refused_if_set(settings: &Settings, name: &str, value: &str) -> bool {
    let deadline = settings
        .text("ingress.deadline")
        .and_then(|text| parse::time(text, keys::range("ingress.deadline")).ok());
    let is_fixed = name == "message.timeout.ms" && settings.spool_directory().is_some();
    is_fixed || properties::danger(name, value, deadline).is_some()
}

fn section(key: &str) -> &str {
    if key.starts_with(PROPERTIES) {
        PROPERTIES.trim_end_matches('.')
    } else {
        key.split_once('.').map_or(key, |(section, _)| section)
    }
}
