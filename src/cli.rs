//! The command line: its commands, options and help.

mod consume;
mod health;
mod topics;

use std::net::SocketAddr;
use std::num::{IntErrorKind, ParseIntError};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub use consume::{Filters, KafkaArgs, RangeArgs, Redrive, Replay, RunArgs, Tail};
use consume::{REDRIVE_HELP, REPLAY_HELP, TAIL_HELP};
use health::HEALTH_HELP;
pub use health::Health;
use topics::TOPICS_HELP;
pub use topics::Topics;

use crate::config::{self, parse};

/// A webhook-to-Kafka bridge for KooMessage WhatsApp status reports.
#[derive(Debug, Parser)]
#[command(
    name = "koobridge",
    version,
    about = "A webhook-to-Kafka bridge for KooMessage WhatsApp status reports",
    long_about = "A webhook-to-Kafka bridge for KooMessage WhatsApp status reports.\n\n\
        KooMessage POSTs a status report for each message sent. koobridge authenticates and \
        validates each report, publishes a normalised event keyed by message_id to a Kafka topic, \
        and answers 200 only when Kafka or, while Kafka is unavailable, the spool on disk has stored the event.",
    after_help = "Try it: `koobridge dev` needs no Kafka and no configuration.",
    arg_required_else_help = true
)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands; each has a file in `commands/`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the bridge against a Kafka cluster
    #[command(after_long_help = SERVE_HELP)]
    Serve(Serve),
    /// Try the bridge on an embedded in-memory broker, without Kafka and without configuration
    #[command(after_long_help = DEV_HELP)]
    Dev(Dev),
    /// Check the configuration, this machine and Kafka before going live
    #[command(after_long_help = CHECK_HELP)]
    Check(Check),
    /// Check the health of a running bridge, for container health checks and exec probes
    #[command(after_long_help = HEALTH_HELP)]
    Health(Health),
    /// Show topics, and create or change them with --apply, for the bridge or for the target of a replay
    #[command(after_long_help = TOPICS_HELP)]
    Topics(Topics),
    /// Watch events or rejected reports as they arrive
    #[command(after_long_help = TAIL_HELP)]
    Tail(Tail),
    /// Publish a range of events again to a topic, or print it as JSON lines
    #[command(after_long_help = REPLAY_HELP)]
    Replay(Replay),
    /// Validate rejected reports again, and publish those that are now valid
    #[command(after_long_help = REDRIVE_HELP)]
    Redrive(Redrive),
    /// Show, export or deliver the reports in a bridge's disk spool
    Spool(Spool),
    /// Print a shell's completion script
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
    /// Publish one probe record to each topic; subscribers must skip its event type
    #[arg(long)]
    pub probe: bool,
    /// Exit with code 1 if there are warnings
    #[arg(long)]
    pub strict: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `koobridge completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell to complete for
    pub shell: Shell,
}

/// `koobridge serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration, a TOML file
    #[arg(long, value_name = "FILE", env = "KOOBRIDGE_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub overrides: Overrides,
    /// Print every setting with its origin as a TOML file, then exit; secrets stay hidden
    #[arg(long)]
    pub print_config: bool,
}

/// `koobridge dev`
#[derive(Debug, Args)]
pub struct Dev {
    /// The address for senders; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS", value_parser = parse::address, default_value = "127.0.0.1:18446")]
    pub listen: SocketAddr,
    /// The address of the status page, probes and metrics; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS", value_parser = parse::address, default_value = config::default("admin.listen"))]
    pub admin_listen: SocketAddr,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub overrides: Overrides,
}

/// `koobridge spool`
#[derive(Debug, Args)]
pub struct Spool {
    #[command(subcommand)]
    pub command: SpoolCommand,
}

/// The commands for a spool.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// Count the reports in the spool, by topic and partition; the bridge may be running
    Status(SpoolStatus),
    /// Print every report in the spool, one JSON object per line; the bridge may be running
    Export(SpoolExport),
    /// Deliver the reports in the spool to Kafka, if their bridge no longer runs
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
    /// Print the readable content of damaged files that were set aside; most of it was delivered
    #[arg(long)]
    pub set_aside: bool,
}

/// The location of a spool.
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
    /// The spool's directory, instead of spool.directory in the configuration
    #[arg(long, value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Settings that override the file and the variables.
#[derive(Clone, Debug, Default, Args)]
pub struct Overrides {
    /// Set a configuration key, for example kafka.topic=status-reports; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

/// The log format of a bridge.
#[derive(Clone, Debug, Default, Args)]
pub struct LogArgs {
    /// The log format: auto (text on a terminal, else JSON), text or json
    #[arg(id = "log", long = "log", value_name = "FORMAT")]
    pub format: Option<String>,
}

impl LogArgs {
    /// Returns the setting that the flag stands for.
    pub fn setting(&self) -> Option<(String, String)> {
        let format = self.format.clone()?;
        Some(("log.format".to_owned(), format))
    }
}

/// Parses a number that can't be zero.
fn from_one<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| {
        match error.kind() {
            IntErrorKind::PosOverflow => "the number is too large",
            _ => "write a whole number, at least 1",
        }
        .to_owned()
    })
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        None => Err("write KEY=VALUE, for example kafka.topic=status-reports".to_owned()),
    }
}

const SERVE_HELP: &str = "\
A small configuration:

  [ingress]
  listen = \"127.0.0.1:18446\"
  channels = \"/etc/koobridge/channels\"    # one password file per channel; the file name is the channel id
  [kafka.properties]
  bootstrap.servers = \"kafka-1:9092,kafka-2:9092\"
  [spool]
  directory = \"/var/lib/koobridge/spool\"   # stores reports while Kafka is unavailable

Each key can also be set by an environment variable (KOOBRIDGE_INGRESS_LISTEN; linger.ms under
[kafka.properties] is KOOBRIDGE_KAFKA_PROPERTIES_LINGER_MS) or with --set. A flag overrides a variable, and
a variable overrides the file. --print-config shows the resulting settings.

The topics (koomessage.reports and koomessage.reports.rejected) must exist; serve does not create them.
Create them with `koobridge topics --apply`.

SIGTERM or Ctrl-C shuts the bridge down gracefully; a second signal stops it immediately.
Exit codes:
  0  stopped gracefully
  1  could not run, or was stopped immediately by a second signal
  2  the configuration, a channel's password file, the certificate or the command line is wrong
  3  stopped with reports that Kafka has not acknowledged: they are in the spool or, without a spool, were
     never answered with success; also if the spool was not fully counted, or if the next start delivers
     some reports again
  134  a defect in koobridge; the last line of the log shows it";

const DEV_HELP: &str = "\
It accepts reports for the demo channel 202105102694809992 with the password koobridge-dev. It prints a curl
command that sends a report, and then a line for each event and each rejected report that it reads back from
the topics. Other Kafka clients on this machine can read the topics too. All data is in memory and is lost
when the command ends.
Stop it with Ctrl-C.";

const CHECK_HELP: &str = "\
Each line is one finding: its level (ok, warn or fail), its area, the fact, the remedy, and a document to
read. Run it on the bridge's machine and as the bridge's user, because it tests which files can be read and
written and which hosts can be reached. It changes nothing, except that --probe publishes records. The bridge
may be running.
Exit codes: 0 no failures, 1 warnings and --strict was given, 2 failures, or the command line is wrong.";

const COMPLETIONS_HELP: &str = "\
bash:  koobridge completions bash > /usr/share/bash-completion/completions/koobridge
zsh:   koobridge completions zsh > /usr/local/share/zsh/site-functions/_koobridge
fish:  koobridge completions fish > ~/.config/fish/completions/koobridge.fish";

const DRAIN_HELP: &str = "\
It delivers every report that it can, however long Kafka takes. Ctrl-C or SIGTERM stops it, and a second signal
stops it immediately; the remaining reports stay in the spool. It needs no ingress settings, and no configuration
file if --directory names the spool:
  koobridge spool drain --directory /mnt/spool --set kafka.properties.bootstrap.servers=kafka-1:9092
Only one process can use a spool. While the bridge runs, it delivers the spool itself, and this command fails.
Exit codes:
  0  the spool is empty
  1  could not run, or was stopped immediately by a second signal
  2  the configuration or the command line is wrong
  3  reports remain, and the last lines say why: the command was stopped, their topic is not configured, no topic
     accepts them (quarantined), they are in a damaged file, or the disk prevents their deletion";
