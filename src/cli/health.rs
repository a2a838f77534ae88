//! The options of `koobridge health`.

use std::path::PathBuf;

use clap::Args;

use crate::tools::health::Target;

/// `koobridge health`
#[derive(Debug, Args)]
pub struct Health {
    /// The URL to request.
    #[arg(value_name = "URL", help = URL_HELP)]
    pub target: Option<Target>,
    /// The configuration with admin.listen, a TOML file; not read if the URL names a host
    #[arg(long, value_name = "FILE", env = "KOOBRIDGE_CONFIG")]
    pub config: Option<PathBuf>,
}

const URL_HELP: &str = "The URL to request: http://HOST[:PORT][/PATH], HOST:PORT[/PATH], or a /PATH at the configured \
                        admin.listen, such as /livez. The default path is /readyz";

pub(super) const HEALTH_HELP: &str = "\
It sends one request, gives up after 2 seconds, and prints one line.
  koobridge health           requests /readyz: can the bridge accept reports? For traffic and start-up order
  koobridge health /livez    does the process answer? For probes that restart it

Without a host, it uses admin.listen of the configuration (KOOBRIDGE_ADMIN_LISTEN overrides the file), by
default 127.0.0.1:18447. If that address is a wildcard such as 0.0.0.0, it uses loopback. It ignores
other errors in the configuration, because they do not affect the running bridge until it restarts.
Exit codes: 0 the answer is 200, 1 another answer or none, 2 the command line or admin.listen is wrong.";
