//! What comes round by itself: it takes no input, looks, decides, acts, reports.

mod collect_garbage;
mod settle_groups;
mod watch_hosts;

pub use collect_garbage::CollectGarbage;
pub use settle_groups::SettleGroups;
pub(crate) use settle_groups::settle_instance;
pub use watch_hosts::WatchHosts;
pub(crate) use watch_hosts::seen;

/// What one activation found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub looked_at: usize,
    pub acted_on: usize,
    /// What did not work, in words; it is tried again next time.
    pub troubles: Vec<String>,
}
