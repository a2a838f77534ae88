//! Passwords, certificates and the configuration's file, looked at while the bridge serves: what has
//! changed is read anew and swapped whole. Where it can't be, the last good state stays, and it is said.
//!
//! Files are looked at by their metadata again and again, which works where no file events come
//! (network file systems, some mounts), and follows the symbolic links by which Kubernetes swaps a
//! mounted Secret.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::{info, warn};

use crate::bridge::channels;
use crate::bridge::{Bridge, CountedChannels, Identity, Part, Rules};
use crate::config::{Config, ConfigErrors, Settings, Tls, Typed};
use crate::kafka;

/// How often files are looked at. What has changed is in force within two seconds.
const EACH: Duration = Duration::from_secs(1);
/// How soon again where one has changed. It is read when a look finds it the same as the one before: nobody reads
/// half a file while it is being written.
const CHANGED: Duration = Duration::from_millis(250);
/// Files that never come to rest are read all the same.
const RESTLESS: Duration = Duration::from_millis(750);
/// How soon to try again what could not be taken over: a disk can come back, and a certificate become
/// valid.
const RETRY: Duration = Duration::from_secs(10);

/// The files of a bridge. What they were like is noted before they are read, so that no change
/// is missed.
pub struct Watch {
    typed: Typed,
    /// What was typed when the bridge started.
    started: Arc<Settings>,
    files: [(Part, Files); 3],
}

impl Watch {
    /// Gathers what was typed, and notes what the files are like that it names.
    #[must_use]
    pub fn new(typed: Typed) -> (Self, Arc<Settings>) {
        let configuration = Files::new(typed.file.clone());
        let settings = Arc::new(Settings::gather(&typed));
        let channels = Files::new(settings.channels_directory().map(Path::to_owned));
        let certificate = Files::new(settings.tls_files().map(Path::to_owned));
        let watch = Self {
            typed,
            started: Arc::clone(&settings),
            files: [
                (Part::Configuration, configuration),
                (Part::Channels, channels),
                (Part::Certificate, certificate),
            ],
        };
        (watch, settings)
    }

    /// Looks until nobody can ask any more; whoever asks has everything read at once.
    pub fn run(mut self, bridge: &Bridge, config: &Config, asked: &Receiver<()>) {
        let (mut pause, mut retried) = (EACH, Instant::now());
        loop {
            let is_asked = match asked.recv_timeout(pause) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now = Instant::now();
            for (part, files) in &mut self.files {
                if is_asked {
                    files.are_read();
                }
                if files.are_due(now) || is_asked {
                    let outcome = read(*part, &self.typed, &self.started, config, bridge);
                    note(*part, outcome, bridge);
                }
            }
            if now.duration_since(retried) >= RETRY {
                retried = now;
                for part in bridge.live.stale().into_keys() {
                    // What is still wrong is no news.
                    if read(part, &self.typed, &self.started, config, bridge).is_ok() {
                        note(part, Ok(()), bridge);
                    }
                }
            }
            let is_at_rest = self.files.iter().all(|(_, files)| files.are_at_rest());
            pause = if is_at_rest { EACH } else { CHANGED };
        }
    }
}

/// Reads a part anew and takes it over.
fn read(
    part: Part,
    typed: &Typed,
    started: &Settings,
    config: &Config,
    bridge: &Bridge,
) -> Result<(), ConfigErrors> {
    match part {
        Part::Configuration => read_configuration(typed, started, bridge),
        Part::Channels => read_channels(&config.ingress.channels, bridge),
        Part::Certificate => match &config.ingress.tls {
            Some(files) => read_certificate(files, bridge),
            None => Ok(()),
        },
    }
}

fn read_configuration(
    typed: &Typed,
    started: &Settings,
    bridge: &Bridge,
) -> Result<(), ConfigErrors> {
    let settings = Settings::gather(typed);
    Config::check(&settings, kafka::check_property)?;
    // It has to fit what stays as it is until a restart, too.
    let taken_over = settings.taken_over_from(started);
    let config = Config::check(&taken_over, kafka::check_property)?;
    let rules = Rules::from(&config);
    bridge.live.rules.store(Arc::new(rules));
    let fixed = settings.changed_for_restart(started);
    if !fixed.is_empty() {
        let keys = fixed.join(", ");
        warn!(
            keys,
            "these have changed, and need a restart to be in force"
        );
    }
    info!("the configuration was read anew");
    Ok(())
}

fn read_channels(directory: &Path, bridge: &Bridge) -> Result<(), ConfigErrors> {
    let mut channels = channels::load(directory).map_err(ConfigErrors)?;
    channels.share_last_reports(bridge.live.channels.load().channels());
    let count = channels.len();
    let channels = CountedChannels::new(channels, &bridge.metrics);
    bridge.live.channels.store(Arc::new(channels));
    info!(channels = count, "the channels' passwords were read anew");
    Ok(())
}

fn read_certificate(files: &Tls, bridge: &Bridge) -> Result<(), ConfigErrors> {
    let Some(current) = &bridge.live.identity else {
        return Ok(());
    };
    let identity = Identity::load(files, Timestamp::now()).map_err(ConfigErrors)?;
    identity.log_warnings();
    let expires = identity.expires();
    current.store(Arc::new(identity));
    bridge.metrics.certificate_expires(expires);
    info!(%expires, "the certificate was read anew");
    Ok(())
}

fn note(part: Part, outcome: Result<(), ConfigErrors>, bridge: &Bridge) {
    bridge.metrics.reloaded(part.name(), outcome.is_ok());
    let problem = outcome.err().map(|errors| errors.in_one_line());
    if let Some(problem) = &problem {
        let part = part.name();
        warn!(
            part,
            problem, "what has changed can't be taken over; the last good state stays"
        );
    }
    bridge.live.note(part, problem);
}

/// Files and directories of files that belong together.
struct Files {
    paths: Vec<PathBuf>,
    /// What they were like when they were read last.
    read: Look,
    /// What they were like at the last look.
    seen: Look,
    restless_since: Option<Instant>,
}

impl Files {
    fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let read = look(&paths);
        Self {
            paths,
            seen: read,
            read,
            restless_since: None,
        }
    }

    /// They are being read.
    fn are_read(&mut self) {
        self.seen = look(&self.paths);
        self.read = self.seen;
    }

    /// Whether they have not changed of late.
    fn are_at_rest(&self) -> bool {
        self.restless_since.is_none()
    }

    /// Whether they have changed since they were read, and have come to rest.
    fn are_due(&mut self, now: Instant) -> bool {
        let seen = look(&self.paths);
        let is_at_rest = seen == self.seen;
        self.seen = seen;
        if self.seen == self.read {
            self.restless_since = None;
            return false;
        }
        if is_at_rest {
            self.read = self.seen;
            self.restless_since = None;
            return true;
        }
        let since = *self.restless_since.get_or_insert(now);
        let is_enough = now.duration_since(since) >= RESTLESS;
        if is_enough {
            // Once at rest they are read again.
            self.restless_since = Some(now);
        }
        is_enough
    }
}

/// What files are like, in one number: there may be ten thousand, and they are looked at all the time.
type Look = u64;

fn look(paths: &[PathBuf]) -> Look {
    let looks = paths.iter().map(|path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        // A directory names its files in any order.
        entries
            .map(|entry| like(&entry.file_name(), metadata_inside(&entry)))
            .fold(
                like(path.as_os_str(), fs::metadata(path)),
                Look::wrapping_add,
            )
    });
    looks.fold(0, Look::wrapping_add)
}

/// Of what a link points to. The rest is faster by the directory's own handle.
fn metadata_inside(entry: &DirEntry) -> io::Result<Metadata> {
    if entry.file_type()?.is_symlink() {
        fs::metadata(entry.path())
    } else {
        entry.metadata()
    }
}

/// A file that can't be looked at is like itself, too.
fn like(name: &OsStr, metadata: io::Result<Metadata>) -> Look {
    let metadata = metadata.ok().map(|file| {
        let changed = [
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        ];
        (file.dev(), file.ino(), file.size(), changed)
    });
    let mut hasher = DefaultHasher::new();
    (name, metadata).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn after(start: Instant, looks: u32) -> Instant {
        start + looks * CHANGED
    }

    #[test]
    fn a_change_is_due_once_it_has_come_to_rest() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("one");
        fs::write(&path, "old").expect("a file");
        let mut files = Files::new([home.path().to_owned()]);
        let start = Instant::now();
        assert!(!files.are_due(start));
        fs::write(&path, "newer").expect("a file");
        assert!(!files.are_due(start), "it was seen once");
        assert!(files.are_due(start));
        assert!(!files.are_due(start), "it was read");
        fs::remove_file(&path).expect("a file");
        assert!(!files.are_due(start));
        assert!(files.are_due(start));
    }

    #[test]
    fn a_file_that_never_rests_is_read_in_time_and_when_it_rests() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("one");
        let mut files = Files::new([path.clone()]);
        let start = Instant::now();
        let due: Vec<u32> = (1..=7)
            .filter(|looks| {
                fs::write(&path, "x".repeat(*looks as usize)).expect("a file");
                files.are_due(after(start, *looks))
            })
            .collect();
        assert_eq!(due, [4, 7]);
        assert!(files.are_due(after(start, 8)));
        assert!(!files.are_due(after(start, 9)));
    }

    #[test]
    fn the_swap_of_a_mounted_secret_is_a_change() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let inside = |name: &str| home.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(inside(version)).expect("a directory");
            fs::write(inside(version).join("c1"), "password").expect("a file");
        }
        symlink("..1", inside("..data")).expect("a link");
        symlink("..data/c1", inside("c1")).expect("a link");
        let mut files = Files::new([home.path().to_owned()]);
        symlink("..2", inside("..new")).expect("a link");
        fs::rename(inside("..new"), inside("..data")).expect("a swap");
        assert!(!files.are_due(Instant::now()));
        assert!(files.are_due(Instant::now()));
    }
}
