//! Regions, as Cloud Backup lists them.

use model::RegionId;
use serde::Serialize;

/// `DescribeRegions`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Regions {
    regions: RegionList,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RegionList {
    region: Vec<RegionView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegionView {
    pub region_id: RegionId,
    /// As a person reads it.
    pub local_name: String,
}

impl Regions {
    pub fn new(region: Vec<RegionView>) -> Self {
        Self { regions: RegionList { region } }
    }
}
