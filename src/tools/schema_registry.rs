//! Finds and registers the events' schema in a schema registry that has the API of Confluent's.

mod address;
mod client;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use uuid::Uuid;

pub use address::{Address, InvalidAddress};
pub use client::{Client, Credentials};

use crate::contract::LARGEST_SCHEMA_NUMBER;
use crate::contract::SchemaId;
use client::Answer;

/// The schema of the events' value in binary mode.
const EVENT: &str = include_str!("../../schemas/event.schema.json");
/// The most of a registry's message that is shown.
const SHOWN: usize = 500;

/// The error codes of a missing subject, and of a schema that the subject does not have.
const SUBJECT_NOT_FOUND: u32 = 40401;
const SCHEMA_NOT_FOUND: u32 = 40403;

/// Why a request to the registry failed.
#[derive(Debug, Error)]
pub enum RegistryError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {problem}", path.display())]
    Content {
        path: PathBuf,
        problem: &'static str,
    },
    #[error(
        "this system has no root certificates: {0}; name a file with them in --schema-registry-ca"
    )]
    NoRoots(String),
    #[error("it can't be reached: {0}")]
    Unreachable(io::Error),
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("it did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("the connection broke before its answer was complete: {0}")]
    Broken(String),
    #[error(
        "it refuses this client (401); put USER:PASSWORD in a file, and name the file with --schema-registry-credentials"
    )]
    Unauthorized,
    #[error("it denied the request (403): {0}")]
    Forbidden(String),
    #[error(
        "the schema is not compatible with the subject's (409): {0}; check the subject's versions and its compatibility"
    )]
    Incompatible(String),
    #[error("it does not accept the schema ({code}): {message}")]
    Invalid { code: u32, message: String },
    #[error("it answers {status}: {message}")]
    Refused { status: u16, message: String },
    #[error(
        "its answer ({0}) is not that of a schema registry; use the address of the registry's API, for example \
         http://registry:8081 or http://apicurio:8080/apis/ccompat/v7"
    )]
    NotARegistry(u16),
}

/// A schema in a registry.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Registered {
    id: u32,
    /// Missing if the registry has an older version of the API.
    guid: Option<Uuid>,
}

impl Registered {
    /// Returns the id for `kafka.schema_id`: the GUID, if the registry has given one.
    #[must_use]
    pub fn schema_id(self) -> SchemaId {
        self.guid.map_or(SchemaId::Number(self.id), SchemaId::Guid)
    }

    /// Returns whether `id` is one of its ids.
    #[must_use]
    pub fn has(self, id: SchemaId) -> bool {
        match id {
            SchemaId::Number(number) => number == self.id,
            SchemaId::Guid(guid) => Some(guid) == self.guid,
        }
    }
}

#[derive(Deserialize)]
struct Problem {
    error_code: u32,
    message: String,
}

/// Returns the events' schema under `subject`, if it is registered.
///
/// # Errors
/// Why the request failed.
pub async fn find(client: &Client, subject: &str) -> Result<Option<Registered>, RegistryError> {
    let answer = client.post(&format!("/subjects/{subject}"), body()).await?;
    match answer.problem() {
        Some(Problem {
            error_code: SUBJECT_NOT_FOUND | SCHEMA_NOT_FOUND,
            ..
        }) => Ok(None),
        _ => answer.registered().map(Some),
    }
}

/// Registers the events' schema under `subject`. If it is already registered there, the registry answers with its id.
///
/// # Errors
/// Why the request failed.
pub async fn register(client: &Client, subject: &str) -> Result<Registered, RegistryError> {
    let path = format!("/subjects/{subject}/versions");
    client.post(&path, body()).await?.registered()
}

fn body() -> String {
    json!({ "schemaType": "JSON", "schema": EVENT }).to_string()
}

impl Answer {
    fn problem(&self) -> Option<Problem> {
        if self.status < 400 {
            return None;
        }
        serde_json::from_slice(&self.body).ok()
    }

    fn registered(&self) -> Result<Registered, RegistryError> {
        let status = self.status;
        if status == 401 {
            return Err(RegistryError::Unauthorized);
        }
        if let Some(Problem {
            error_code: code,
            message,
        }) = self.problem()
        {
            let message = shown(&message);
            return Err(match status {
                403 => RegistryError::Forbidden(message),
                409 => RegistryError::Incompatible(message),
                422 => RegistryError::Invalid { code, message },
                status => RegistryError::Refused { status, message },
            });
        }
        let registered = serde_json::from_slice(&self.body).ok();
        let registered = registered.filter(|registered: &Registered| {
            (200..300).contains(&status) && (1..=LARGEST_SCHEMA_NUMBER).contains(&registered.id)
        });
        registered.ok_or(RegistryError::NotARegistry(status))
    }
}

/// Replaces control characters, which could steer a terminal, and cuts off a long message.
fn shown(message: &str) -> String {
    let message = message.chars().take(SHOWN);
    message
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
