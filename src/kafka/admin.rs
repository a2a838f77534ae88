//! Starts rdkafka's admin client, which aborts the process when the system can't start its thread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigEntry, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig as _;

use super::client_error::ClientError;
use super::topic_metadata::error_message;

/// The time the system may take to remove finished threads.
const REMOVAL_LIMIT: Duration = Duration::from_secs(1);

/// The number of brokers, each with a thread, that a client may learn of before its own thread has started.
const EXTRA_BROKERS: usize = 8;

/// Returns the number of threads that an admin client may need until its own thread has started: that thread, two of
/// librdkafka, and one for each address of `bootstrap.servers` and each broker that it learns of.
fn threads(config: &ClientConfig) -> usize {
    let addresses = config.get("bootstrap.servers").unwrap_or_default();
    3 + addresses.split(',').count() + EXTRA_BROKERS
}

/// Starts an admin client.
///
/// # Errors
/// If the system can't start enough threads, or librdkafka rejects the settings.
pub(super) fn admin_client(
    config: &ClientConfig,
) -> Result<AdminClient<DefaultClientContext>, ClientError> {
    start_threads(threads(config))?;
    Ok(AdminClient::from_config(config)?)
}

/// Returns the options for a request with the timeout `patience`.
pub(super) fn options(patience: Duration) -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(patience))
        .operation_timeout(Some(patience))
}

/// Returns the settings of a topic; `None` if Kafka does not show them to this client.
///
/// # Errors
/// Kafka's error message.
pub(super) async fn topic_settings(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    patience: Duration,
) -> Result<Option<Vec<ConfigEntry>>, String> {
    let resource = [ResourceSpecifier::Topic(topic)];
    let answers = admin.describe_configs(&resource, &options(patience)).await;
    let answer = answers
        .map_err(|error| error_message(&error))?
        .into_iter()
        .next();
    match answer {
        // When access is denied, rdkafka drops the error and returns no entries.
        None => Ok(None),
        Some(Ok(resource)) if resource.entries.is_empty() => Ok(None),
        Some(Ok(resource)) => Ok(Some(resource.entries)),
        Some(Err(code)) => Err(code.to_string()),
    }
}

/// Starts `count` threads at the same time and ends them, to check that the system allows them. Another process can
/// still take the last ones before the client starts its own.
fn start_threads(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    let started = Mutex::new(Vec::new());
    let wait = || {
        drop(gate.lock());
        started.lock().push(fs::read_link("/proc/thread-self"));
    };
    thread::scope(|scope| {
        let held = gate.lock();
        let start = |_| thread::Builder::new().spawn_scoped(scope, wait).map(drop);
        let started = (0..count).try_for_each(start);
        drop(held);
        started
    })?;
    // A finished thread counts towards the limit until the system has removed it.
    let is_counted = |thread: &PathBuf| Path::new("/proc").join(thread).exists();
    let threads: Vec<_> = started.into_inner().into_iter().flatten().collect();
    let until = Instant::now() + REMOVAL_LIMIT;
    while threads.iter().any(is_counted) && Instant::now() < until {
        thread::park_timeout(Duration::from_millis(1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_answer_differs_from_denied_access() {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1");
        let admin = admin_client(&config).expect("a client");
        let answer = topic_settings(&admin, "t", Duration::from_millis(50)).await;
        assert_eq!(answer.err().as_deref(), Some("no answer in time"));
    }
}
