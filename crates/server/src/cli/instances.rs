//! Instances: listing them, and finding the one that is meant.

use model::{ByteCount, InstanceId};
use serde::Serialize;
use serde_json::Value;

use super::answer::{at, flag, items, number, text};
use super::failure::Failure;
use super::output::{self, Row};
use super::{Session, pairs};

const PAGE: usize = 100;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct InstanceRow {
    pub(crate) id: String,
    pub(crate) name: String,
    region: String,
    zone: String,
    status: String,
    vcpus: u64,
    memory_bytes: u64,
    os: String,
    simulated: bool,
    disks: Vec<DiskRow>,
}

#[derive(Debug, Clone, Serialize)]
struct DiskRow {
    id: String,
    device: String,
    kind: String,
    size_bytes: u64,
    category: String,
    encrypted: bool,
}

impl Row for InstanceRow {
    const HEADER: &'static [&'static str] = &["ID", "NAME", "STATUS", "CPUS", "MEMORY", "DISKS", "ZONE"];

    fn cells(&self) -> Vec<String> {
        let disks: Vec<_> = self.disks.iter().map(DiskRow::print).collect();
        let name = if self.simulated { format!("{} (simulated)", self.name) } else { self.name.clone() };
        vec![
            self.id.clone(),
            name,
            self.status.clone(),
            self.vcpus.to_string(),
            ByteCount(self.memory_bytes).to_string(),
            output::dash(&disks.join(", ")),
            self.zone.clone(),
        ]
    }
}

impl DiskRow {
    fn print(&self) -> String {
        let device = self.device.strip_prefix("/dev/").unwrap_or(&self.device);
        let refused = if self.category.starts_with("local") { " (cannot be backed up)" } else { "" };
        format!("{device} {}{refused}", ByteCount(self.size_bytes))
    }
}

pub(crate) async fn list(session: &Session) -> Result<(), Failure> {
    output::list(session.output, &fetch(session).await?)
}

pub(crate) async fn start(session: &Session, instance: &str) -> Result<(), Failure> {
    let id = find(session, instance).await?;
    let answer = session.client.ecs("StartInstance", pairs([("InstanceId", &id)])).await?;
    output::one(session.output, &answer, &format!("{id} starts"))
}

pub(crate) async fn stop(session: &Session, instance: &str, force: bool) -> Result<(), Failure> {
    let id = find(session, instance).await?;
    let force = force.to_string();
    let answer =
        session.client.ecs("StopInstance", pairs([("InstanceId", &id), ("ForceStop", &force)])).await?;
    output::one(session.output, &answer, &format!("{id} stops"))
}

/// The id of the instance meant: ids are taken as they are, names must be of one instance only.
pub(crate) async fn find(session: &Session, given: &str) -> Result<String, Failure> {
    if given.parse::<InstanceId>().is_ok() {
        return Ok(given.to_owned());
    }
    let rows = fetch(session).await?;
    pick("instance", given, rows.iter().map(|row| (row.id.as_str(), row.name.as_str())))
}

/// Of (id, name) pairs, the id of the only one with this id or name.
pub(crate) fn pick<'a>(
    noun: &str,
    given: &str,
    known: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<String, Failure> {
    let found: Vec<_> = known.filter(|(id, name)| *id == given || *name == given).map(|(id, _)| id).collect();
    match found.as_slice() {
        [id] => Ok((*id).to_owned()),
        [] => Err(Failure::Usage(format!("there is no {noun} {given:?}: give an id, or a name as listed"))),
        ids => {
            let ids = ids.join(", ");
            Err(Failure::Usage(format!("{given:?} is the name of more than one {noun}: say which of {ids}")))
        }
    }
}

async fn fetch(session: &Session) -> Result<Vec<InstanceRow>, Failure> {
    let instances = pages(session, "DescribeInstances", &["Instances", "Instance"]).await?;
    let disks = pages(session, "DescribeDisks", &["Disks", "Disk"]).await?;
    Ok(instances.iter().map(|instance| row(instance, &disks)).collect())
}

async fn pages(session: &Session, action: &str, path: &[&str]) -> Result<Vec<Value>, Failure> {
    let region = session.client.region().await?;
    let mut all = Vec::new();
    loop {
        let number = (all.len() / PAGE + 1).to_string();
        let params = pairs([("RegionId", &region), ("PageNumber", &number), ("PageSize", &PAGE.to_string())]);
        let answer = session.client.ecs(action, params).await?;
        let page = items(&answer, path);
        all.extend_from_slice(page);
        if page.len() < PAGE {
            return Ok(all);
        }
    }
}

fn row(instance: &Value, disks: &[Value]) -> InstanceRow {
    let id = text(instance, "InstanceId");
    let own = disks.iter().filter(|disk| text(disk, "InstanceId") == id);
    InstanceRow {
        name: text(instance, "InstanceName"),
        region: text(instance, "RegionId"),
        zone: text(instance, "ZoneId"),
        status: text(instance, "Status"),
        vcpus: number(instance, "Cpu"),
        memory_bytes: number(instance, "Memory") * ByteCount::MIB,
        os: text(instance, "OSType"),
        simulated: is_simulated(instance),
        disks: own.map(disk_row).collect(),
        id,
    }
}

/// The wire has no field for it; the server says it in a tag.
fn is_simulated(instance: &Value) -> bool {
    let tags = at(instance, &["Tags", "Tag"]).and_then(Value::as_array);
    tags.is_some_and(|tags| tags.iter().any(|tag| text(tag, "TagKey") == "hikae:simulated"))
}

fn disk_row(disk: &Value) -> DiskRow {
    DiskRow {
        id: text(disk, "DiskId"),
        device: text(disk, "Device"),
        kind: text(disk, "Type"),
        size_bytes: number(disk, "Size") * ByteCount::GIB,
        category: text(disk, "Category"),
        encrypted: flag(disk, "Encrypted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_one_or_of_none() {
        let known = [("i-1", "web"), ("i-2", "mail"), ("i-3", "mail")];
        let find = |given| pick("instance", given, known.iter().copied());
        assert_eq!(find("web").expect("unambiguous"), "i-1");
        assert_eq!(find("i-2").expect("an id"), "i-2");
        let ambiguous = find("mail").expect_err("two").to_string();
        assert!(ambiguous.contains("i-2, i-3"), "{ambiguous}");
        assert_eq!(find("db").expect_err("none").exit_code(), 2);
    }
}
