//! Reads the TOML file: flattens its tables to keys, each with its line.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::keys::{self, Key, PROPERTIES};
use super::layers::{Origin, Settings};
use super::properties;
use crate::text;

/// The configuration file that is being read.
struct ConfigFile<'a> {
    path: &'a Path,
    text: &'a str,
}

/// Returns an error of the syntax. The parser's messages do not name the usual reason, missing quotes.
fn syntax_problem(message: &str) -> String {
    let hint = if message.starts_with("invalid") {
        "; write a value that is not a number or a list in double quotes"
    } else {
        ""
    };
    format!("is not TOML: {message}{hint}")
}

impl ConfigFile<'_> {
    /// Resolves a path in the file, which is relative to the file.
    fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

impl Settings {
    pub(super) fn read_file(&mut self, path: &Path) {
        let at_line = |line: Option<usize>, problem| ConfigError {
            place: match line {
                Some(line) => format!("{}:{line}", path.display()),
                None => path.display().to_string(),
            },
            key: String::new(),
            problem,
        };
        let text = match text::read(path) {
            Ok(text) => text,
            Err(error) => {
                let problem = text::unreadable(&error, "name another file with --config");
                self.is_incomplete = true;
                return self.errors.push(at_line(None, problem));
            }
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        self.is_incomplete = !errors.is_empty();
        for error in errors {
            let line = error.span().map(|span| line_of(&text, span.start));
            self.errors
                .push(at_line(line, syntax_problem(error.message())));
        }
        let syntax_errors = self.errors.len();
        self.read_table(&ConfigFile { path, text: &text }, "", table.get_ref());
        // After a mistake in the syntax, other keys and values may not be those that were meant. They are still of use,
        // for example to find the admin listener of a running bridge.
        if self.is_incomplete {
            self.errors.truncate(syntax_errors);
        }
    }

    fn read_table(&mut self, file: &ConfigFile<'_>, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = match prefix {
                "" => name.get_ref().to_string(),
                prefix => format!("{prefix}.{}", name.get_ref()),
            };
            self.read_value(file, &key, name.span().start, value);
        }
    }

    fn read_value(
        &mut self,
        file: &ConfigFile<'_>,
        key: &str,
        at: usize,
        value: &Spanned<DeValue<'_>>,
    ) {
        let origin = Origin::File {
            path: file.path.to_owned(),
            line: line_of(file.text, at),
        };
        match value.get_ref() {
            DeValue::Table(table) => match from_file(table) {
                Some(path) => self.read_secret(file, key, path, origin),
                None if keys::is_key(key) && !key.starts_with(PROPERTIES) => {
                    self.wrong_type(key, &origin, "a table");
                }
                None => self.read_table(file, key, table),
            },
            DeValue::Array(values) => {
                let texts: Option<Vec<String>> =
                    values.iter().map(|value| scalar(value.get_ref())).collect();
                match texts {
                    Some(texts) if texts.iter().any(String::is_empty) => {
                        self.errors.push(ConfigError {
                            place: origin.to_string(),
                            key: key.to_owned(),
                            problem: "contains an empty string; remove it".to_owned(),
                        });
                    }
                    Some(texts) => self.insert_known(key, texts.join(","), origin, None),
                    None => self.wrong_type(key, &origin, "an array of arrays or tables"),
                }
            }
            value => match scalar(value) {
                Some(text)
                    if key
                        .strip_prefix(PROPERTIES)
                        .is_some_and(properties::is_secret) =>
                {
                    self.secret_files.insert(file.path.to_owned());
                    self.insert_known(key, text, origin, None);
                }
                Some(text) if keys::find(key).is_some_and(Key::is_path) && !text.is_empty() => {
                    let path = file.beside(&text);
                    self.insert_known(key, path.display().to_string(), origin, None);
                }
                Some(text) => self.insert_known(key, text, origin, None),
                None => self.wrong_type(key, &origin, "a date"),
            },
        }
    }

    fn wrong_type(&mut self, key: &str, origin: &Origin, given: &str) {
        self.errors.push(ConfigError {
            place: origin.to_string(),
            key: key.to_owned(),
            problem: format!("is {given}; write a string, a number, true or false"),
        });
    }

    /// Reads a value from its `from_file`, relative to the configuration file.
    fn read_secret(&mut self, file: &ConfigFile<'_>, key: &str, path: &str, origin: Origin) {
        let path = file.beside(path);
        match read_secret(&path) {
            Ok(text) => {
                self.secret_files.insert(path.clone());
                self.insert_known(key, text, origin, Some(path));
            }
            Err(problem) => self.errors.push(ConfigError {
                place: origin.to_string(),
                key: key.to_owned(),
                problem,
            }),
        }
    }
}

/// Reads the value in a `from_file`, without one line end at its end.
pub(super) fn read_secret(path: &Path) -> Result<String, String> {
    let problem = match text::read(path) {
        Ok(text) => {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if !text.is_empty() {
                return Ok(text.to_owned());
            }
            "is empty; write the value in it".to_owned()
        }
        Err(error) => text::unreadable(&error, ""),
    };
    Err(format!("its from_file {} {problem}", path.display()))
}

fn line_of(text: &str, at: usize) -> usize {
    text[..text.floor_char_boundary(at)].matches('\n').count() + 1
}

/// Returns the path of `{ from_file = "path" }`.
fn from_file<'t>(table: &'t DeTable<'_>) -> Option<&'t str> {
    let mut members = table.iter();
    let (name, value) = members.next()?;
    let is_it = name.get_ref() == "from_file" && members.next().is_none();
    is_it.then(|| value.get_ref().as_str()).flatten()
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
