//! How far a run is: a bar on a terminal, plain lines elsewhere, on standard error.

use std::fmt;
use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressState, ProgressStyle};

/// How often the bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);
/// How often a line is printed without a terminal.
const LINES: Duration = Duration::from_secs(10);

/// What is shown while a run goes on.
pub struct Progress {
    bar: Option<ProgressBar>,
    /// The name of the run, if it has one.
    name: Option<String>,
    verb: &'static str,
    /// What is counted in `all`.
    unit: &'static str,
    /// How much there is to do, if that is known.
    all: Option<u64>,
    started: Instant,
    shown: Instant,
    said: Instant,
}

impl Progress {
    /// Starts showing; `verb` is what is done with the records, and `all` is how many of `unit` there are.
    #[must_use]
    pub fn start(verb: &'static str, unit: &'static str, all: Option<u64>) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = all.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            bar.with_prefix(unit).with_style(style(all.is_some()))
        });
        let now = Instant::now();
        Self {
            bar,
            name: None,
            verb,
            unit,
            all,
            started: now,
            shown: now,
            said: now,
        }
    }

    /// Shows the name of a run, too.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Notes how much there is to do, if that was not known at the start.
    pub fn set_all(&mut self, all: u64) {
        self.all = Some(all);
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_style(style(true));
        }
    }

    /// Shows how far it is: offsets read, records published.
    pub fn show(&mut self, read: u64, records: u64) {
        if self.shown.elapsed() < REDRAW {
            return;
        }
        self.shown = Instant::now();
        let message = format!("{} {}", HumanCount(records), self.verb);
        if let Some(bar) = &self.bar {
            bar.set_position(read);
            let name = self.name.as_deref().unwrap_or_default();
            bar.set_message(format!("{message}  {name}"));
        } else if self.said.elapsed() >= LINES {
            self.said = Instant::now();
            let name = self.name.as_ref();
            let name = name.map_or_else(String::new, |name| format!("{name}: "));
            crate::tell!("{name}{message}{}", self.in_words(read));
        }
    }

    fn in_words(&self, read: u64) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "it is for people to read")]
        let rate = read as f64 / seconds;
        let Some(all) = self.all.filter(|all| *all > 0) else {
            return format!("; {rate:.0} a second");
        };
        #[expect(clippy::cast_precision_loss, reason = "it is for people to read")]
        let left = Duration::try_from_secs_f64(all.saturating_sub(read) as f64 / rate.max(0.001));
        let left = left.map_or_else(
            |_| "long".to_owned(),
            |left| HumanDuration(left).to_string(),
        );
        let percent = read.min(all) * 100 / all;
        format!(
            "; {percent} % of {} {}, {rate:.0} a second, {left} left",
            HumanCount(all),
            self.unit
        )
    }

    /// Says something beside the bar.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| crate::tell!("{text}")),
            None => crate::tell!("{text}"),
        }
    }

    /// How long it has taken.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Returns the style of a bar, or of a line if it is not known how much there is to do.
fn style(has_all: bool) -> ProgressStyle {
    let template = if has_all {
        "{bar:30} {percent:>3} %  {human_pos}/{human_len} {prefix}, {rate}, {eta} left  {msg}"
    } else {
        "{spinner} {human_pos} records, {rate}  {msg}"
    };
    let style = ProgressStyle::with_template(template).expect("a sound template");
    style.with_key(
        "rate",
        |state: &ProgressState, text: &mut dyn fmt::Write| {
            // A rate that can't be written is not shown.
            let _shown = write!(text, "{:.0}/s", state.per_sec());
        },
    )
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
