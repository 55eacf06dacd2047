//! Protect, back up while it runs, roll back, clone, delete: the story everything else is about.

use backup::{NewBinding, NewPolicy, NewRestoreKind};
use host::sim::{SimDisk, sequence_in, sequences_agree};
use model::{BindingOptions, Days, InstanceStatus, JobStatus, PolicyKind, RuleKind};
use sim::World;

#[tokio::test]
async fn the_main_job() {
    let mut world = World::new(7).await.expect("a world");
    let disks = [SimDisk::tracked(1 << 20), SimDisk::tracked(8 << 20)];
    let instance = world.add_instance_with("db", &disks);
    let data = world.host.disks(instance)[1];
    let mut content = vec![0; 6 << 20];
    model::Entropy::fill(&*world.dice, &mut content);
    world.host.write(instance, data, 1 << 20, &content).expect("written");
    let rule = RuleKind::Backup {
        schedule: None,
        retention: Some(Days(7)),
        keep_latest: false,
        immutable: false,
        vault: None,
    };
    let policy = NewPolicy {
        name: "nightly".to_owned(),
        description: String::new(),
        kind: PolicyKind::Instances,
        rules: vec![rule],
    };
    let policy = world.backup().create_policy(&world.region, policy).await.expect("a policy");
    let rule = world.backup().policy(policy).await.expect("the policy").rules[0].id;
    let binding = NewBinding {
        instance,
        description: String::new(),
        disabled: false,
        options: BindingOptions::default(),
    };
    world.backup().create_bindings(policy, vec![binding]).await.expect("bound");

    let mut points = Vec::new();
    let mut read = Vec::new();
    for _ in 0..2 {
        world.live(instance, 5);
        let job = world.backup().execute_policy(policy, rule, Some(instance)).await.expect("admitted");
        world.run_until_rest().await.expect("rest");
        let job = world.backup().job(job).await.expect("the job");
        assert_eq!(job.status, JobStatus::Complete, "{:?}", job.failure);
        points.push(job.point);
        read.push(job.bytes_read.0);
    }
    assert!(read[1] < read[0] / 2, "the second reads only what changed: {read:?}");
    assert_eq!(world.audit().await.expect("an audit"), []);

    // Roll back to the first point.
    let group = world.backup().point(points[0]).await.expect("the point").group;
    let expected = world.expected(group).expect("its images");
    world.backup().delete_bindings(policy, &[instance]).await.expect("unbound");
    let early = world.ask_roll_back(points[0], instance, false).await;
    assert_eq!(early.expect_err("it runs").code, model::Code::InstanceStatus);
    world.blocks().stop_instance(instance, true).await.expect("stopped");
    let now = world.host.sequences(instance).expect("numbers");
    let restore = world.ask_roll_back(points[0], instance, false).await.expect("admitted");
    world.run_until_rest().await.expect("rest");
    let restore = world.restore(restore).await.expect("the restore");
    assert_eq!(restore.status, JobStatus::Complete, "{:?}", restore.failure);
    assert_eq!(world.images(instance), expected);
    let numbers = world.host.sequences(instance).expect("numbers");
    assert!(sequences_agree(&numbers) && numbers <= now, "{numbers:?} after {now:?}");

    // Clone from the second.
    let kind = NewRestoreKind::CloneInstance {
        name: "db-clone".to_owned(),
        host_name: String::new(),
        shape: None,
        network: String::new(),
        boot: true,
    };
    let second = world.backup().point(points[1]).await.expect("the point");
    let restore = world.ask_restore(points[1], kind).await.expect("admitted");
    world.run_until_rest().await.expect("rest");
    let restore = world.restore(restore).await.expect("the restore");
    assert_eq!(restore.status, JobStatus::Complete, "{:?}", restore.failure);
    let clone = world.host.instances().into_iter().find(|found| found.name == "db-clone").expect("a clone");
    let source = world.host.instances().into_iter().find(|found| found.id == instance).expect("its source");
    assert_ne!(clone.uuid, source.uuid);
    assert_ne!(world.host.macs(clone.id).expect("macs"), world.host.macs(instance).expect("macs"));
    assert_eq!(clone.status, InstanceStatus::Running);
    let first_numbers: Vec<u64> = world
        .expected(second.group)
        .expect("its images")
        .values()
        .map(|image| sequence_in(&image[usize::try_from(host::sim::SEQUENCE_OFFSET).unwrap()..]))
        .collect();
    let numbers = world.host.sequences(clone.id).expect("numbers");
    assert!(sequences_agree(&numbers) && numbers.iter().min() >= first_numbers.iter().min());

    // Delete the first; the second restores byte for byte (the auditor compares).
    world.backup().delete_point(points[0]).await.expect("deleted");
    assert!(world.backup().point(points[0]).await.is_err(), "invisible at once");
    world.run_until_rest().await.expect("rest");
    assert_eq!(world.audit().await.expect("an audit"), []);
    assert!(world.depot.group(group).await.expect("the depot").is_none());
}
