//! What a run consists of, and how long it will go on. Pure.

use super::options::Options;
use super::tools::Tool;

/// What the part without peers takes, from earlier runs.
const GROWTH_S: u32 = 180;
/// A small image takes about so much less.
const QUICK: u32 = 6;

/// One piece of work between two lines of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// One round of one tool; rounds count from 1.
    Round {
        round: u32,
        tool: Tool,
    },
    Growth,
}

/// All jobs in their order.
#[derive(Debug)]
pub(crate) struct Schedule {
    pub(crate) jobs: Vec<Job>,
    quick: bool,
}

impl Schedule {
    pub(crate) fn new(options: &Options) -> Self {
        let rounds = (1..=options.rounds).flat_map(|round| {
            let tools = options.tools.iter().filter(move |tool| round <= tool.rounds(options.rounds));
            tools.map(move |tool| Job::Round { round, tool: *tool })
        });
        let growth = options.growth.then_some(Job::Growth);
        Self { jobs: rounds.chain(growth).collect(), quick: options.quick }
    }

    /// Rounded up, from what earlier runs took.
    pub(crate) fn minutes(&self) -> u32 {
        self.expected_s(&self.jobs).div_ceil(60)
    }

    /// What is left when so many jobs took so long: this machine is as much slower or faster to the end.
    pub(crate) fn minutes_left(&self, done: usize, spent_s: f64) -> u32 {
        let (before, after) = self.jobs.split_at(done.min(self.jobs.len()));
        let (was, left) = (self.expected_s(before), self.expected_s(after));
        let pace = if was == 0 { 1.0 } else { spent_s / f64::from(was) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some minutes")]
        let minutes = (f64::from(left) * pace / 60.0).ceil() as u32;
        minutes
    }

    fn expected_s(&self, jobs: &[Job]) -> u32 {
        let expected = |job: &Job| match job {
            Job::Round { tool, .. } if self.quick => tool.round_s() / QUICK,
            Job::Round { tool, .. } => tool.round_s(),
            Job::Growth => GROWTH_S,
        };
        jobs.iter().map(expected).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(flags: &[&str]) -> Schedule {
        Schedule::new(&Options::parse(flags).expect("options"))
    }

    #[test]
    fn slow_tools_have_one_round_and_growth_comes_last() {
        let all = schedule(&[]);
        let rounds = |tool: Tool| {
            let is_its = |job: &&Job| matches!(job, Job::Round { tool: of, .. } if *of == tool);
            all.jobs.iter().filter(is_its).count()
        };
        assert_eq!((rounds(Tool::Casync), rounds(Tool::Borg)), (1, 1));
        assert_eq!((rounds(Tool::Restic), rounds(Tool::Hikae)), (3, 3));
        assert_eq!(all.jobs.last(), Some(&Job::Growth));
        assert!(all.minutes() <= 40, "{} minutes for the whole", all.minutes());
        let one = schedule(&["--only", "hikae", "--rounds", "2"]).jobs;
        assert_eq!(one, [1, 2].map(|round| Job::Round { round, tool: Tool::Hikae }));
        assert!(schedule(&["--quick"]).minutes() < all.minutes() / 2);
    }

    #[test]
    fn what_is_left_goes_by_what_was_spent() {
        let schedule = schedule(&["--only", "hikae", "--rounds", "4"]);
        let round_s = f64::from(Tool::Hikae.round_s());
        assert_eq!(schedule.minutes_left(0, 0.0), minutes(4.0 * round_s));
        assert_eq!(schedule.minutes_left(1, round_s), minutes(3.0 * round_s));
        assert_eq!(schedule.minutes_left(2, 20.0 * round_s), minutes(20.0 * round_s));
        assert_eq!(schedule.minutes_left(4, round_s), 0);
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some minutes")]
    fn minutes(seconds: f64) -> u32 {
        (seconds / 60.0).ceil() as u32
    }
}
