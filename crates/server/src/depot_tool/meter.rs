//! What a command cost: wall and processor seconds, bytes; and a bar on stderr while it runs.

use std::sync::Arc;

use depot::{Moved, Progressing, VerifyStage, Verifying};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::time::Instant;

/// The unit of `/proc/self/stat`, the same on every Linux a user sees.
const TICKS_PER_SECOND: f64 = 100.0;

/// Figures every long command reports in its JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Cost {
    /// Read from the image or export.
    pub(super) bytes_read: u64,
    /// Written to the depot.
    pub(super) bytes_stored: u64,
    /// Written to the file or to standard output.
    pub(super) bytes_restored: u64,
    /// Got from the depot's store.
    pub(super) bytes_fetched: u64,
    pub(super) wall_s: f64,
    /// Of this process; QEMU's helpers come on top.
    pub(super) cpu_s: f64,
}

pub(super) struct Meter {
    started: Instant,
    cpu_before: f64,
    bar: ProgressBar,
}

impl Meter {
    /// Starts counting; `what` stands before the bar, which is drawn on a terminal only.
    pub(super) fn start(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style =
            ProgressStyle::with_template("{prefix} {bar:32} {bytes}/{total_bytes} {bytes_per_sec} {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Self { started: Instant::now(), cpu_before: cpu_seconds(), bar }
    }

    /// Moves the bar.
    pub(super) fn progress(&self) -> Progressing {
        let bar = self.bar.clone();
        Arc::new(move |Moved { position, total, .. }| {
            bar.set_length(total);
            bar.set_position(position);
        })
    }

    /// Moves the bar of a look for damage.
    pub(super) fn verifying(&self) -> Verifying {
        let bar = self.bar.clone();
        Arc::new(move |at| {
            if at.stage == VerifyStage::Trees && at.bytes < at.bytes_total {
                bar.set_prefix("verify trees");
            }
            bar.set_length(at.bytes_total);
            bar.set_position(at.bytes);
        })
    }

    /// Moves the bar by things that are counted, not measured.
    pub(super) fn counting(&self) -> impl Fn(u64, u64) + Send + Sync + use<> {
        let bar = self.bar.clone();
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:32} {pos}/{len} groups") {
            bar.set_style(style);
        }
        move |position, total| {
            bar.set_length(total);
            bar.set_position(position);
        }
    }

    /// The time it took; the bytes are the caller's to fill in.
    pub(super) fn stop(&self) -> Cost {
        self.bar.finish_and_clear();
        let wall_s = self.started.elapsed().as_secs_f64();
        Cost { wall_s, cpu_s: (cpu_seconds() - self.cpu_before).max(0.0), ..Cost::default() }
    }
}

/// Processor time of all threads so far; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    ticks(&stat).map_or(0.0, |ticks| ticks / TICKS_PER_SECOND)
}

/// The program's name, in brackets, may hold anything: fields are counted after it.
fn ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(f64::from(user) + f64::from(system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_found_whatever_the_program_is_called() {
        let stat = "1 (a) b (c) ) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1";
        assert_eq!(ticks(stat), Some(300.0));
        assert_eq!(ticks("1 (a"), None);
        assert!(std::fs::read_to_string("/proc/self/stat").is_ok_and(|stat| ticks(&stat).is_some()));
    }
}
