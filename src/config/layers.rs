//! Gathers the settings from their layers: defaults, file, variables and flags, each overriding the one before. Only
//! the keys are checked here; the values are still text.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, ConfigErrors};
use super::keys::{self, KEYS, Kind, PROPERTIES, VARIABLE_PREFIX};
use super::{file, parse, properties, service_links, traces};

/// The sources of settings, except the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables; those without the prefix `KOOBRIDGE_` or `OTEL_` are ignored.
    pub variables: Vec<(OsString, OsString)>,
    /// Key and value of each flag.
    pub flags: Vec<(String, String)>,
}

/// The source of a setting.
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

/// One value as text, with its source.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) text: String,
    pub(super) origin: Origin,
    /// The `from_file` that it was read from, for example a mounted secret. Such a value is never printed.
    pub(super) from_file: Option<PathBuf>,
}

/// Every setting in force, and the errors that were found while gathering them.
#[derive(Clone, Default)]
pub struct Settings {
    pub(super) values: BTreeMap<String, Setting>,
    pub(super) errors: Vec<ConfigError>,
    /// The variables of OpenTelemetry.
    pub(super) opentelemetry: BTreeMap<String, String>,
    /// The files with secrets that were read.
    pub(super) secret_files: BTreeSet<PathBuf>,
    /// Whether the file could not be read, or is not TOML: some of its settings may be unknown.
    pub(super) is_incomplete: bool,
    /// Whether a configuration file was named.
    pub(super) has_file: bool,
}

impl Settings {
    /// Gathers the settings; [`super::Config::check`] returns the errors.
    #[must_use]
    pub fn gather(sources: &Sources) -> Self {
        let mut settings = Self {
            has_file: sources.file.is_some(),
            ..Self::default()
        };
        for key in KEYS {
            settings.insert_value(key.name, key.default.to_owned(), Origin::Default, None);
        }
        if let Some(path) = &sources.file {
            settings.read_file(path);
        }
        settings.read_variables(&sources.variables);
        for (name, value) in &sources.flags {
            settings.insert_known(name, value.clone(), Origin::Flag, None);
        }
        settings
    }

    /// Returns the channels' directory before it is checked, so that its errors can be reported together with the
    /// configuration's.
    #[must_use]
    pub fn channels_directory(&self) -> Option<&Path> {
        self.text("ingress.channels").map(Path::new)
    }

    /// Returns the address of the admin listener, even if other settings are wrong.
    ///
    /// # Errors
    /// If `admin.listen` is wrong.
    pub fn admin_listen(&self) -> Result<SocketAddr, ConfigErrors> {
        let key = "admin.listen";
        let text = self.text(key).expect("the key has a default");
        parse::address(text).map_err(|problem| {
            ConfigErrors(vec![ConfigError {
                place: self.source_of(key),
                key: key.to_owned(),
                problem,
            }])
        })
    }

    /// Returns whether the file could not be read, or is not TOML: some of its settings may be unknown.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    /// Returns the errors that were found while the settings were gathered.
    #[must_use]
    pub fn errors(&self) -> ConfigErrors {
        ConfigErrors(self.errors.clone())
    }

    /// Returns the directory of the spool before it is checked; `None` if there is no spool.
    #[must_use]
    pub fn spool_directory(&self) -> Option<&Path> {
        self.text("spool.directory")
            .filter(|text| !text.is_empty())
            .map(Path::new)
    }

    /// Returns every file that contains a secret. The configuration file is one if it contains a secret.
    pub fn secret_files(&self) -> impl Iterator<Item = &Path> {
        let keys = KEYS
            .iter()
            .filter(|key| matches!(key.kind, Kind::SecretFile));
        let named = keys.map(|key| key.name).chain(properties::SECRET_FILES);
        let named = named.filter_map(|name| self.text(name));
        let named = named.filter(|text| !text.is_empty()).map(Path::new);
        self.secret_files.iter().map(PathBuf::as_path).chain(named)
    }

    /// Returns the keys of the secrets that were given by a flag.
    pub fn secret_flags(&self) -> impl Iterator<Item = &str> {
        let flags = self.values.iter();
        let flags = flags.filter(|(_, setting)| setting.origin == Origin::Flag);
        let names = flags.map(|(name, _)| name.as_str());
        let is_secret = |name: &&str| {
            name.strip_prefix(PROPERTIES)
                .is_some_and(properties::is_secret)
        };
        names.filter(is_secret)
    }

    /// Returns `false` if an error may only follow from another one: if the file was not read or a key is unknown, a
    /// default may be wrong only because it was not replaced.
    pub(super) fn is_root_cause(&self, error: &ConfigError) -> bool {
        if self.is_incomplete {
            return self.errors.contains(error);
        }
        self.errors.is_empty() || !error.place.is_empty()
    }

    /// Returns whether the channels' directory is set, and is not the default.
    #[must_use]
    pub fn names_channels(&self) -> bool {
        !self.source_of("ingress.channels").is_empty()
    }

    /// Returns the files for TLS on the ingress before they are checked.
    pub fn tls_files(&self) -> impl Iterator<Item = &Path> {
        let names = KEYS.iter().map(|key| key.name);
        let names = names.filter(|name| name.starts_with("ingress.tls."));
        let texts = names.filter_map(|name| self.text(name));
        texts.filter(|text| !text.is_empty()).map(Path::new)
    }

    /// Returns the files whose changes Kafka's clients apply while the bridge serves: each `from_file` of a property,
    /// and the files and directories that properties name.
    pub fn kafka_files(&self) -> impl Iterator<Item = &Path> {
        let properties = self.values.iter();
        let properties = properties.filter(|(key, _)| key.starts_with(PROPERTIES));
        properties.filter_map(|(key, setting)| match &setting.from_file {
            Some(path) => Some(path.as_path()),
            None => properties::names_file(key).then(|| Path::new(&setting.text)),
        })
    }

    /// Returns these settings with the current contents of each `from_file` of Kafka's properties.
    #[must_use]
    pub fn with_kafka_files(&self) -> Self {
        let mut settings = self.clone();
        for (key, setting) in &mut settings.values {
            let Some(path) = setting.from_file.as_deref() else {
                continue;
            };
            // A pipe can't be read twice.
            let is_of_kafka = key.starts_with(PROPERTIES);
            if !is_of_kafka || fs::metadata(path).is_ok_and(|file| !file.is_file()) {
                continue;
            }
            match file::read_secret(path) {
                Ok(text) => setting.text = text,
                Err(problem) => settings.errors.push(ConfigError {
                    place: setting.origin.to_string(),
                    key: key.clone(),
                    problem,
                }),
            }
        }
        settings
    }

    /// Returns whether each `from_file` of Kafka's properties has the same contents in `other`.
    #[must_use]
    pub fn has_same_kafka_files(&self, other: &Self) -> bool {
        let read = |settings: &Self| -> BTreeMap<String, String> {
            let values = settings.values.iter();
            let read = values.filter(|(key, setting)| {
                key.starts_with(PROPERTIES) && setting.from_file.is_some()
            });
            read.map(|(key, setting)| (key.clone(), setting.text.clone()))
                .collect()
        };
        read(self) == read(other)
    }

    /// Returns the settings that a running bridge can apply: these for the keys that may change while it serves, and
    /// those of `start` for all other keys.
    #[must_use]
    pub fn with_restart_keys_of(&self, start: &Self) -> Self {
        let of = |settings: &Self, is_live: bool| {
            let values = settings.values.clone().into_iter();
            values.filter(move |(name, _)| keys::is_live(name) == is_live)
        };
        Self {
            values: of(self, true).chain(of(start, false)).collect(),
            errors: self.errors.clone(),
            opentelemetry: start.opentelemetry.clone(),
            secret_files: self.secret_files.clone(),
            is_incomplete: self.is_incomplete,
            has_file: self.has_file,
        }
    }

    /// Returns the keys that differ from `before` and need a restart. New contents of a `from_file` of Kafka's
    /// properties need none.
    #[must_use]
    pub fn changed_for_restart<'a>(&'a self, before: &'a Self) -> Vec<&'a str> {
        let names: BTreeSet<&String> = self.values.keys().chain(before.values.keys()).collect();
        let names = names.into_iter().map(String::as_str);
        let path = |settings: &'a Self, name: &str| {
            let setting = settings.values.get(name)?;
            let path = setting.from_file.as_deref();
            path.filter(|_| name.starts_with(PROPERTIES))
        };
        let is_other = |name: &str| match (path(self, name), path(before, name)) {
            (Some(now), Some(then)) => now != then,
            _ => self.text(name) != before.text(name),
        };
        names
            .filter(|name| !keys::is_live(name) && is_other(name))
            .collect()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|setting| setting.text.as_str())
    }

    /// Returns the source of a key's value; empty for a default.
    pub(super) fn source_of(&self, name: &str) -> String {
        match self.values.get(name).map(|setting| &setting.origin) {
            None | Some(Origin::Default) => String::new(),
            Some(origin) => origin.to_string(),
        }
    }

    fn read_variables(&mut self, variables: &[(OsString, OsString)]) {
        for (variable, value) in variables {
            let (variable, text) = (&*variable.to_string_lossy(), value.to_string_lossy());
            if variable.starts_with(traces::PREFIX) {
                let (variable, text) = (variable.to_owned(), text.into_owned());
                self.opentelemetry.insert(variable, text);
                continue;
            }
            let is_ours = variable.starts_with(VARIABLE_PREFIX)
                && !keys::OTHER_VARIABLES.contains(&variable)
                && !service_links::is_service_link(variable, &text);
            if !is_ours {
                continue;
            }
            let origin = Origin::Variable(variable.to_owned());
            match keys::key_of_variable(variable) {
                Some(name) if value.to_str().is_none() => self.errors.push(ConfigError {
                    place: origin.to_string(),
                    key: name,
                    problem: "is not UTF-8 text".to_owned(),
                }),
                Some(name) => self.insert_known(&name, text.into_owned(), origin, None),
                None => self.unknown_variable(variable),
            }
        }
    }

    fn unknown_variable(&mut self, variable: &str) {
        let known: Vec<String> = KEYS.iter().map(|key| keys::variable(key.name)).collect();
        let nearest = keys::nearest(variable, known.iter().map(String::as_str));
        self.errors.push(ConfigError {
            place: variable.to_owned(),
            key: String::new(),
            problem: unknown("variable", nearest),
        });
    }

    /// Stores a value; an unknown key is an error.
    pub(super) fn insert_known(
        &mut self,
        name: &str,
        text: String,
        origin: Origin,
        from_file: Option<PathBuf>,
    ) {
        if !keys::is_key(name) {
            let nearest = keys::nearest(name, KEYS.iter().map(|key| key.name));
            self.errors.push(ConfigError {
                place: origin.to_string(),
                key: name.to_owned(),
                problem: unknown("key", nearest),
            });
            return;
        }
        self.insert_value(name, text, origin, from_file);
    }

    fn insert_value(
        &mut self,
        name: &str,
        text: String,
        origin: Origin,
        from_file: Option<PathBuf>,
    ) {
        let name = match name.strip_prefix(PROPERTIES) {
            Some(property) => format!("{PROPERTIES}{}", properties::canonical(property)),
            None => name.to_owned(),
        };
        if self
            .values
            .get(&name)
            .is_some_and(|before| is_same_layer(&before.origin, &origin))
        {
            self.errors.push(ConfigError {
                place: origin.to_string(),
                key: name.clone(),
                problem: "is set twice, perhaps under an alias; keep one".to_owned(),
            });
        }
        self.values.insert(
            name,
            Setting {
                text,
                origin,
                from_file,
            },
        );
    }
}

fn unknown(kind: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("unknown {kind}; did you mean {nearest}?"),
        None => {
            format!("unknown {kind}; `koobridge serve --print-config` lists the known ones")
        }
    }
}

fn is_same_layer(one: &Origin, other: &Origin) -> bool {
    match (one, other) {
        // A flag such as --log may repeat a key of --set.
        (Origin::Flag, Origin::Flag) => false,
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}
