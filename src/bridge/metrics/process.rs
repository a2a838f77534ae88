//! The metrics of the process itself, under the standard names of Prometheus' client libraries. They are read from
//! Linux' `/proc` at each scrape.

use std::fmt;
use std::fs;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Collects the metrics of the process.
#[derive(Debug)]
pub(super) struct Process {
    started: Timestamp,
}

impl Process {
    pub(super) fn new() -> Self {
        Self {
            started: Timestamp::now(),
        }
    }
}

impl Collector for Process {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of ticks or bytes is shown, not calculated with"
    )]
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut show = |name, help, unit: Option<&Unit>, metric: &dyn EncodeMetric| {
            let encoder = encoder.encode_descriptor(name, help, unit, metric.metric_type())?;
            metric.encode(encoder)
        };
        let started = ConstGauge::new(self.started.as_duration().as_secs_f64());
        let help = "Start time of the process, in seconds since 1970";
        show("process_start_time", help, Some(&Unit::Seconds), &started)?;
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            let help = "Limit on open files of the process";
            show(
                "process_max_fds",
                help,
                None,
                &ConstGauge::new(limit as f64),
            )?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is this directory.
            let open = ConstGauge::new(open.count().saturating_sub(1) as f64);
            show("process_open_fds", "Open files of the process", None, &open)?;
        }
        let stat = fs::read_to_string("/proc/self/stat").ok();
        let Some(usage) = stat.and_then(|text| Usage::parse(&text)) else {
            return Ok(());
        };
        let cpu = ConstCounter::new(usage.ticks as f64 / clock_ticks_per_second() as f64);
        let help = "User and system CPU time of the process";
        show("process_cpu", help, Some(&Unit::Seconds), &cpu)?;
        let memory = ConstGauge::new(usage.pages as f64 * page_size() as f64);
        let help = "Resident memory of the process";
        show("process_resident_memory", help, Some(&Unit::Bytes), &memory)?;
        let threads = ConstGauge::new(usage.threads as f64);
        show("process_threads", "Threads of the process", None, &threads)
    }
}

/// The fields of `/proc/self/stat` (see `proc_pid_stat(5)`) that are used.
#[derive(Debug, PartialEq, Eq)]
struct Usage {
    /// User and system time, in clock ticks.
    ticks: u64,
    threads: u64,
    /// Resident memory, in pages.
    pages: u64,
}

impl Usage {
    fn parse(text: &str) -> Option<Self> {
        // The second field, the name, may contain spaces and brackets. The third follows the last bracket.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            ticks: field(14)? + field(15)?,
            threads: field(20)?,
            pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stat_line_is_parsed_whatever_the_name_of_the_program() {
        let line = "7 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 140 25 0 0 20 0 9 0 100 4096000 512 1 2\n";
        let expected = Usage {
            ticks: 165,
            threads: 9,
            pages: 512,
        };
        assert_eq!(Usage::parse(line), Some(expected));
        assert_eq!(Usage::parse("7 (a) S 1"), None);
    }
}
