//! The admin client of rdkafka, which ends the process if the system has no thread for it.

use std::io;
use std::thread;

use parking_lot::Mutex;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig as _;

use super::client_error::ClientError;

/// Threads that an admin client has before it asks anything: its own, two of librdkafka's, and one for each address of
/// `bootstrap.servers`.
fn threads(config: &ClientConfig) -> usize {
    let addresses = config.get("bootstrap.servers").unwrap_or_default();
    3 + addresses.split(',').count()
}

/// Starts an admin client.
///
/// # Errors
/// If the system has too few threads left, or librdkafka refuses the settings as a whole.
pub(super) fn admin_client(
    config: &ClientConfig,
) -> Result<AdminClient<DefaultClientContext>, ClientError> {
    start_threads(threads(config))?;
    Ok(AdminClient::from_config(config)?)
}

/// Starts as many threads as a client needs, all at once, and ends them. Another process can still take the last ones
/// before the client starts its own.
fn start_threads(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    let wait = || drop(gate.lock());
    thread::scope(|scope| {
        let held = gate.lock();
        let start = |_| thread::Builder::new().spawn_scoped(scope, wait).map(drop);
        let started = (0..count).try_for_each(start);
        drop(held);
        started
    })
}
