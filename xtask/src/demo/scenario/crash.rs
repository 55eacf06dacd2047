//! Step 7: the server dies in the middle of a backup, and comes back.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Machine, Play};
use crate::demo::answer;
use crate::libvirtd::virsh;
use crate::sh::{say, wait_for};

/// Moments to die at; each is drawn anew in every run.
const CRASHES: usize = 3;

/// A backup here takes about a second; a moment within it is what we want.
const DIE_WITHIN_MS: u64 = 1200;

const RECOVERED_AT_MOST: Duration = Duration::from_secs(120);

impl Play<'_> {
    pub(super) fn crash(&mut self) -> Result<()> {
        let machine = self.machines[1].clone();
        for _ in 0..CRASHES {
            self.crash_once(&machine)?;
        }
        let taken = self.back_up(&machine, "backup after the crashes")?;
        self.checks.that(!taken.point.is_empty(), "the next backup works");
        self.nothing_dangles(&machine)
    }

    fn crash_once(&mut self, machine: &Machine) -> Result<()> {
        let known = self.points(&machine.instance)?.len();
        let started = self.stage.cli.call(&["backup", &machine.instance])?;
        let job = answer::text(&started, "id")?;
        let moment = Duration::from_millis(random()? % DIE_WITHIN_MS);
        std::thread::sleep(moment);
        self.stage.server.kill()?;
        say(format!("server killed {} ms into job {job}", moment.as_millis()));
        self.stage.server.restart(self.janitor)?;

        let ended = wait_for(&format!("job {job} ends"), RECOVERED_AT_MOST, || {
            let job = self.job(&job)?;
            let status = answer::text(&job, "Status")?;
            Ok(matches!(status.as_str(), "COMPLETE" | "FAILED").then_some((status, job)))
        })?;
        let (status, job) = ended;
        let because = answer::text(&job, "ErrorMessage").unwrap_or_default();
        let said = status == "COMPLETE" || !because.is_empty();
        self.checks
            .that(said, format!("killed at {} ms, the job ends {status} {because}", moment.as_millis()));

        let points = self.points(&machine.instance)?;
        let whole =
            points.iter().all(|point| answer::text(point, "Status").is_ok_and(|status| status == "COMPLETE"));
        let expected = known + usize::from(status == "COMPLETE");
        self.checks.that(
            whole && points.len() == expected,
            format!("no half point: {} of {expected}", points.len()),
        );
        self.nothing_dangles(machine)
    }

    fn nothing_dangles(&mut self, machine: &Machine) -> Result<()> {
        let name = machine.guest.name.clone();
        let state = machine.guest.state()?;
        self.checks.that(state == "running", format!("{name} is {state}"));
        // The end of a job and the end of its clean-up are two events: the second may take a moment.
        let idle = wait_for("the host is idle", Duration::from_secs(20), || {
            Ok(virsh(&["domjobinfo", &name])?.contains("None").then_some(()))
        });
        self.checks.that(idle.is_ok(), format!("no libvirt job is left on {name}"));
        let checkpoints = virsh(&["checkpoint-list", &name, "--name"])?;
        let count = checkpoints.lines().filter(|line| !line.trim().is_empty()).count();
        self.checks
            .that(count <= 1, format!("{name} carries the next base and no other checkpoint: {count}"));
        Ok(())
    }
}

/// From the system: every run dies at other moments.
fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("draw a moment")?;
    Ok(u64::from_le_bytes(bytes))
}
