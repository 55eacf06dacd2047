//! Steps 4 to 6: roll back, clone, and what deleting a point leaves of the others.

use anyhow::{Context as _, Result};

use super::{Machine, Play, Taken, clock};
use crate::demo::{answer, disk_files, same_content};
use crate::guest::{Guest, PREFIX};

impl Play<'_> {
    pub(super) fn roll_back(&mut self, to: &Taken) -> Result<()> {
        let machine = self.machines[0].clone();
        let name = machine.guest.name.clone();
        let running = self.stage.cli.refused(&["rollback", &to.point, "--wait", "--yes"])?;
        self.checks.that(running.is_some(), format!("roll back of running {name} is refused: {running}"));
        self.stage.cli.api(
            "Ecs",
            "StopInstance",
            &[("InstanceId", &machine.instance), ("ForceStop", "true")],
        )?;
        self.wait_state(&machine, "shut off")?;
        let began = clock();
        self.stage.cli.call(&["rollback", &to.point, "--wait", "--yes"])?;
        self.figures.seconds(format!("roll back of {name}"), began.elapsed());
        self.boots_as_of(&machine, to, "rolled back")
    }

    /// Starts it and looks at what it finds on its disks.
    fn boots_as_of(&mut self, machine: &Machine, taken: &Taken, what: &str) -> Result<()> {
        let name = &machine.guest.name;
        let mark = machine.guest.mark()?;
        self.stage.cli.call(&["instance", "start", &machine.instance])?;
        let boot = machine.guest.booted(mark)?;
        self.checks
            .that(boot.clean(), format!("{name}, {what}, boots with clean file systems {:?}", boot.damage));
        let found = boot.found;
        self.checks.that(
            found.of_one_instant(),
            format!("{name}, {what}, shows one instant on both disks: a={} b={}", found.a, found.b),
        );
        let Taken { before, after, .. } = taken;
        self.checks.that(
            taken.may_hold(found),
            format!("{name}, {what}, is of the point's moment: {}..={} holds {}", before.a, after.a, found.a),
        );
        machine.guest.agent_ready()
    }

    pub(super) fn clone_running(&mut self, from: &Taken) -> Result<()> {
        let original = self.machines[1].clone();
        let began = clock();
        let clone = self.clone_as(&from.point, "clone")?;
        self.figures.seconds(format!("clone of {}", original.guest.name), began.elapsed());

        let (macs, disks) = original.guest.mac_and_disks()?;
        let (new_macs, new_disks) = clone.guest.mac_and_disks()?;
        let new_identity =
            clone.guest.uuid()? != original.guest.uuid()? && clone.instance != original.instance;
        self.checks.that(new_identity, "the clone has a UUID and an instance id of its own");
        let apart = |one: &[String], other: &[String]| one.iter().all(|value| !other.contains(value));
        self.checks.that(apart(&macs, &new_macs), "the clone has MAC addresses of its own");
        let own_disks = apart(&disks, &new_disks) && new_disks.len() == disks.len();
        self.checks.that(own_disks, "the clone has disks of its own, and as many");

        self.boots_as_of(&clone, from, "cloned")?;
        let awake = self.stay_awake()?;
        self.checks.that(awake == [true, true], "the original writes on beside its clone");
        clone.guest.destroy()
    }

    /// Clones to a stopped instance of this name.
    fn clone_as(&self, point: &str, which: &str) -> Result<Machine> {
        let name = format!("{PREFIX}{which}");
        let done = self.stage.cli.call(&["clone", point, "--name", &name, "--wait"])?;
        let guest = Guest::known(&name)?;
        guest.uuid().with_context(|| format!("the clone {name} is no domain"))?;
        Ok(Machine { guest, instance: answer::text(&done, "target_instance_id")? })
    }

    /// The second point before and after the first is gone, compared byte for byte.
    pub(super) fn delete_first(&mut self, first: &Taken, second: &Taken) -> Result<()> {
        let instance = self.machines[0].instance.clone();
        let before = self.clone_as(&second.point, "before")?;
        self.stage.cli.call(&["point", "delete", "--yes", &first.point])?;
        let left = self.points(&instance)?;
        let gone =
            left.iter().all(|point| answer::text(point, "SnapshotId").is_ok_and(|id| id != first.point));
        self.checks.that(gone, "the deleted point is listed no more");
        let refused =
            self.stage.cli.refused(&["clone", &first.point, "--name", "hikae-demo-none", "--wait"])?;
        self.checks.that(refused.is_some(), format!("the deleted point can't be cloned: {refused}"));

        let after = self.clone_as(&second.point, "after")?;
        let (one, other) = (disk_files(&before.guest)?, disk_files(&after.guest)?);
        let mut same = one.len() == other.len() && !one.is_empty();
        for (one, other) in one.iter().zip(&other) {
            same &= same_content(one, other)?;
        }
        self.checks
            .that(same, format!("the second point restores the same {} disks byte for byte", one.len()));
        Ok(())
    }

    pub(super) fn wait_state(&self, machine: &Machine, state: &str) -> Result<()> {
        let what = format!("{} is {state}", machine.guest.name);
        crate::sh::wait_for(&what, std::time::Duration::from_secs(60), || {
            Ok((machine.guest.state()? == state).then_some(()))
        })
    }
}
