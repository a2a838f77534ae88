//! Command lines that a command prints for the user to run.

use std::path::Path;

use crate::cli::{Filters, KafkaArgs, Overrides};
use crate::config::properties::is_secret;

/// A command line to print.
pub(super) struct CommandLine(String);

impl CommandLine {
    pub(super) fn of(command: &str) -> Self {
        Self(format!("koobridge {command}"))
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// Adds the option once for each value, quoted for a shell.
    pub(super) fn add<T: ToString>(&mut self, option: &str, values: impl IntoIterator<Item = T>) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/=@+".contains(c);
        for value in values {
            let value = value.to_string();
            let plain = !value.is_empty() && value.chars().all(is_plain);
            let quoted = if plain {
                value
            } else {
                format!("'{}'", value.replace('\'', r"'\''"))
            };
            self.0.extend([" ", option, " ", &quoted]);
        }
    }

    pub(super) fn add_kafka(&mut self, kafka: &KafkaArgs) {
        self.add_configuration(kafka.config.as_deref(), &kafka.overrides);
        self.add("--bootstrap", &kafka.bootstrap);
    }

    /// Adds the options for the configuration. Secrets are masked.
    pub(super) fn add_configuration(&mut self, file: Option<&Path>, overrides: &Overrides) {
        self.add("--config", file.iter().map(|path| path.display()));
        self.add(
            "--set",
            overrides.set.iter().map(|(key, value)| {
                let value = if is_secret(key) { "***" } else { value };
                format!("{key}={value}")
            }),
        );
    }

    pub(super) fn add_filters(&mut self, filters: &Filters) {
        self.add("--channel", &filters.channel);
        self.add("--status", &filters.status);
        self.add("--message-id", &filters.message_id);
        self.add(
            "--message-ids",
            filters.message_ids.iter().map(|path| path.display()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_command_is_quoted_for_a_shell() {
        let mut command = CommandLine::of("replay");
        command.add("--to", ["a.b"]);
        command.add("--set", ["x=it's", ""]);
        assert_eq!(
            command.into_text(),
            r"koobridge replay --to a.b --set 'x=it'\''s' --set ''"
        );
    }
}
