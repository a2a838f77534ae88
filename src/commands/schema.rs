//! Shows or registers the events' schema in a schema registry, for `koobridge topics`.

use anyhow::Context as _;

use super::Output;
use crate::cli::Topics;
use crate::config;
use crate::contract::{EventMode, SchemaId};
use crate::tools::schema_registry::{Address, Client, Credentials, Registered, find, register};
use crate::tools::usage_error;

const STRUCTURED: &str = "the registered schema is for binary mode, and kafka.event_mode is structured; leave \
                          --schema-registry out";

/// A requested registration.
pub(super) struct Registration {
    client: Client,
    address: Address,
    subject: String,
    configured: Option<SchemaId>,
}

impl Registration {
    /// Returns the registration if `--schema-registry` was given.
    pub(super) fn of(args: &Topics, config: &config::Kafka) -> anyhow::Result<Option<Self>> {
        let Some(url) = &args.schema_registry else {
            return Ok(None);
        };
        let wrong = |why: &str| usage_error(&format!("--schema-registry: {why}"));
        let address: Address = url.parse().map_err(|why| wrong(&format!("{why}")))?;
        if config.event_format.mode == EventMode::Structured {
            return Err(wrong(STRUCTURED));
        }
        let credentials = args.schema_registry_credentials.as_deref();
        let credentials = credentials.map(Credentials::read).transpose();
        let credentials = credentials.map_err(|why| usage_error(&why.to_string()))?;
        let client = Client::new(
            address.clone(),
            credentials,
            args.schema_registry_ca.as_deref(),
        );
        Ok(Some(Self {
            client: client.map_err(|why| usage_error(&why.to_string()))?,
            address,
            // The name that Confluent's clients use (their TopicNameStrategy).
            subject: format!("{}-value", config.topic),
            configured: config.event_format.schema_id,
        }))
    }

    /// Shows the registration, and makes it if `apply` is set. Returns whether it still has to be made.
    pub(super) async fn run(&self, apply: bool, out: &mut Output) -> anyhow::Result<bool> {
        let Self {
            client, subject, ..
        } = self;
        let found = find(client, subject).await;
        let found = found.with_context(|| self.location())?;
        if let Some(registered) = found {
            out.line(format_args!("{subject}: nothing to change"));
            self.show(registered, out);
            return Ok(false);
        }
        out.line(format_args!(
            "{subject}: register the events' JSON schema at {}",
            self.address
        ));
        if !apply {
            return Ok(true);
        }
        let registered = register(client, subject).await;
        let registered = registered.with_context(|| self.location())?;
        out.line(format_args!("{subject}: done"));
        self.show(registered, out);
        Ok(false)
    }

    fn location(&self) -> String {
        format!("the schema registry at {}", self.address)
    }

    fn show(&self, registered: Registered, out: &mut Output) {
        let subject = &self.subject;
        if self.configured.is_some_and(|id| registered.has(id)) {
            out.line(format_args!("{subject}: kafka.schema_id is set to it"));
            return;
        }
        out.line(format_args!(
            "{subject}: add to the section [kafka] of the bridge's configuration: schema_id = \"{}\"",
            registered.schema_id()
        ));
    }
}
