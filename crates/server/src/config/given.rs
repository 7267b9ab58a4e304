//! What flags, environment and file say about settings, and who wins.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    table::{SETTINGS, Setting},
    value::Value,
};

/// The largest file of settings that is read: a mistaken path must not fill the memory.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a value comes from. The order is that of precedence: later ones win.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// The file of `--config`.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// Why settings were refused. The text names the setting, its value, its origin, and what is allowed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A value is not of the setting's type or out of its range.
    #[error("setting {name}: {value:?} (from {origin}) is not allowed; allowed is {allowed}")]
    Value {
        /// The setting.
        name: &'static str,
        /// The text that was given.
        value: String,
        /// Who gave it.
        origin: Origin,
        /// What would have been accepted.
        allowed: String,
    },
    /// Two values do not go together.
    #[error("setting {name}: {value:?} (from {origin}) is not allowed; {reason}")]
    Relation {
        /// The setting that is to be changed.
        name: &'static str,
        /// Its value.
        value: String,
        /// Who gave it.
        origin: Origin,
        /// The other setting, and the relation that must hold.
        reason: String,
    },
    /// The file names a setting that does not exist.
    #[error("file {}: there is no setting {name:?}{}", path.display(), hint(name))]
    UnknownName {
        /// The file.
        path: PathBuf,
        /// The name it uses.
        name: String,
    },
    /// The file cannot be read, or is not TOML.
    #[error("file {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The names of settings that look like `name`, as the rest of a sentence.
fn hint(name: &str) -> String {
    let wanted = name.replace('_', "-").to_ascii_lowercase();
    let alike = |setting: &&Setting| setting.name.contains(&wanted) || wanted.contains(setting.name);
    SETTINGS.iter().find(alike).map_or_else(
        || "; `quorate serve --help` lists them all".to_owned(),
        |setting| format!("; did you mean {:?}?", setting.name),
    )
}

/// The text of each setting that somebody gave, with its origin.
#[derive(Clone, Debug, Default)]
pub struct Given(BTreeMap<&'static str, (String, Origin)>);

impl Given {
    /// Adds a value, unless one of higher precedence is there.
    pub fn add(&mut self, setting: &'static Setting, text: String, origin: Origin) {
        let present = self.0.get(setting.name);
        if present.is_none_or(|(_, other)| *other <= origin) {
            self.0.insert(setting.name, (text, origin));
        }
    }

    /// Adds what the environment says, `lookup` being asked for each variable. An empty variable says nothing.
    pub fn add_environment(&mut self, lookup: impl Fn(&str) -> Option<String>) {
        for setting in SETTINGS {
            let variable = setting.variable();
            if let Some(text) = lookup(&variable).filter(|text| !text.is_empty()) {
                self.add(setting, text, Origin::Variable(variable));
            }
        }
    }

    /// Adds what the TOML file at `path` says.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, or names something that is no setting.
    pub fn add_file(&mut self, path: &Path) -> Result<(), Refusal> {
        let refuse = |reason: String| Refusal::File { path: path.to_owned(), reason };
        let length = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
        if length > FILE_BYTES_MAX {
            return Err(refuse(format!("{length} bytes are too many for settings")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        let table: toml::Table = toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        for (name, value) in table {
            let setting = Setting::named(&name)
                .ok_or_else(|| Refusal::UnknownName { path: path.to_owned(), name: name.clone() })?;
            let text = plain_text(&value).ok_or_else(|| Refusal::Value {
                name: setting.name,
                value: value.to_string(),
                origin: Origin::File(path.to_owned()),
                allowed: (setting.allowed)(),
            })?;
            self.add(setting, text, Origin::File(path.to_owned()));
        }
        Ok(())
    }

    /// The text and the origin of a setting's value.
    #[must_use]
    pub fn text(&self, name: &str) -> (&str, Origin) {
        let default = || Setting::named(name).map_or("", |setting| setting.default);
        self.0
            .get(name)
            .map_or_else(|| (default(), Origin::Default), |(text, origin)| (text.as_str(), origin.clone()))
    }

    /// Puts another text in the place of a setting's, its origin staying what it was.
    pub(super) fn replace(&mut self, name: &'static str, text: String) {
        let (_, origin) = self.text(name);
        self.0.insert(name, (text, origin));
    }

    /// The value of the setting called `name`.
    pub(super) fn read<V: Value>(&self, name: &'static str, allowed: &V::Allowed) -> Result<V, Refusal> {
        let (text, origin) = self.text(name);
        V::read(text, allowed).ok_or_else(|| Refusal::Value {
            name,
            value: text.to_owned(),
            origin,
            allowed: allowed.to_string(),
        })
    }
}

/// A TOML value as the text that a flag would have; a table is a list of `key=value`.
fn plain_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Table(table) => {
            let pairs = table.iter().map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
            pairs.collect::<Option<Vec<_>>>().map(|pairs| pairs.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) => None,
    }
}
