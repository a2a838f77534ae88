//! The resources of a process, as the kernel counts them.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// Returns the CPU time of each thread of a process.
pub fn time(pid: u32) -> HashMap<String, Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let times = tasks.filter_map(|task| {
        let path = task.ok()?.path();
        let schedstat = fs::read_to_string(path.join("schedstat")).ok()?;
        let nanos = schedstat.split(' ').next()?.parse().ok()?;
        Some((path.display().to_string(), Duration::from_nanos(nanos)))
    });
    times.collect()
}

/// Returns the CPU time that the current threads have used since `before`.
pub fn used_since(pid: u32, before: &HashMap<String, Duration>) -> Duration {
    let now = time(pid);
    let used = now.iter().map(|(thread, time)| {
        let before = before.get(thread).copied().unwrap_or_default();
        time.saturating_sub(before)
    });
    used.sum()
}

/// Returns how often the threads of a process were woken after a wait.
pub fn wakeups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let counts = tasks.filter_map(|task| {
        let status = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    });
    counts.sum()
}
