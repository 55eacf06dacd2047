//! What comes round by itself: it takes no input, looks, decides, acts, reports.

mod expire_points;
mod start_due_jobs;

pub use expire_points::ExpirePoints;
pub use start_due_jobs::StartDueJobs;
