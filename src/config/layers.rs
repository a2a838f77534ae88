//! What was typed, from every place where it can be: defaults, file, variables, flags, each over
//! the one before. A value is still text here; only its key has been looked at.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS, PROPERTIES, VARIABLE_PREFIX};
use super::mistake::Mistake;
use super::properties;

/// Everything that can carry a setting, beside the defaults.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables; those without the prefix `KOOBRIDGE_` are passed over.
    pub variables: Vec<(String, String)>,
    /// Key and value of each flag.
    pub flags: Vec<(String, String)>,
}

/// Where a setting was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Variable(String),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// One value as text, and where it was typed.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) text: String,
    pub(super) origin: Origin,
    /// Read from a file of its own, as mounted secrets are: never printed.
    pub(super) is_secret: bool,
}

/// Every setting in force, and what was wrong on the way to them.
#[derive(Default)]
pub struct Settings {
    pub(super) values: BTreeMap<String, Setting>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Settings {
    /// Gathers what was typed; mistakes are kept for [`super::Config::check`].
    #[must_use]
    pub fn gather(typed: &Typed) -> Self {
        let mut settings = Self::default();
        for key in KEYS {
            if let Some(default) = key.default {
                settings.put(key.name, default.to_owned(), Origin::Default, false);
            }
        }
        if let Some(path) = &typed.file {
            settings.read_file(path);
        }
        settings.read_variables(&typed.variables);
        for (name, value) in &typed.flags {
            settings.put_known(name, value.clone(), Origin::Flag, false);
        }
        settings
    }

    /// The directory of passwords as it was typed, so that its mistakes can be named together with
    /// the configuration's.
    #[must_use]
    pub fn channels_directory(&self) -> Option<&Path> {
        self.text("ingress.channels").map(Path::new)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|setting| setting.text.as_str())
    }

    /// Where a key was typed, in words.
    pub(super) fn place(&self, name: &str) -> String {
        match self.values.get(name).map(|setting| &setting.origin) {
            None | Some(Origin::Default) => String::new(),
            Some(origin) => origin.to_string(),
        }
    }

    fn read_variables(&mut self, variables: &[(String, String)]) {
        for (variable, value) in variables {
            let is_ours = variable.starts_with(VARIABLE_PREFIX)
                && !keys::OTHER_VARIABLES.contains(&variable.as_str())
                && !keys::is_service_link(variable);
            if !is_ours {
                continue;
            }
            let origin = Origin::Variable(variable.clone());
            match keys::key_of_variable(variable) {
                Some(name) => self.put_known(&name, value.clone(), origin, false),
                None => self.unknown_variable(variable),
            }
        }
    }

    fn unknown_variable(&mut self, variable: &str) {
        let known: Vec<String> = KEYS.iter().map(|key| keys::variable(key.name)).collect();
        let nearest = keys::nearest(variable, known.iter().map(String::as_str));
        self.mistakes.push(Mistake {
            place: variable.to_owned(),
            key: String::new(),
            problem: unknown("variable", nearest),
        });
    }

    /// Puts a value if its key is known; else that is a mistake.
    fn put_known(&mut self, name: &str, text: String, origin: Origin, is_secret: bool) {
        if !keys::is_key(name) {
            let nearest = keys::nearest(name, KEYS.iter().map(|key| key.name));
            self.mistakes.push(Mistake {
                place: origin.to_string(),
                key: name.to_owned(),
                problem: unknown("key", nearest),
            });
            return;
        }
        self.put(name, text, origin, is_secret);
    }

    fn put(&mut self, name: &str, text: String, origin: Origin, is_secret: bool) {
        let name = match name.strip_prefix(PROPERTIES) {
            Some(property) => format!("{PROPERTIES}{}", properties::canonical(property)),
            None => name.to_owned(),
        };
        if self
            .values
            .get(&name)
            .is_some_and(|before| is_same_layer(&before.origin, &origin))
        {
            self.mistakes.push(Mistake {
                place: origin.to_string(),
                key: name.clone(),
                problem: "is given twice, perhaps by another of its names; keep one".to_owned(),
            });
        }
        self.values.insert(
            name,
            Setting {
                text,
                origin,
                is_secret,
            },
        );
    }

    fn read_file(&mut self, path: &Path) {
        let mistake = |line: Option<usize>, problem| Mistake {
            place: match line {
                Some(line) => format!("{}:{line}", path.display()),
                None => path.display().to_string(),
            },
            key: String::new(),
            problem,
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let problem = format!("can't be read: {error}; name another file with --config");
                return self.mistakes.push(mistake(None, problem));
            }
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let line = error.span().map(|span| line_of(&text, span.start));
            self.mistakes
                .push(mistake(line, format!("is not TOML: {}", error.message())));
        }
        self.read_table(&File { path, text: &text }, "", table.get_ref());
    }

    fn read_table(&mut self, file: &File<'_>, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = match prefix {
                "" => name.get_ref().to_string(),
                prefix => format!("{prefix}.{}", name.get_ref()),
            };
            self.read_value(file, &key, name.span().start, value);
        }
    }

    fn read_value(&mut self, file: &File<'_>, key: &str, at: usize, value: &Spanned<DeValue<'_>>) {
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
                    Some(texts) => self.put_known(key, texts.join(","), origin, false),
                    None => self.wrong_type(key, &origin, "an array of arrays or tables"),
                }
            }
            value => match scalar(value) {
                Some(text) if keys::PATHS.contains(&key) => {
                    let path = file.beside(&text);
                    self.put_known(key, path.display().to_string(), origin, false);
                }
                Some(text) => self.put_known(key, text, origin, false),
                None => self.wrong_type(key, &origin, "a date"),
            },
        }
    }

    fn wrong_type(&mut self, key: &str, origin: &Origin, given: &str) {
        self.mistakes.push(Mistake {
            place: origin.to_string(),
            key: key.to_owned(),
            problem: format!("is {given}; write a string, a number, true or false"),
        });
    }

    /// Takes a value from a file of its own, relative to the configuration's; one line end at its
    /// end is not part of it.
    fn read_secret(&mut self, file: &File<'_>, key: &str, path: &str, origin: Origin) {
        let path = file.beside(path);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                self.put_known(key, text.to_owned(), origin, true);
            }
            Err(error) => self.mistakes.push(Mistake {
                place: origin.to_string(),
                key: key.to_owned(),
                problem: format!("its from_file {} can't be read: {error}", path.display()),
            }),
        }
    }
}

/// The file that is being read.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    /// A path that is typed in the file, relative to it.
    fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

fn unknown(what: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("unknown {what}; did you mean {nearest}?"),
        None => {
            format!("unknown {what}; `koobridge serve --print-config` lists those that there are")
        }
    }
}

fn is_same_layer(one: &Origin, other: &Origin) -> bool {
    match (one, other) {
        // The command's own flags are laid over --set.
        (Origin::Flag, Origin::Flag) => false,
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..text.floor_char_boundary(at)].matches('\n').count() + 1
}

/// The path of `{ from_file = "path" }`.
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
