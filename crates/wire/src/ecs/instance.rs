//! Instances: listed, started, stopped.

use model::{Code, Instance, InstanceId, InstanceStatus, OsKind, Refusal, RegionId, ZoneId, kinds};
use serde::Serialize;

use super::{IDS_MAX, TEXT_CHARS_MAX, TagWanted, Tags, dry_run, name_matches, region, tags_wanted};
use crate::page::{EcsPage, Page};
use crate::params::{Asked, Params};
use crate::shape;

const STATUSES: [(&str, InstanceStatus); 5] = [
    ("Pending", InstanceStatus::Pending),
    ("Starting", InstanceStatus::Starting),
    ("Running", InstanceStatus::Running),
    ("Stopping", InstanceStatus::Stopping),
    ("Stopped", InstanceStatus::Stopped),
];

/// Attributes of which our instances have no value. Asked for one, a listing is empty: ignoring the
/// question would answer with every instance there is.
const LACKING: [&str; 15] = [
    "EipAddresses",
    "HpcClusterId",
    "ImageId",
    "InnerIpAddresses",
    "InstanceTypeFamily",
    "Ipv6Address",
    "KeyPairName",
    "LockReason",
    "PrivateIpAddresses",
    "PublicIpAddresses",
    "RdmaIpAddresses",
    "ResourceGroupId",
    "SecurityGroupId",
    "VSwitchId",
    "VpcId",
];

/// `DescribeInstances`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeInstances {
    pub region: Option<RegionId>,
    pub instances: Asked<kinds::Instance>,
    pub name: Option<String>,
    pub status: Option<InstanceStatus>,
    pub zone: Option<ZoneId>,
    pub instance_type: Option<String>,
    pub tags: Vec<TagWanted>,
    pub page: EcsPage,
    pub dry_run: bool,
    impossible: bool,
}

impl DescribeInstances {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        Ok(Self {
            region: region(params),
            instances: params.asked_list("InstanceIds", IDS_MAX)?,
            name: params.bounded("InstanceName", TEXT_CHARS_MAX)?,
            status: params.word("Status", &STATUSES)?,
            zone: params.text("ZoneId").map(ZoneId),
            instance_type: params.bounded("InstanceType", TEXT_CHARS_MAX)?,
            tags: tags_wanted(params)?,
            page: EcsPage::parse(params, 100, 100)?,
            dry_run: dry_run(params)?,
            impossible: params.any_given(&LACKING),
        })
    }

    pub fn matches(&self, instance: &Instance) -> bool {
        let wanted = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        !self.impossible
            && self.instances.matches(instance.id)
            && self.name.as_ref().is_none_or(|pattern| name_matches(pattern, &instance.name))
            && self.status.is_none_or(|status| status == instance.status)
            && self.zone.as_ref().is_none_or(|zone| *zone == instance.zone)
            && wanted(&self.instance_type, &shape::print(instance.vcpus, instance.memory))
            && tags(instance).cover(&self.tags)
    }
}

/// `StartInstance`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartInstance {
    pub instance: InstanceId,
    pub dry_run: bool,
}

impl StartInstance {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        Ok(Self { instance: params.id("InstanceId", Code::InstanceNotFound)?, dry_run: dry_run(params)? })
    }
}

/// `StopInstance`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopInstance {
    pub instance: InstanceId,
    /// As pulling the plug.
    pub force: bool,
    pub dry_run: bool,
}

impl StopInstance {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        if params.bool("Hibernate")? == Some(true) {
            return Err(params.invalid("Hibernate", "true", "Stop the instance without it."));
        }
        Ok(Self {
            instance: params.id("InstanceId", Code::InstanceNotFound)?,
            force: params.bool("ForceStop")?.unwrap_or(false),
            dry_run: dry_run(params)?,
        })
    }
}

/// The answer to `DescribeInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Instances {
    instances: InstanceList,
    #[serde(flatten)]
    paging: super::disk::Paging,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceList {
    instance: Vec<InstanceView>,
}

impl Instances {
    pub fn new(asked: &DescribeInstances, page: Page<InstanceView>) -> Self {
        let paging = super::disk::Paging::of(&asked.page, &page);
        Self { instances: InstanceList { instance: page.items }, paging }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceView {
    pub instance_id: InstanceId,
    instance_name: String,
    host_name: String,
    description: &'static str,
    status: &'static str,
    region_id: RegionId,
    zone_id: ZoneId,
    cpu: u32,
    /// MiB
    memory: u64,
    instance_type: String,
    instance_type_family: &'static str,
    #[serde(rename = "OSType")]
    os_type: &'static str,
    #[serde(rename = "OSName")]
    os_name: &'static str,
    serial_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_time: Option<String>,
    instance_charge_type: &'static str,
    instance_network_type: &'static str,
    device_available: bool,
    deletion_protection: bool,
    tags: Tags,
    security_group_ids: SecurityGroups,
    public_ip_address: Addresses,
    inner_ip_address: Addresses,
    rdma_ip_address: Addresses,
    vpc_attributes: VpcAttributes,
    network_interfaces: Interfaces,
    operation_locks: Locks,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SecurityGroups {
    security_group_id: [(); 0],
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Addresses {
    ip_address: [(); 0],
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct VpcAttributes {
    vpc_id: &'static str,
    v_switch_id: &'static str,
    nat_ip_address: &'static str,
    private_ip_address: Addresses,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Interfaces {
    network_interface: [(); 0],
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Locks {
    lock_reason: [(); 0],
}

impl From<&Instance> for InstanceView {
    fn from(instance: &Instance) -> Self {
        Self {
            instance_id: instance.id,
            instance_name: instance.name.clone(),
            host_name: instance.name.clone(),
            description: if instance.simulated { "Simulated: there is no such machine." } else { "" },
            status: status_word(instance.status),
            region_id: instance.region.clone(),
            zone_id: instance.zone.clone(),
            cpu: instance.vcpus,
            memory: instance.memory.0 / model::ByteCount::MIB,
            instance_type: shape::print(instance.vcpus, instance.memory),
            instance_type_family: "kvm",
            os_type: match instance.os {
                OsKind::Linux => "linux",
                OsKind::Windows => "windows",
            },
            os_name: match instance.os {
                OsKind::Linux => "Linux",
                OsKind::Windows => "Windows",
            },
            serial_number: uuid_text(&instance.uuid),
            creation_time: instance.created.map(crate::time::iso),
            instance_charge_type: "PostPaid",
            instance_network_type: "vpc",
            device_available: true,
            deletion_protection: false,
            tags: tags(instance),
            security_group_ids: SecurityGroups::default(),
            public_ip_address: Addresses::default(),
            inner_ip_address: Addresses::default(),
            rdma_ip_address: Addresses::default(),
            vpc_attributes: VpcAttributes::default(),
            network_interfaces: Interfaces::default(),
            operation_locks: Locks::default(),
        }
    }
}

fn tags(instance: &Instance) -> Tags {
    let marks = [("hikae:simulated", instance.simulated), ("hikae:paused", instance.paused)];
    Tags::of(marks.into_iter().filter(|mark| mark.1).map(|mark| (mark.0, "true".to_owned())))
}

const fn status_word(status: InstanceStatus) -> &'static str {
    match status {
        InstanceStatus::Pending => "Pending",
        InstanceStatus::Starting => "Starting",
        InstanceStatus::Running => "Running",
        InstanceStatus::Stopping => "Stopping",
        InstanceStatus::Stopped => "Stopped",
    }
}

fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = hex::encode(uuid);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}
