//! Bad days of real machines, seen over the wire: each has its code, the guest lives, and the next backup
//! works.

mod machines;
mod support;

use machines::{Libvirtd, MIB};
use serde_json::{Value, json};
use support::{Api, ECS, HBR, Server, text_of};

/// So much that a job is still copying when the test looks.
const LONG: u64 = 160 * MIB;

fn restore<'a>(kind: &'a str, point: &'a str, detail: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("RestoreType", kind),
        ("SourceType", "UDM_ECS"),
        ("SnapshotId", point),
        ("UdmRegionId", "default"),
        ("UdmDetail", detail),
    ]
}

fn point_of(job: &Value) -> String {
    text_of(&job["Detail"], "SnapshotId")
}

#[tokio::test]
async fn a_released_instance_keeps_its_points_and_lives_again_as_a_clone() {
    let libvirtd = Libvirtd::started();
    let server = libvirtd.server();
    let api = server.api();
    // It comes and goes between two looks at its host.
    libvirtd.machine("mail", &libvirtd.image("mail.qcow2", "qcow2", 8 * MIB));
    libvirtd.write("mail", 0, 0x5a, MIB, MIB);
    let mail = api.instance("mail").await;
    let point = point_of(&api.backed_up(&mail).await);

    libvirtd.virsh(&["destroy", "mail"]);
    libvirtd.virsh(&["undefine", "mail", "--checkpoints-metadata"]);
    let again = [("SourceType", "UDM_ECS"), ("InstanceId", mail.as_str()), ("Retention", "7")];
    api.refused(HBR, "CreateBackupJob", &again, "EcsInstanceReleased", 400).await;
    let detail = json!({"sourceInstanceId": mail}).to_string();
    let back = restore("UDM_ECS_ROLLBACK", &point, &detail);
    api.refused(HBR, "CreateRestoreJob", &back, "EcsInstanceReleased", 400).await;
    api.refused(ECS, "StartInstance", &[("InstanceId", &mail)], "EcsInstanceReleased", 400).await;
    assert!(api.instances().await.is_empty());
    let points = api.points().await;
    assert_eq!(points.len(), 1, "{points:?}");
    assert_eq!(text_of(&points[0], "InstanceId"), mail);

    let detail = json!({"restoredName": "mail-again", "bootAfterRestore": true}).to_string();
    let made = api.ok(HBR, "CreateRestoreJob", &restore("UDM_ECS", &point, &detail)).await;
    let row = api.restored(&text_of(&made, "RestoreId")).await;
    assert_eq!(text_of(&row, "Status"), "COMPLETE", "{row}");
    assert_eq!(libvirtd.state("mail-again"), "running");
    assert_eq!(libvirtd.read("mail-again", MIB - 1, 3), [0, 0x5a, 0x5a]);
    let clone = api.instance("mail-again").await;
    assert_ne!(clone, mail);
    api.backed_up(&clone).await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_snapshotted_is_shown_refused_by_name_and_left_out() {
    let libvirtd = Libvirtd::started();
    let system = libvirtd.image("a.qcow2", "qcow2", 4 * MIB);
    let shared = libvirtd.image("b.raw", "raw", 4 * MIB);
    libvirtd.define("db", &[(&system, "qcow2", ""), (&shared, "raw", "<shareable/>")]);
    libvirtd.virsh(&["start", "db"]);
    let server = libvirtd.server();
    let api = server.api();
    let db = api.instance("db").await;
    let answer = api.ok(ECS, "DescribeDisks", &[("InstanceId", &db)]).await;
    let disks = answer["Disks"]["Disk"].as_array().expect("a list");
    let shown: Vec<_> = disks.iter().map(|disk| text_of(disk, "Category")).collect();
    assert!(shown[0].starts_with("cloud_") && shown[1].starts_with("local_"), "{shown:?}");
    let [system, local] = [&disks[0], &disks[1]].map(|disk| text_of(disk, "DiskId"));

    let ask = |detail: Value| (detail.to_string(), db.clone());
    for (detail, code, status) in [
        (json!({"diskIdList": [local]}), "DiskCategory.OperationNotSupported", 400),
        (json!({"diskIdList": [system, local]}), "DiskCategory.OperationNotSupported", 400),
        (json!({"excludeDiskIdList": [system]}), "InvalidInstance.NoDisk", 400),
        (json!({"diskIdList": ["d-00000000000000000000"]}), "InvalidDiskId.NotFound", 404),
    ] {
        let (detail, db) = ask(detail);
        let params =
            [("SourceType", "UDM_ECS"), ("InstanceId", &*db), ("Retention", "7"), ("Detail", &*detail)];
        api.refused(HBR, "CreateBackupJob", &params, code, status).await;
    }
    assert!(api.points().await.is_empty());

    server.cli(&["policy", "create", "all"]);
    server.cli(&["protect", "db", "--policy", "all"]);
    let run = server.cli(&["policy", "run", "all", "--wait"]);
    assert_eq!(text_of(&run, "status"), "COMPLETE", "{run}");
    let points = api.points().await;
    assert_eq!(points[0]["Detail"]["DiskIdList"], json!([system]), "{points:?}");
}

#[tokio::test]
async fn a_backup_is_alone_can_be_cancelled_and_dies_with_its_guest() {
    let libvirtd = Libvirtd::started();
    libvirtd.machine("web", &libvirtd.full_image("web.qcow2", LONG));
    let server = libvirtd.server();
    let api = server.api();
    let web = api.instance("web").await;

    let job = api.begin(&web).await;
    let again = [("SourceType", "UDM_ECS"), ("InstanceId", web.as_str()), ("Retention", "7")];
    api.refused(HBR, "CreateBackupJob", &again, "JobAlreadyRunning", 400).await;
    api.copying(&job).await;
    libvirtd.hold("web");
    api.ok(HBR, "CancelBackupJob", &[("JobId", &job)]).await;
    libvirtd.let_go("web");
    let row = api.finished(&job).await;
    assert_eq!(text_of(&row, "Status"), "CANCELED", "{row}");
    api.refused(HBR, "CancelBackupJob", &[("JobId", &job)], "JobAlreadyFinished", 400).await;
    libvirtd.assert_no_session("web");
    assert_eq!((libvirtd.state("web").as_str(), libvirtd.checkpoints("web")), ("running", 0));

    let job = api.begin(&web).await;
    api.copying(&job).await;
    libvirtd.hold("web");
    libvirtd.virsh(&["destroy", "web"]);
    let row = api.finished(&job).await;
    assert_eq!(text_of(&row, "Status"), "FAILED", "{row}");
    assert!(!text_of(&row, "ErrorMessage").is_empty(), "{row}");
    libvirtd.assert_no_session("web");
    assert!(api.points().await.is_empty(), "no half point is shown");

    libvirtd.virsh(&["start", "web"]);
    let point = point_of(&api.backed_up(&web).await);
    let detail = json!({"sourceInstanceId": web}).to_string();
    let back = restore("UDM_ECS_ROLLBACK", &point, &detail);
    api.refused(HBR, "CreateRestoreJob", &back, "IncorrectInstanceStatus", 403).await;
    libvirtd.write("web", 0, 7, MIB, MIB);
    let next = api.backed_up(&web).await;
    assert_eq!(next["BytesDone"].as_u64(), Some(MIB), "only what changed is read: {next}");
    assert_eq!(libvirtd.checkpoints("web"), 1);
}

/// A QEMU that does not answer (its storage is gone, say) is not the end of everybody else.
#[tokio::test]
async fn a_machine_that_hangs_hangs_alone() {
    let libvirtd = Libvirtd::started();
    libvirtd.machine("stuck", &libvirtd.image("stuck.qcow2", "qcow2", 4 * MIB));
    libvirtd.machine("web", &libvirtd.image("web.qcow2", "qcow2", 4 * MIB));
    let server = libvirtd.server();
    let api = server.api();
    libvirtd.hold("stuck");
    let web = api.instance("web").await;
    assert_eq!(api.instances().await.len(), 2);
    let disks = api.ok(ECS, "DescribeDisks", &[]).await;
    assert_eq!(disks["TotalCount"], 2, "{disks}");
    let job = api.begin(&api.instance("stuck").await).await;
    // That one waits for its QEMU; meanwhile all is as ever.
    api.backed_up(&web).await;
    assert_eq!(api.instances().await.len(), 2);
    assert_eq!(text_of(&api.job(&job).await, "Status"), "RUNNING");
    libvirtd.let_go("stuck");
    let row = api.finished(&job).await;
    assert_eq!(text_of(&row, "Status"), "COMPLETE", "{row}");
}

#[tokio::test]
async fn a_host_without_scratch_space_fails_the_job_and_not_the_guest() {
    let mut libvirtd = Libvirtd::new();
    let scratch = libvirtd.tmpfs("s", "8m");
    libvirtd.start();
    libvirtd.machine("web", &libvirtd.full_image("web.qcow2", LONG));
    let server = libvirtd.server();
    let api = server.api();
    let web = api.instance("web").await;
    api.fails(&api.begin(&web).await, "HostNoSpace").await;
    libvirtd.assert_no_session("web");

    // Enough to begin; somebody else takes it while the job runs.
    libvirtd.resize(&scratch, "400m");
    let job = api.begin(&web).await;
    api.copying(&job).await;
    libvirtd.hold("web");
    machines::run(std::process::Command::new("fallocate").args(["-l", "390M"]).arg(scratch.join("filler")));
    support::wait_for("the session is given up", || server.log().contains("scratch space runs out")).await;
    libvirtd.let_go("web");
    api.fails(&job, "HostNoSpace").await;
    assert_eq!(libvirtd.state("web"), "running");
    libvirtd.assert_no_session("web");

    std::fs::remove_file(scratch.join("filler")).expect("room again");
    api.backed_up(&web).await;
    assert_eq!(api.points().await.len(), 1);
}

#[tokio::test]
async fn a_full_depot_fails_the_job_and_loses_nothing_it_has() {
    let mut libvirtd = Libvirtd::new();
    let depot = libvirtd.tmpfs("depot", "40m");
    libvirtd.start();
    libvirtd.machine("small", &libvirtd.full_image("small.qcow2", 4 * MIB));
    libvirtd.machine("web", &libvirtd.full_image("web.qcow2", 64 * MIB));
    let config = libvirtd.config(&format!("depot.directory = '{}'", depot.display()));
    let server = Server::with(&[], &config);
    let api = server.api();
    let (small, web) = (api.instance("small").await, api.instance("web").await);
    let point = point_of(&api.backed_up(&small).await);
    api.fails(&api.begin(&web).await, "DepotNoSpace").await;
    assert_eq!(libvirtd.state("web"), "running");
    libvirtd.assert_no_session("web");

    // What was there is there, and can be had while the depot is full.
    let before = libvirtd.read("small", 0, 4 << 20);
    let detail = json!({"restoredName": "copy"}).to_string();
    let made = api.ok(HBR, "CreateRestoreJob", &restore("UDM_ECS", &point, &detail)).await;
    let row = api.restored(&text_of(&made, "RestoreId")).await;
    assert_eq!(text_of(&row, "Status"), "COMPLETE", "{row}");
    assert!(libvirtd.read("copy", 0, 4 << 20) == before, "byte for byte");

    libvirtd.resize(&depot, "200m");
    api.backed_up(&web).await;
    assert_eq!(api.points().await.len(), 2);
}

#[tokio::test]
async fn a_server_that_dies_leaves_neither_job_nor_mark_on_its_host() {
    let libvirtd = Libvirtd::started();
    libvirtd.machine("web", &libvirtd.full_image("web.qcow2", LONG));
    let mut server = libvirtd.server();
    let web = server.api().instance("web").await;
    let mut complete = 0;
    for round in 0..4_u8 {
        let api = server.api();
        libvirtd.write("web", 0, round, MIB, MIB);
        let before = libvirtd.checkpoints("web");
        let job = api.begin(&web).await;
        // At once; as soon as it is marked; as soon as it copies; when it is over: or later, if it is fast.
        loop {
            let row = api.job(&job).await;
            let is_marked = || libvirtd.checkpoints("web") > before;
            let is_copying = row["BytesDone"].as_u64() > Some(0);
            let is_over = !["CREATED", "RUNNING"].contains(&text_of(&row, "Status").as_str());
            if is_over || round == 0 || (round == 1 && is_marked()) || (round == 2 && is_copying) {
                break;
            }
        }
        server.kill();
        assert_eq!(libvirtd.state("web"), "running", "no guest is held still");
        server.launch();
        let row = server.api().finished(&job).await;
        match text_of(&row, "Status").as_str() {
            "COMPLETE" => complete += 1,
            "FAILED" => assert!(!text_of(&row, "ErrorMessage").is_empty(), "{row}"),
            other => panic!("{other}: {row}"),
        }
        libvirtd.assert_no_session("web");
        assert_eq!(server.api().points().await.len(), complete);
        assert_eq!(libvirtd.checkpoints("web"), usize::from(complete > 0), "{row}");
    }
    server.api().backed_up(&web).await;
    assert_eq!(libvirtd.checkpoints("web"), 1);
}

#[tokio::test]
async fn a_restore_that_finds_no_room_leaves_all_as_it_was() {
    let mut libvirtd = Libvirtd::new();
    let images = libvirtd.tmpfs("d", "44m");
    libvirtd.start();
    libvirtd.machine("web", &libvirtd.full_image("web.qcow2", 24 * MIB));
    let server = libvirtd.server();
    let api = server.api();
    let web = api.instance("web").await;
    let point = point_of(&api.backed_up(&web).await);
    let files = || {
        let entries = std::fs::read_dir(&images).expect("the images");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let (before, content) = (files(), libvirtd.read("web", 0, 24 << 20));

    let clone = json!({"restoredName": "copy"}).to_string();
    let made = api.ok(HBR, "CreateRestoreJob", &restore("UDM_ECS", &point, &clone)).await;
    let no_room = async |made: &Value| {
        let row = api.restored(&text_of(made, "RestoreId")).await;
        assert_eq!(text_of(&row, "Status"), "FAILED", "{row}");
        assert!(text_of(&row, "ErrorMessage").starts_with("HostNoSpace: "), "{row}");
        assert_eq!(files(), before);
    };
    no_room(&made).await;
    assert_eq!(api.instances().await, [web.as_str()]);

    libvirtd.virsh(&["destroy", "web"]);
    let back = json!({"sourceInstanceId": web}).to_string();
    let made = api.ok(HBR, "CreateRestoreJob", &restore("UDM_ECS_ROLLBACK", &point, &back)).await;
    no_room(&made).await;
    assert!(libvirtd.read("web", 0, 24 << 20) == content, "the disk is as it was");

    libvirtd.resize(&images, "100m");
    let made = api.ok(HBR, "CreateRestoreJob", &restore("UDM_ECS_ROLLBACK", &point, &back)).await;
    let row = api.restored(&text_of(&made, "RestoreId")).await;
    assert_eq!(text_of(&row, "Status"), "COMPLETE", "{row}");
    assert!(libvirtd.read("web", 0, 24 << 20) == content, "byte for byte");
    libvirtd.virsh(&["start", "web"]);
    api.backed_up(&web).await;
}

#[tokio::test]
async fn libvirtd_may_go_and_come_before_and_during_a_job() {
    let mut libvirtd = Libvirtd::started();
    libvirtd.machine("web", &libvirtd.full_image("web.qcow2", LONG));
    libvirtd.kill();
    let server = libvirtd.server();
    let api = server.api();
    let unavailable = async |api: &Api, instance: &str| {
        api.refused(ECS, "DescribeInstances", &[], "HostUnavailable", 503).await;
        let backup = [("SourceType", "UDM_ECS"), ("InstanceId", instance), ("Retention", "7")];
        api.refused(HBR, "CreateBackupJob", &backup, "HostUnavailable", 503).await;
        api.refused(ECS, "StartInstance", &[("InstanceId", instance)], "HostUnavailable", 503).await;
        // What needs no host is answered.
        api.ok(HBR, "DescribePoliciesV2", &[]).await;
    };
    unavailable(&api, "i-00000000000000000000").await;
    let (code, said) = server.cli_fails(&["backup", "web"]);
    assert_eq!((code, said["error"]["code"].as_str()), (3, Some("HostUnavailable")), "{said}");

    libvirtd.start();
    let web = api.instance("web").await;
    let job = api.begin(&web).await;
    api.copying(&job).await;
    libvirtd.hold("web");
    libvirtd.kill();
    libvirtd.let_go("web");
    unavailable(&api, &web).await;
    let row = api.finished(&job).await;
    let status = text_of(&row, "Status");
    assert!(status == "COMPLETE" || status == "FAILED" && !text_of(&row, "ErrorMessage").is_empty(), "{row}");

    libvirtd.start();
    assert_eq!(libvirtd.state("web"), "running", "the guest ran on");
    let row = api.backed_up(&web).await;
    let complete = if status == "COMPLETE" { 2 } else { 1 };
    assert_eq!(api.points().await.len(), complete, "{row}");
    libvirtd.assert_no_session("web");
    assert_eq!(libvirtd.checkpoints("web"), 1);
}
