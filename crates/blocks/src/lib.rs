//! The block service: instances, disks, snapshots, groups. Knows nothing of policies.
