//! The scenario: protect, back up while it runs, roll back, clone, boot, delete, crash.
//!
//! | step | does | checks |
//! |---|---|---|
//! | 1 | both guests write to two disks all the while | the numbers move |
//! | 2 | the official SDK makes a policy, binds, executes, polls; the CLI does the same | both end `COMPLETE` |
//! | 3 | a second backup after a change of one percent | it reads what changed, not the disks |
//! | 4 | one instance goes back to the first point | clean, its numbers of one instant within the backup |
//! | 5 | the other is cloned from the second point while it runs | the same, under a new identity |
//! | 6 | the first point is deleted | the second is the same, byte for byte |
//! | 7 | the server dies in the middle of a backup | nothing dangles, the next backup works |

use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::answer;
use super::checks::Checks;
use super::figures::Figures;
use super::pauses::Pauses;
use super::{REGIONS, Stage};
use crate::guest::{Guest, Numbers};
use crate::janitor::Janitor;
use crate::sh::now;

mod crash;
mod protect;
mod restore;

/// One instance of the demo, as libvirt and as Hikae know it.
#[derive(Debug, Clone)]
struct Machine {
    guest: Guest,
    instance: String,
}

/// What we know of a point beyond what the product says.
#[derive(Debug, Clone)]
struct Taken {
    point: String,
    job: Value,
    /// The numbers just before the backup began and just after it ended.
    before: Numbers,
    after: Numbers,
}

impl Taken {
    /// Whether these numbers may be those of the point's instant.
    fn may_hold(&self, found: Numbers) -> bool {
        found.of_one_instant()
            && (self.before.a..=self.after.a).contains(&found.a)
            && (self.before.b..=self.after.b).contains(&found.b)
    }
}

struct Play<'a> {
    janitor: &'a Janitor,
    stage: Stage,
    checks: &'a mut Checks,
    figures: Figures,
    pauses: Vec<Pauses>,
    /// The longest gap between a guest's ticks, in each backup and in seconds without one.
    gaps_ms: Vec<u64>,
    quiet_gaps_ms: Vec<u64>,
    machines: [Machine; 2],
}

pub(crate) fn play(janitor: &Janitor, stage: Stage, checks: &mut Checks) -> Result<()> {
    let mut play = Play::begin(janitor, stage, checks)?;
    let played = play.steps();
    play.figures.print();
    if played.is_err() || play.checks.any_broken() {
        play.stage.server.keep_log()?;
    }
    played
}

impl<'a> Play<'a> {
    fn begin(janitor: &'a Janitor, stage: Stage, checks: &'a mut Checks) -> Result<Self> {
        let listed = stage.cli.call(&["instance", "list"]).context("list the instances")?;
        let machine = |guest: &Guest| -> Result<Machine> {
            let of_guest = answer::objects(&listed, "disks")
                .into_iter()
                .find(|one| answer::text(one, "name").is_ok_and(|name| name == guest.name))
                .with_context(|| format!("no instance {} in {listed}", guest.name))?;
            Ok(Machine { guest: guest.clone(), instance: answer::text(of_guest, "id")? })
        };
        let machines = [machine(&stage.guests[0])?, machine(&stage.guests[1])?];
        let watch = |guest| Pauses::watch(janitor, &stage.home, guest);
        let pauses = vec![watch(&stage.guests[0])?, watch(&stage.guests[1])?];
        Ok(Self {
            janitor,
            stage,
            checks,
            figures: Figures::default(),
            pauses,
            gaps_ms: Vec::new(),
            quiet_gaps_ms: Vec::new(),
            machines,
        })
    }

    fn steps(&mut self) -> Result<()> {
        println!("\n1. the guests write");
        self.guests_write()?;
        println!("\n2. policy, bindings, first backups");
        let [first_a, _] = self.first_backups()?;
        println!("\n3. incremental backups");
        let [second_a, second_b] = self.second_backups()?;
        println!("\n4. roll back {} to its first point", self.machines[0].guest.name);
        self.roll_back(&first_a)?;
        println!("\n5. clone {} from its second point", self.machines[1].guest.name);
        self.clone_running(&second_b)?;
        println!("\n6. delete the first point");
        self.delete_first(&first_a, &second_a)?;
        println!("\n7. kill -9 of the server during a backup");
        self.crash()?;
        self.end()
    }

    fn guests_write(&mut self) -> Result<()> {
        let marks = [self.machines[0].guest.mark()?, self.machines[1].guest.mark()?];
        let moved = self.stay_awake()?;
        for (machine, mark) in self.machines.iter().zip(marks) {
            self.quiet_gaps_ms.extend(machine.guest.pulses(mark)?.iter().map(|pulse| pulse.tick_gap_ms));
        }
        for (machine, moved) in self.machines.iter().zip(moved) {
            self.checks.that(moved, format!("{} writes to both its disks", machine.guest.name));
        }
        Ok(())
    }

    /// Whether each guest's two numbers grow.
    fn stay_awake(&self) -> Result<[bool; 2]> {
        let numbers = || -> Result<[Numbers; 2]> {
            Ok([self.machines[0].guest.numbers()?, self.machines[1].guest.numbers()?])
        };
        let before = numbers()?;
        std::thread::sleep(std::time::Duration::from_secs(2));
        let after = numbers()?;
        let grew = |which: usize| after[which].a > before[which].a && after[which].b > before[which].b;
        Ok([grew(0), grew(1)])
    }

    fn end(&mut self) -> Result<()> {
        let paused: Vec<u64> = self.pauses.iter().flat_map(Pauses::millis).collect();
        let held =
            super::pauses::held_millis(&std::fs::read_to_string(self.stage.server.log()).unwrap_or_default());
        self.figures.spread("disks held still by the host's begin, at most (aim: p95 under 50 ms)", held);
        self.figures.spread("pause seen within a guest, per backup", self.gaps_ms.clone());
        self.figures.spread("the same in seconds without a backup", self.quiet_gaps_ms.clone());
        self.figures.spread("pause of a guest, per suspension by the host", paused);
        let peak = self.stage.server.peak_mib();
        self.figures.add("peak memory of the server (aim: under 300 MiB)", format!("{peak} MiB"));
        let awake = self.stay_awake()?;
        self.checks.that(awake == [true, true], "both guests still write at the end");
        Ok(())
    }

    /// All points of an instance, as the wire lists them.
    fn points(&self, instance: &str) -> Result<Vec<Value>> {
        let [region, _] = REGIONS;
        let listed = self.stage.cli.api(
            "Hbr",
            "DescribeUdmSnapshots",
            &[
                ("SourceType", "UDM_ECS"),
                ("InstanceId", instance),
                ("StartTime", "0"),
                ("EndTime", "4102444800"),
                ("UdmRegionId", region),
            ],
        )?;
        let mut points: Vec<Value> = answer::objects(&listed, "SnapshotId").into_iter().cloned().collect();
        points.sort_by_key(|point| answer::number(point, "CreatedTime").unwrap_or(0));
        Ok(points)
    }

    /// One backup job, as the wire shows it.
    fn job(&self, id: &str) -> Result<Value> {
        let filters = [("SourceType", "UDM_ECS"), ("Filters.1.Key", "JobId"), ("Filters.1.Values.1", id)];
        let listed = self.stage.cli.api("Hbr", "DescribeBackupJobs2", &filters)?;
        let found =
            answer::objects(&listed, "JobId").into_iter().find(|job| job["JobId"].as_str() == Some(id));
        found.cloned().with_context(|| format!("no job {id} in {listed}"))
    }

    /// The point a finished job made.
    fn point_of(&self, instance: &str, job: &str) -> Result<String> {
        let points = self.points(instance)?;
        let made = points.iter().find(|point| answer::text(point, "JobId").is_ok_and(|id| id == job));
        answer::text(made.with_context(|| format!("job {job} made no point"))?, "SnapshotId")
    }
}

fn clock() -> Instant {
    now()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_point_may_hold_only_numbers_of_one_instant_within_the_backup() {
        let numbers = |a, b| Numbers { a, b };
        let taken =
            Taken { point: String::new(), job: Value::Null, before: numbers(10, 9), after: numbers(20, 20) };
        for fine in [(10, 9), (10, 10), (15, 14), (20, 20)] {
            assert!(taken.may_hold(numbers(fine.0, fine.1)), "{fine:?}");
        }
        for wrong in [(9, 9), (21, 20), (15, 13), (14, 15), (0, 0)] {
            assert!(!taken.may_hold(numbers(wrong.0, wrong.1)), "{wrong:?}");
        }
    }
}
