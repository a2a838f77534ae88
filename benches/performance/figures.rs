//! Collects and formats figures.

use std::fmt;

/// A table in Markdown.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    pub fn row(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, row) in self.rows.iter().enumerate() {
            writeln!(f, "| {} |", row.join(" | "))?;
            if number == 0 {
                writeln!(f, "|{}", "---|".repeat(row.len()))?;
            }
        }
        Ok(())
    }
}

/// Returns the samples of each subject. The subjects take turns, so that other work of the machine affects all of them.
/// An additional first round warms up.
pub fn rounds<S, T>(count: usize, subjects: &[S], measure: impl Fn(&S) -> T) -> Vec<Vec<T>> {
    let mut samples: Vec<Vec<T>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..=count {
        for (subject, samples) in subjects.iter().zip(&mut samples) {
            let sample = measure(subject);
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    samples
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn as_f64(number: u64) -> f64 {
    number as f64
}
