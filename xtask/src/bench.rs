//! `cargo xtask bench`: peers and Hikae side by side in one run.

use anyhow::Result;

use crate::janitor::Janitor;
use crate::setup;

mod chance;
mod images;
mod sparse;

/// `cargo xtask bench depot`.
pub(crate) fn depot(janitor: &Janitor, flags: &[&str]) -> Result<()> {
    setup::for_bench()?;
    let recipe = if flags.contains(&"--quick") { &images::QUICK } else { &images::FULL };
    images::ready(recipe, janitor).map(drop)
}
