//! The progress of a run on standard error: a bar on a terminal, otherwise plain lines.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, HumanFloatCount, ProgressBar, ProgressStyle};

/// How often the bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);
/// How often a line is printed without a terminal.
const LINES: Duration = Duration::from_secs(10);

/// The time that a rate is averaged over.
const WINDOW: Duration = Duration::from_secs(15);
/// How often a rate is sampled.
const SAMPLES: Duration = Duration::from_millis(500);

/// The progress of a run.
pub struct Progress {
    bar: Option<ProgressBar>,
    /// The name of the run, if it has one.
    name: Option<String>,
    verb: &'static str,
    /// The unit of `all`.
    unit: &'static str,
    /// The total, if it is known.
    all: Option<u64>,
    started: Instant,
    shown: Instant,
    said: Instant,
    speed: Speed,
}

impl Progress {
    /// Starts to show the progress. `verb` is the participle for the records, and `all` is the total number of `unit`.
    #[must_use]
    pub fn start(verb: &'static str, unit: &'static str, all: Option<u64>) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = all.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            bar.with_style(style(all.is_some()))
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
            speed: Speed::default(),
        }
    }

    /// Also shows the name of a run.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Sets the total, if it was not known at the start.
    pub fn set_all(&mut self, all: u64) {
        self.all = Some(all);
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_style(style(true));
        }
    }

    /// Shows the number of read offsets and of published records.
    pub fn show(&mut self, read: u64, records: u64) {
        if self.shown.elapsed() < REDRAW {
            return;
        }
        self.shown = Instant::now();
        self.speed.note(self.shown, read);
        let name = self.name.as_deref();
        if let Some(bar) = &self.bar {
            bar.set_position(read);
            // The terminal may cut off the end of the line.
            let name = name.unwrap_or_default();
            bar.set_message(format!("{}  {name}", self.in_words(read, records)));
        } else if self.said.elapsed() >= LINES {
            self.said = Instant::now();
            let name = name.map_or_else(String::new, |name| format!("{name}: "));
            crate::try_eprintln!("{name}{}", self.in_words(read, records));
        }
    }

    fn in_words(&self, read: u64, records: u64) -> String {
        let records = format!("{} {}", HumanCount(records), self.verb);
        let Some(all) = self.all.filter(|all| *all > 0) else {
            return format!("{records}, {}", self.speed.in_words(None));
        };
        let percent = read.min(all) * 100 / all;
        let speed = self.speed.in_words(Some(all.saturating_sub(read)));
        let (all, unit) = (HumanCount(all), self.unit);
        match &self.bar {
            Some(_) => format!("{}/{all} {unit}, {speed}  {records}", HumanCount(read)),
            None => format!("{records}; {percent} % of {all} {unit}, {speed}"),
        }
    }

    /// Prints a line above the bar.
    pub fn print_line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| crate::try_eprintln!("{text}")),
            None => crate::try_eprintln!("{text}"),
        }
    }

    /// Returns the time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The rate of the last seconds.
#[derive(Default)]
struct Speed {
    /// Times and the counts at these times.
    samples: VecDeque<(Instant, u64)>,
}

impl Speed {
    fn note(&mut self, now: Instant, done: u64) {
        let is_due = |(last, _): &(Instant, u64)| now.saturating_duration_since(*last) >= SAMPLES;
        if !self.samples.back().is_none_or(is_due) {
            return;
        }
        self.samples.push_back((now, done));
        let is_old = |(at, _): &mut (Instant, u64)| now.saturating_duration_since(*at) > WINDOW;
        while self.samples.len() > 2 && self.samples.front_mut().is_some_and(is_old) {
            self.samples.pop_front();
        }
    }

    /// Returns the count per second; `None` if it is not known yet.
    fn rate(&self) -> Option<f64> {
        let ((begun, before), (now, done)) = (self.samples.front()?, self.samples.back()?);
        let seconds = now.saturating_duration_since(*begun).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "it is for people to read")]
        let more = done.saturating_sub(*before) as f64;
        (seconds > 0.0).then(|| more / seconds)
    }

    /// Returns the rate, and the remaining time at this rate.
    fn in_words(&self, remaining: Option<u64>) -> String {
        let Some(rate) = self.rate() else {
            return "starting".to_owned();
        };
        if rate <= 0.0 {
            return "no progress now".to_owned();
        }
        #[expect(clippy::cast_precision_loss, reason = "it is for people to read")]
        let left = remaining.map(|remaining| Duration::try_from_secs_f64(remaining as f64 / rate));
        let left = match left {
            Some(Ok(left)) => format!(", {:#} left", HumanDuration(left)),
            Some(Err(_)) | None => String::new(),
        };
        format!("{}/s{left}", HumanFloatCount(rate.round()))
    }
}

/// Returns the style of a bar, or of a line if the total is not known.
fn style(has_all: bool) -> ProgressStyle {
    let template = if has_all {
        "{bar:20} {percent:>3} %  {wide_msg}"
    } else {
        "{spinner} {wide_msg}"
    };
    ProgressStyle::with_template(template).expect("a sound template")
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_averaged_over_the_last_seconds() {
        let start = Instant::now();
        let mut speed = Speed::default();
        assert_eq!(speed.in_words(Some(9)), "starting");
        let mut note = |seconds, done| {
            speed.note(start + Duration::from_secs(seconds), done);
            speed.in_words(Some(100_000))
        };
        assert_eq!(note(0, 0), "starting");
        assert_eq!(note(1, 2000), "2,000/s, 50s left");
        for second in 2..=10 {
            note(second, 2000 * second);
        }
        for second in 11..=20 {
            note(second, 20_000);
        }
        assert_eq!(note(25, 20_000), "no progress now");
        assert_eq!(note(26, 90_000), "4,667/s, 21s left");
        assert_eq!(speed.in_words(None), "4,667/s");
    }
}
