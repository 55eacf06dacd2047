//! Cases: new instances from a spec and prepared disks.

use model::{ByteCount, InstanceStatus};

use super::bench::{Bench, MIB, ODD, ensure, refused};
use super::{Fixture, Outcome, Wrong};
use crate::{DiskTarget, HostError, NewInstance, instance_id};

/// A clone of the bench's instance, ready to be defined, and what its disks hold.
async fn clone_of(bench: &Bench<'_>) -> Result<(NewInstance, Vec<Vec<u8>>), Wrong> {
    let group = bench.group();
    let spec = bench.mark(group, None).await?.spec;
    bench.drop(group).await?;
    let source = bench.host.find(bench.instance).await?;
    let mut uuid = [0; 16];
    bench.fixture.entropy().fill(&mut uuid);
    // As RFC 9562 writes a random UUID: hypervisors may look.
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    let id = instance_id(&source.region, uuid);
    let task = bench.task();
    let name = format!("contract-{id}");
    let contents = vec![bench.pattern(4 * MIB), bench.pattern(ODD)];
    let mut disks = Vec::new();
    for (disk, content) in source.disks.iter().zip(&contents) {
        let target = DiskTarget::ForNew {
            instance: id,
            name: name.clone(),
            device: disk.device.clone(),
            size: ByteCount(content.len() as u64),
            spec: spec.clone(),
        };
        disks.push((disk.device.clone(), bench.prepared(task, &target, content).await?));
    }
    let new = NewInstance { id, uuid, task, name, spec, disks, vcpus: None, memory: None, network: None };
    Ok((new, contents))
}

async fn holds(bench: &Bench<'_>, new: &NewInstance, contents: &[Vec<u8>]) -> Outcome {
    let shown = bench.host.find(new.id).await?;
    ensure!(
        shown.disks.len() == contents.len(),
        "{} disks are shown of {}",
        shown.disks.len(),
        contents.len()
    );
    for (disk, wanted) in shown.disks.iter().zip(contents) {
        ensure!(disk.size.0 == wanted.len() as u64, "{} is shown with {}", disk.device, disk.size);
        ensure!(
            bench.fixture.content(new.id, disk.id).await? == *wanted,
            "{} holds something else",
            disk.device
        );
    }
    Ok(())
}

pub(super) async fn a_defined_instance_has_an_identity_of_its_own(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let before = bench.contents().await?;
    let (new, contents) = clone_of(&bench).await?;
    refused!(bench.host.find(new.id).await, HostError::NoInstance, "finding a clone not yet defined");
    bench.host.define(&new).await?;
    let source = bench.host.find(bench.instance).await?;
    let shown = bench.host.find(new.id).await?;
    ensure!(shown.uuid == new.uuid && shown.uuid != source.uuid, "the clone's UUID is {:?}", shown.uuid);
    ensure!(shown.name == new.name, "the clone is called {}", shown.name);
    ensure!(
        shown.status == InstanceStatus::Stopped,
        "the clone is {:?} before anybody started it",
        shown.status
    );
    ensure!(shown.vcpus == source.vcpus && shown.memory == source.memory, "the clone has another shape");
    ensure!(shown.disks.iter().all(|disk| !bench.disks.contains(&disk.id)), "the clone shares a disk's id");
    let macs = fixture.macs(bench.instance).await?;
    let shared = fixture.macs(new.id).await?.iter().any(|mac| macs.contains(mac));
    ensure!(!shared, "the clone shares a MAC address");
    holds(&bench, &new, &contents).await?;
    bench.host.start(new.id).await?;
    holds(&bench, &new, &contents).await?;
    ensure!(bench.contents().await? == before, "cloning changed the source");
    ensure!(
        bench.host.find(bench.instance).await?.status == InstanceStatus::Running,
        "cloning stopped the source"
    );
    Ok(())
}

pub(super) async fn a_defined_instance_takes_another_shape(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let source = bench.host.find(bench.instance).await?;
    let (mut new, mut contents) = clone_of(&bench).await?;
    new.vcpus = Some(source.vcpus + 1);
    new.memory = Some(source.memory + ByteCount(32 * MIB));
    // Only the system disk: what the clone does not name is left out.
    if let Some((_, left_out)) = new.disks.pop() {
        bench.host.discard(new.task, left_out.target()).await?;
        contents.pop();
    }
    bench.host.define(&new).await?;
    let shown = bench.host.find(new.id).await?;
    ensure!(Some(shown.vcpus) == new.vcpus, "{} processors were made", shown.vcpus);
    ensure!(Some(shown.memory) == new.memory, "{} of memory was made", shown.memory);
    holds(&bench, &new, &contents).await
}

pub(super) async fn defining_twice_is_fine(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let (new, contents) = clone_of(&bench).await?;
    bench.host.define(&new).await?;
    bench.host.define(&new).await?;
    let listed = bench.host.list().await?.iter().filter(|found| found.name == new.name).count();
    ensure!(listed == 1, "{listed} instances are listed under the clone's name");
    holds(&bench, &new, &contents).await
}

pub(super) async fn undefining_cleans_up(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let (new, _) = clone_of(&bench).await?;
    // Undo also comes for what never got that far.
    let mut uuid = new.uuid;
    uuid[0] ^= 1;
    let region = bench.host.find(bench.instance).await?.region;
    let never = NewInstance { id: instance_id(&region, uuid), uuid, disks: Vec::new(), ..new.clone() };
    bench.host.undefine(&never).await?;
    bench.host.define(&new).await?;
    bench.host.undefine(&new).await?;
    refused!(bench.host.find(new.id).await, HostError::NoInstance, "finding an undefined instance");
    bench.host.undefine(&new).await?;
    for (_, disk) in &new.disks {
        bench.host.discard(new.task, disk.target()).await?;
    }
    let left = fixture.left_on(new.id).await?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    bench.nothing_left().await
}

/// An undo gone astray must not cost anybody an instance.
pub(super) async fn undefining_spares_what_was_not_defined(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, MIB, 0x11).await?;
    let before = bench.contents().await?;
    let source = bench.host.find(bench.instance).await?;
    let (new, _) = clone_of(&bench).await?;
    let astray = NewInstance { id: bench.instance, uuid: source.uuid, name: source.name, ..new.clone() };
    // Whether it refuses or says all is well, the instance stays.
    drop(bench.host.undefine(&astray).await);
    let shown = bench.host.find(bench.instance).await?;
    ensure!(shown.disks.len() == 2, "the instance lost its disks");
    ensure!(bench.contents().await? == before, "the instance's disks changed");
    bench.host.undefine(&new).await?;
    for (_, disk) in &new.disks {
        bench.host.discard(new.task, disk.target()).await?;
    }
    Ok(())
}

pub(super) async fn a_defined_disk_is_out_of_reach(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let (new, contents) = clone_of(&bench).await?;
    bench.host.define(&new).await?;
    for (_, disk) in &new.disks {
        ensure!(bench.host.writer(disk).await.is_err(), "a disk in use was opened for writing");
        // Whether it refuses or makes another, the one in use stays as it is.
        drop(bench.host.prepare(new.task, disk.target()).await);
        bench.host.discard(new.task, disk.target()).await?;
    }
    holds(&bench, &new, &contents).await
}
