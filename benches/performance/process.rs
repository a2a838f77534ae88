//! What this process takes of the processors, by the kernel's own accounts.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

pub fn used_since(before: &HashMap<String, Duration>) -> Duration {
    let used = time();
    let used = used.iter().map(|(thread, time)| {
        let before = before.get(thread).copied().unwrap_or_default();
        time.saturating_sub(before)
    });
    used.sum()
}

/// The CPU time of each thread but the mock broker's.
pub fn time() -> HashMap<String, Duration> {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let paths = tasks.map(|task| task.expect("a task").path());
    paths
        .filter(|path| {
            fs::read_to_string(path.join("comm")).is_ok_and(|name| !name.starts_with("rdk:mock"))
        })
        .filter_map(|path| {
            let schedstat = fs::read_to_string(path.join("schedstat")).ok()?;
            let nanos = schedstat.split(' ').next()?.parse().ok()?;
            Some((path.display().to_string(), Duration::from_nanos(nanos)))
        })
        .collect()
}
