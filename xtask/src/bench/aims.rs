//! What Hikae is to reach, as ratios against the peers of the same run. It says what is so, and never fails.

use super::samples::Figure;
use super::tools::{Op, Tool};

/// One aim, with what was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) aim: String,
    /// `None` when something it needs was not measured.
    pub(crate) measured: Option<f64>,
    pub(crate) limit: Limit,
    pub(crate) against: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// No aim: told so that it is known.
    None,
}

impl Verdict {
    pub(crate) fn reached(&self) -> Option<bool> {
        let measured = self.measured?;
        Some(match self.limit {
            Limit::AtMost(limit) => measured <= limit,
            Limit::AtLeast(limit) => measured >= limit,
            Limit::None => return None,
        })
    }
}

pub(crate) const MEMORY_MB_MAX: f64 = 256.0 * 1.048_576;

pub(crate) fn verdicts(figures: &[Figure]) -> Vec<Verdict> {
    let board = Board(figures);
    vec![
        board.wall("full: wall, to the fastest deduplicating peer", Tool::Hikae, Op::Full, 1.0 / 3.0),
        board.against_cp(),
        board.stored("full: stored, to the smallest peer", Tool::Hikae, Op::Full),
        board.wall(
            "1 % change, tracked: wall, to the fastest peer",
            Tool::HikaeTracked,
            Op::OnePercent,
            0.05,
        ),
        board.stored("1 % change, tracked: added, to the smallest peer", Tool::HikaeTracked, Op::OnePercent),
        board.wall("1 % change, re-read: wall, to the fastest peer", Tool::Hikae, Op::OnePercent, 0.4),
        board.wall("day of change, tracked: wall, to the fastest peer", Tool::HikaeTracked, Op::Day, 0.25),
        board.stored("day of change, tracked: added, to the smallest peer", Tool::HikaeTracked, Op::Day),
        board.wall("restore: wall, to the fastest peer", Tool::Hikae, Op::Restore, 0.6),
        board.verify("verify with keys: speed, to restore's", Op::Verify, 1.0),
        board.verify("verify without keys: speed, to restore's", Op::VerifyNoKeys, 2.0),
        board.memory(),
    ]
}

struct Board<'a>(&'a [Figure]);

impl Board<'_> {
    fn figure(&self, tool: Tool, op: Op) -> Option<&Figure> {
        self.0.iter().find(|figure| figure.tool == tool && figure.op == op)
    }

    /// The least among those peers that keep more than one backup in one place.
    fn best_peer(&self, op: Op, value: fn(&Figure) -> f64) -> Option<(Tool, f64)> {
        let peers = self.0.iter().filter(|figure| figure.op == op && figure.tool.is_deduplicating_peer());
        peers.map(|figure| (figure.tool, value(figure))).min_by(|one, other| one.1.total_cmp(&other.1))
    }

    fn wall(&self, aim: &str, tool: Tool, op: Op, limit: f64) -> Verdict {
        self.ratio(aim, tool, op, limit, |figure| figure.wall_s.median, "s")
    }

    fn stored(&self, aim: &str, tool: Tool, op: Op) -> Verdict {
        self.ratio(aim, tool, op, 1.0, |figure| figure.stored_mb.median, "MB")
    }

    fn ratio(
        &self,
        aim: &str,
        tool: Tool,
        op: Op,
        limit: f64,
        value: fn(&Figure) -> f64,
        unit: &str,
    ) -> Verdict {
        let (mine, best) = (self.figure(tool, op).map(value), self.best_peer(op, value));
        let against = match (mine, best) {
            (Some(mine), Some((peer, best))) => format!("{mine:.2} {unit}, {} {best:.2} {unit}", peer.name()),
            _ => String::new(),
        };
        let measured = mine.zip(best).map(|(mine, (_, best))| mine / best);
        Verdict { aim: aim.to_owned(), measured, limit: Limit::AtMost(limit), against }
    }

    fn against_cp(&self) -> Verdict {
        let wall = |tool| self.figure(tool, Op::Full).map(|figure| figure.wall_s.median);
        let both = wall(Tool::Hikae).zip(wall(Tool::Cp));
        Verdict {
            aim: "full: wall, to cp".to_owned(),
            measured: both.map(|(hikae, cp)| hikae / cp),
            limit: Limit::AtMost(1.8),
            against: both.map(|(hikae, cp)| format!("{hikae:.2} s, cp {cp:.2} s")).unwrap_or_default(),
        }
    }

    fn verify(&self, aim: &str, op: Op, limit: f64) -> Verdict {
        let wall = |op| self.figure(Tool::Hikae, op).map(|figure| figure.wall_s.median);
        let both = wall(Op::Restore).zip(wall(op));
        Verdict {
            aim: aim.to_owned(),
            measured: both.map(|(restore, verify)| restore / verify),
            limit: Limit::AtLeast(limit),
            against: both
                .map(|(restore, verify)| format!("{verify:.2} s, restore {restore:.2} s"))
                .unwrap_or_default(),
        }
    }

    fn memory(&self) -> Verdict {
        let ours = self.0.iter().filter(|figure| figure.tool.is_hikae());
        let most = ours.max_by(|one, other| one.rss_mb.most.total_cmp(&other.rss_mb.most));
        Verdict {
            aim: "memory of any operation, in MB".to_owned(),
            measured: most.map(|figure| figure.rss_mb.most),
            limit: Limit::AtMost(MEMORY_MB_MAX),
            against: most
                .map(|figure| format!("{} {}", figure.tool.name(), figure.op.name()))
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::figures;
    use super::super::samples::tests::sample_of;
    use super::*;

    #[test]
    fn ratios_are_taken_against_the_best_peer_and_never_against_copies() {
        let samples = [
            sample_of(Tool::Cp, Op::Full, 1, 2.0, 3000.0),
            sample_of(Tool::QemuImg, Op::Full, 1, 1.0, 1.0),
            sample_of(Tool::Restic, Op::Full, 1, 12.0, 540.0),
            sample_of(Tool::Borg, Op::Full, 1, 24.0, 500.0),
            sample_of(Tool::Hikae, Op::Full, 1, 3.0, 510.0),
        ];
        let verdicts = verdicts(&figures(&samples));
        let told = |aim: &str| verdicts.iter().find(|verdict| verdict.aim.starts_with(aim)).expect("an aim");
        let wall = told("full: wall, to the fastest");
        assert_eq!((wall.measured, wall.reached()), (Some(0.25), Some(true)));
        let stored = told("full: stored");
        assert_eq!((stored.measured, stored.reached()), (Some(1.02), Some(false)));
        assert_eq!(told("full: wall, to cp").reached(), Some(true));
        assert_eq!(told("restore").reached(), None, "it was not measured");
        assert_eq!(told("memory").reached(), Some(true));
    }

    #[test]
    fn a_faster_verification_is_a_larger_ratio() {
        let samples = [
            sample_of(Tool::Hikae, Op::Restore, 1, 4.0, 0.0),
            sample_of(Tool::Hikae, Op::Verify, 1, 5.0, 0.0),
            sample_of(Tool::Hikae, Op::VerifyNoKeys, 1, 1.0, 0.0),
        ];
        let verdicts = verdicts(&figures(&samples));
        let reached = |aim: &str| {
            verdicts.iter().find(|verdict| verdict.aim.starts_with(aim)).and_then(Verdict::reached)
        };
        assert_eq!(reached("verify with keys"), Some(false));
        assert_eq!(reached("verify without keys"), Some(true));
    }
}
