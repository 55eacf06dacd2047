//! How the disks of a run are put into groups, and what consistency that gives.

use model::{BindingOptions, ByteCount, ConsistencyLevel, Disk, DiskCapability, DiskId, Downgrade};

/// What one snapshot group may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLimits {
    pub disks: usize,
    pub bytes: ByteCount,
}

impl GroupLimits {
    /// 16 disks, 32 TiB.
    pub const STANDARD: Self = Self { disks: 16, bytes: ByteCount(32 << 40) };
    /// What some regions allow: 128 disks, 256 TiB.
    pub const LARGE: Self = Self { disks: 128, bytes: ByteCount(256 << 40) };
}

const _: () = assert!(GroupLimits::STANDARD.disks < GroupLimits::LARGE.disks);

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Each an instant of its own. Within one, disks are consistent with one another.
    pub groups: Vec<Vec<DiskId>>,
    /// The best that can come of it; a freeze that does not work may lower it further.
    pub level: ConsistencyLevel,
    pub downgrade: Option<Downgrade>,
}

/// One group of all disks where that was asked for and is possible. Otherwise those that can stay
/// together do when only some cannot, and each disk is alone when there are too many.
pub fn plan(disks: &[&Disk], options: &BindingOptions, limits: GroupLimits) -> Plan {
    let (together, alone): (Vec<&Disk>, Vec<&Disk>) =
        disks.iter().copied().partition(|disk| joins_groups(disk));
    let size: ByteCount = together.iter().map(|disk| disk.size).sum();
    let fits = together.len() <= limits.disks && size <= limits.bytes;
    let singles = |disks: &[&Disk]| disks.iter().map(|disk| vec![disk.id]).collect::<Vec<_>>();

    let (groups, grouping) = if !options.group {
        (singles(disks), None)
    } else if !fits {
        (singles(disks), Some(Downgrade::GroupLimitExceeded))
    } else {
        let group: Vec<DiskId> = together.iter().map(|disk| disk.id).collect();
        let mut groups = if group.is_empty() { Vec::new() } else { vec![group] };
        groups.extend(singles(&alone));
        // A lone disk is consistent with itself.
        (groups, (!alone.is_empty() && disks.len() > 1).then_some(Downgrade::DiskNotGrouped))
    };
    let agents = options.app_consistent.then_some(Downgrade::ApplicationNotSupported);
    Plan { groups, level: ConsistencyLevel::Crash, downgrade: grouping.or(agents) }
}

/// Whether a disk can be taken at one instant with others.
const fn joins_groups(disk: &Disk) -> bool {
    match disk.capability {
        DiskCapability::Tracked | DiskCapability::Whole => true,
        DiskCapability::Refused { .. } => false,
    }
}
