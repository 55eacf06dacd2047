//! Regions, as the block service lists them.

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
    /// Host, and prefix if there is one, that a client of this region is pointed at.
    pub region_endpoint: String,
    status: &'static str,
}

impl RegionView {
    pub fn new(region_id: RegionId, local_name: String, region_endpoint: String) -> Self {
        Self { region_id, local_name, region_endpoint, status: "available" }
    }
}

impl Regions {
    pub fn new(region: Vec<RegionView>) -> Self {
        Self { regions: RegionList { region } }
    }
}
