//! What was measured, printed and never asserted.

use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<(String, String)>);

impl Figures {
    pub(crate) fn add(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.0.push((what.into(), value.into()));
    }

    pub(crate) fn seconds(&mut self, what: impl Into<String>, value: Duration) {
        self.add(what, format!("{:.2} s", value.as_secs_f64()));
    }

    pub(crate) fn bytes(&mut self, what: impl Into<String>, value: u64) {
        self.add(what, mib(value));
    }

    /// The median, the 95th percentile and the longest of some milliseconds.
    pub(crate) fn spread(&mut self, what: impl Into<String>, mut millis: Vec<u64>) {
        millis.sort_unstable();
        let value = match millis.last() {
            None => "none seen".to_owned(),
            Some(longest) => format!(
                "p50 {} ms, p95 {} ms, longest {longest} ms, of {}",
                percentile(&millis, 50),
                percentile(&millis, 95),
                millis.len()
            ),
        };
        self.add(what, value);
    }

    pub(crate) fn print(&self) {
        let width = self.0.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
        println!("\nfigures");
        for (what, value) in &self.0 {
            println!("  {what:width$}  {value}");
        }
    }
}

pub(crate) fn mib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// Nearest rank: of one value, every percentile is that value.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let to_twenty: Vec<u64> = (1..=20).collect();
        assert_eq!(percentile(&to_twenty, 50), 10);
        assert_eq!(percentile(&to_twenty, 95), 19);
        assert_eq!(percentile(&[7], 95), 7);
        assert_eq!(percentile(&[], 95), 0);
    }

    #[test]
    fn bytes_are_shown_in_mib() {
        assert_eq!(mib(0), "0.0 MiB");
        assert_eq!(mib(3 << 19), "1.5 MiB");
    }
}
