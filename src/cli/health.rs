//! The options of `koobridge health`.

use std::path::PathBuf;

use clap::Args;

use crate::tools::health::Target;

/// `koobridge health`
#[derive(Debug, Args)]
pub struct Health {
    /// Where to ask.
    #[arg(value_name = "URL", help = URL_HELP)]
    pub target: Option<Target>,
    /// The configuration that has admin.listen, a TOML file; not read if the URL names the host
    #[arg(long, value_name = "FILE", env = "KOOBRIDGE_CONFIG")]
    pub config: Option<PathBuf>,
}

const URL_HELP: &str = "Where to ask: http://HOST[:PORT][/PATH], HOST:PORT[/PATH], or a /PATH at the configured \
                        admin.listen, such as /livez. Without a path: /readyz";

pub(super) const HEALTH_HELP: &str = "\
For health checks of containers and exec probes: it asks once, gives up after 2 seconds, and prints one line.
  koobridge health           /readyz: whether the bridge can take reports; for traffic and start-up order
  koobridge health /livez    whether the process answers; for everything that restarts it

Without a host it asks at admin.listen of the configuration (KOOBRIDGE_ADMIN_LISTEN goes over the file), by
default 127.0.0.1:18447; if that is every address of the machine, at loopback. Other errors in the configuration
do not count: the bridge that runs was started before them.
Exit codes: 0 the answer is 200, 1 another answer or none, 2 the command line or admin.listen is wrong.";
