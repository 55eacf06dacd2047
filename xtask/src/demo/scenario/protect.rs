//! Steps 2 and 3: a policy, and two backups of each instance, by the SDK and by the command line.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Machine, Play, Taken, clock};
use crate::demo::answer;
use crate::demo::figures::mib;
use crate::guest::{Numbers, run_in};

/// One percent of a guest's 1.5 GiB.
const CHANGE: &str = "15M";

/// What an incremental may read of a guest that also writes its witness and its journals all the while.
const CHANGED_AT_MOST: u64 = 112 << 20;

impl Play<'_> {
    /// The SDK protects both and backs up the first; the command line backs up the second.
    pub(super) fn first_backups(&mut self) -> Result<[Taken; 2]> {
        let [a, b] = self.machines.clone();
        let began = clock();
        let before = a.guest.numbers()?;
        let done = self.stage.sdk.step(&["protect", "demo-sdk", &a.instance, &a.instance, &b.instance])?;
        let after = a.guest.numbers()?;
        self.figures.seconds("SDK: policy, bindings, first backup", began.elapsed());
        let status = answer::text(&done, "Status")?;
        self.checks
            .that(status == "COMPLETE", format!("the SDK's policy, bindings and execution end {status}"));
        let first_a = self.taken(&a, &answer::text(&done, "JobId")?, before, after)?;

        let made =
            self.stage.cli.call(&["policy", "create", "demo-cli", "--every", "1d", "--keep-days", "7"])?;
        let policy = answer::text(&made, "id")?;
        let twice = self.stage.cli.refused(&["protect", &b.instance, "--policy", &policy])?;
        let refused = twice.is("PolicyAlreadyBoundWithThisDataSource");
        self.checks
            .that(refused, format!("an instance that has a policy is not bound to a second one: {twice}"));
        self.stage.cli.call(&["unprotect", &b.instance])?;
        self.stage.cli.call(&["protect", &b.instance, "--policy", &policy])?;
        let first_b = self.back_up(&b, "first backup by the command line")?;
        self.read_and_stored("first backup", &[&first_a, &first_b])?;
        Ok([first_a, first_b])
    }

    /// After a change of one percent each.
    pub(super) fn second_backups(&mut self) -> Result<[Taken; 2]> {
        let machines = self.machines.clone();
        for (machine, seed) in machines.iter().zip(["77", "78"]) {
            run_in(&machine.guest.name, "/bin/hikae-guest", &["fill", "/b/change", CHANGE, seed])
                .with_context(|| format!("change something in {}", machine.guest.name))?;
        }
        let [a, b] = &machines;
        let second_a = self.back_up(a, "backup of a 1 % change (aim: under 2 s)")?;
        let second_b = self.back_up(b, "backup of a 1 % change (aim: under 2 s)")?;
        for (machine, taken) in [(a, &second_a), (b, &second_b)] {
            let read = bytes_read(&taken.job)?;
            self.checks.that(
                read > 0 && read < CHANGED_AT_MOST,
                format!("the second backup of {} reads only what changed: {}", machine.guest.name, mib(read)),
            );
        }
        self.read_and_stored("second backup", &[&second_a, &second_b])?;
        Ok([second_a, second_b])
    }

    /// One backup by the command line, while the guest writes.
    pub(super) fn back_up(&mut self, machine: &Machine, what: &str) -> Result<Taken> {
        let name = machine.guest.name.clone();
        let (mark, began) = (machine.guest.mark()?, clock());
        let before = machine.guest.numbers()?;
        let done = self.stage.cli.call(&["backup", &machine.instance, "--wait"])?;
        let took = began.elapsed();
        let after = machine.guest.numbers()?;
        self.figures.seconds(format!("{what} of {name}, end to end"), took);
        let pulses = machine.guest.pulses(mark)?;
        let longest = |value: fn(&crate::guest::Pulse) -> u64| pulses.iter().map(value).max().unwrap_or(0);
        self.gaps_ms.push(longest(|pulse| pulse.tick_gap_ms));
        self.figures.add(
            format!("{what} of {name}, seen within the guest"),
            format!(
                "longest write and fsync {} ms, longest gap between ticks {} ms",
                longest(|pulse| pulse.stall_ms),
                longest(|pulse| pulse.tick_gap_ms)
            ),
        );
        self.taken(machine, &answer::text(&done, "id")?, before, after)
    }

    fn taken(&mut self, machine: &Machine, job: &str, before: Numbers, after: Numbers) -> Result<Taken> {
        let job = self.job(job)?;
        let (id, status) = (answer::text(&job, "JobId")?, answer::text(&job, "Status")?);
        let because = answer::text(&job, "ErrorMessage").unwrap_or_default();
        self.checks.that(
            status == "COMPLETE",
            format!("job {id} of {} ends {status} {because}", machine.guest.name),
        );
        let point = self.point_of(&machine.instance, &id)?;
        Ok(Taken { point, job, before, after })
    }

    fn read_and_stored(&mut self, what: &str, taken: &[&Taken]) -> Result<()> {
        for (machine, taken) in self.machines.iter().zip(taken) {
            self.figures.bytes(format!("{what} of {}, read", machine.guest.name), bytes_read(&taken.job)?);
            let stored = answer::number(&taken.job, "ActualBytes")?;
            self.figures.bytes(format!("{what} of {}, stored", machine.guest.name), stored);
        }
        Ok(())
    }
}

/// Read from the host.
pub(super) fn bytes_read(job: &Value) -> Result<u64> {
    answer::number(job, "BytesDone")
}
