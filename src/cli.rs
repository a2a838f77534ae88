//! What can be typed on the command line.

mod consume;
mod health;
mod topics;

use std::net::SocketAddr;
use std::num::{IntErrorKind, ParseIntError};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub use consume::{Filters, RangeArgs, Redrive, Replay, RunArgs, Tail, ToKafka};
use consume::{REDRIVE_HELP, REPLAY_HELP, TAIL_HELP};
use health::HEALTH_HELP;
pub use health::Health;
use topics::TOPICS_HELP;
pub use topics::Topics;

use crate::config;

/// A webhook-to-Kafka bridge for KooMessage WhatsApp status reports.
#[derive(Debug, Parser)]
#[command(
    name = "koobridge",
    version,
    about = "A webhook-to-Kafka bridge for KooMessage WhatsApp status reports",
    long_about = "A webhook-to-Kafka bridge for KooMessage WhatsApp status reports.\n\n\
        KooMessage POSTs a status report for each message sent. koobridge authenticates and \
        validates each report, publishes a normalised event keyed by message_id to a Kafka topic, \
        and answers 200 only when Kafka has it, or its own spool while Kafka is away.",
    after_help = "Try it: `koobridge dev` needs no Kafka and no configuration.",
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, one file each in `commands/`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the bridge against a Kafka cluster
    #[command(after_long_help = SERVE_HELP)]
    Serve(Serve),
    /// Try the whole bridge on an embedded in-memory broker: no Kafka, no configuration
    #[command(after_long_help = DEV_HELP)]
    Dev(Dev),
    /// Find what is wrong with the configuration, this machine and Kafka, before going live
    #[command(after_long_help = CHECK_HELP)]
    Check(Check),
    /// Ask a running bridge whether it is well: for health checks of containers and exec probes
    #[command(after_long_help = HEALTH_HELP)]
    Health(Health),
    /// Show which topics and settings are missing, or create them: the bridge's, or the target of a replay
    #[command(after_long_help = TOPICS_HELP)]
    Topics(Topics),
    /// Watch events as they come, or rejected reports
    #[command(after_long_help = TAIL_HELP)]
    Tail(Tail),
    /// Publish a range of events again: to a topic, or as lines
    #[command(after_long_help = REPLAY_HELP)]
    Replay(Replay),
    /// Try rejected reports again, and publish those that are good today
    #[command(after_long_help = REDRIVE_HELP)]
    Redrive(Redrive),
    /// Show the reports that a bridge keeps on disk, or deliver them
    Spool(Spool),
    /// Print what a shell needs to complete what is typed
    #[command(after_long_help = COMPLETIONS_HELP)]
    Completions(Completions),
}

/// `koobridge check`
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration, a TOML file
    #[arg(long, value_name = "FILE", env = "KOOBRIDGE_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub overrides: Overrides,
    /// Publish one marked record to each topic, which subscribers pass over
    #[arg(long)]
    pub probe: bool,
    /// Warnings count: exit code 1
    #[arg(long)]
    pub strict: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `koobridge completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// `koobridge serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration, a TOML file
    #[arg(long, value_name = "FILE", env = "KOOBRIDGE_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogForm,
    #[command(flatten)]
    pub overrides: Overrides,
    /// Show every setting in force and where it was typed, then stop; secrets stay hidden
    #[arg(long)]
    pub print_config: bool,
}

/// `koobridge dev`
#[derive(Debug, Args)]
pub struct Dev {
    /// Where senders reach the bridge; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:18446")]
    pub listen: SocketAddr,
    /// Where the status page, probes and metrics are; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = config::default("admin.listen"))]
    pub admin_listen: SocketAddr,
    #[command(flatten)]
    pub log: LogForm,
    #[command(flatten)]
    pub overrides: Overrides,
}

/// `koobridge spool`
#[derive(Debug, Args)]
pub struct Spool {
    #[command(subcommand)]
    pub command: SpoolCommand,
}

/// What can be done with a spool.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// Count what is in it, by topic and partition; the bridge may be running
    Status(SpoolStatus),
    /// Print every report in it, one JSON object a line; the bridge may be running
    Export(SpoolExport),
    /// Deliver what is in it, as the bridge would; for a spool whose bridge is gone
    #[command(after_long_help = DRAIN_HELP)]
    Drain(SpoolDrain),
}

/// `koobridge spool status`
#[derive(Debug, Args)]
pub struct SpoolStatus {
    #[command(flatten)]
    pub location: SpoolLocation,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `koobridge spool export`
#[derive(Debug, Args)]
pub struct SpoolExport {
    #[command(flatten)]
    pub location: SpoolLocation,
    /// Print what can be read of damaged files that were set aside; most of it was delivered
    #[arg(long)]
    pub set_aside: bool,
}

/// Where a spool is.
#[derive(Debug, Args)]
pub struct SpoolLocation {
    /// The configuration that names the spool, a TOML file
    #[arg(long, value_name = "FILE", env = "KOOBRIDGE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The spool's directory, if there is no configuration
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
}

/// `koobridge spool drain`
#[derive(Debug, Args)]
pub struct SpoolDrain {
    /// The configuration, a TOML file: Kafka, the topics, and the spool
    #[arg(long, value_name = "FILE", env = "KOOBRIDGE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Another spool's directory
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Settings that are laid over everything else.
#[derive(Clone, Debug, Default, Args)]
pub struct Overrides {
    /// Set a key of the configuration, for example ingress.deadline=3s; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

/// How a bridge logs.
#[derive(Clone, Debug, Default, Args)]
pub struct LogForm {
    /// The form of the log: auto (text on a terminal, else JSON), text or json
    #[arg(id = "log", long = "log", value_name = "FORMAT")]
    pub format: Option<String>,
}

impl LogForm {
    /// The setting that this is short for.
    pub fn setting(&self) -> Option<(String, String)> {
        let format = self.format.clone()?;
        Some(("log.format".to_owned(), format))
    }
}

/// Parses a number that can't be zero.
fn from_one<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| {
        match error.kind() {
            IntErrorKind::PosOverflow => "that is too large",
            _ => "write a whole number from 1",
        }
        .to_owned()
    })
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        None => Err("write KEY=VALUE, for example ingress.deadline=3s".to_owned()),
    }
}

const SERVE_HELP: &str = "\
A small configuration:

  [ingress]
  listen = \"127.0.0.1:18446\"
  channels = \"/etc/koobridge/channels\"    # one file a channel, named by its id: its password
  [kafka.properties]
  bootstrap.servers = \"kafka-1:9092,kafka-2:9092\"
  [spool]
  directory = \"/var/lib/koobridge/spool\"   # keeps reports while Kafka is away

Each key has a variable (KOOBRIDGE_INGRESS_LISTEN; linger.ms under [kafka.properties] is
KOOBRIDGE_KAFKA_PROPERTIES_LINGER_MS) and can be set by --set. A flag goes over a variable, a
variable over the file. --print-config shows what is in force.

The topics (koomessage.reports and koomessage.reports.rejected) must exist: koobridge creates none.

SIGTERM or Ctrl-C stops it in good order; a second one at once.
Exit codes: 0 stopped in good order, 1 could not run or was stopped at once, 2 the configuration
or the command line is wrong, 3 stopped with reports that Kafka does not have yet: in the spool, or,
without one, in none and promised to nobody; also if the spool was not counted yet, or the next start
delivers some again.";

const DEV_HELP: &str = "\
It listens for the demo channel 202105102694809992 with the password koobridge-dev, prints a curl
command that sends it a report, and then one line for each event, read back from the topic. Other
Kafka clients on this machine can read the topic too. Everything is in memory and gone at the end:
Ctrl-C.";

const CHECK_HELP: &str = "\
Each line is one finding: ok, warn or fail, what it is about, what is so, what to do, and where to read
on. Run it where the bridge runs and as its user: what can be read, written and reached is looked at from
there. Nothing is changed, but for the records that --probe publishes; it may run beside the bridge.
Exit codes: 0 nothing to mend, 1 warnings and --strict, 2 something to mend.";

const COMPLETIONS_HELP: &str = "\
bash:  koobridge completions bash > /usr/share/bash-completion/completions/koobridge
zsh:   koobridge completions zsh > /usr/local/share/zsh/site-functions/_koobridge
fish:  koobridge completions fish > ~/.config/fish/completions/koobridge.fish";

const DRAIN_HELP: &str = "\
It delivers until the spool is empty, however long Kafka takes; Ctrl-C or SIGTERM stops it, a second one at
once, and what is left stays. It needs nothing of the ingress, and no file if --directory names the spool:
  koobridge spool drain --directory /mnt/spool --set kafka.properties.bootstrap.servers=kafka-1:9092
A spool belongs to one process: it is refused while its bridge runs, which drains it by itself.
Exit codes: 0 the spool is empty but for quarantined reports, 1 could not run or was stopped at once, 2 the
configuration or the command line is wrong, 3 reports are left: it was stopped, their topic is not configured, or
the disk does not let them be deleted.";
