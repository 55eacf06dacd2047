//! How long a guest stood still, as the host saw it.
//!
//! A paused guest's own clock stands too, so the guest cannot tell; libvirt's events can.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::guest::Guest;
use crate::janitor::Janitor;
use crate::libvirtd::URI;

/// A listener for as long as the demo runs.
#[derive(Debug)]
pub(crate) struct Pauses(PathBuf);

impl Pauses {
    pub(crate) fn watch(janitor: &Janitor, home: &Path, guest: &Guest) -> Result<Self> {
        let path = home.join(format!("{}.events", guest.name));
        let child = Command::new("virsh")
            .args(["-q", "-c", URI, "event", "--domain", &guest.name, "--event", "lifecycle", "--loop"])
            .arg("--timestamp")
            .stdin(Stdio::null())
            .stdout(File::create(&path).context("note the guest's events")?)
            .stderr(Stdio::null())
            .spawn()
            .context("listen to the guest's events")?;
        janitor.adopt(&child)?;
        Ok(Self(path))
    }

    /// Milliseconds of each pause so far.
    pub(crate) fn millis(&self) -> Vec<u64> {
        pauses(&std::fs::read_to_string(&self.0).unwrap_or_default())
    }
}

/// How long each begin of a backup took, from the server's log: the disks stood still within that time.
pub(crate) fn held_millis(log: &str) -> Vec<u64> {
    let held = log.lines().filter_map(|line| {
        let (_, after) = line.split_once("held_us=")?;
        let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok()
    });
    held.map(|micros| micros.div_ceil(1000)).collect()
}

fn pauses(events: &str) -> Vec<u64> {
    let (mut found, mut since) = (Vec::new(), None);
    for line in events.lines() {
        let Some(at) = millis_of_day(line) else { continue };
        if line.contains("Suspended") {
            since = Some(at);
        } else if line.contains("Resumed")
            && let Some(began) = since.take()
        {
            const DAY: u64 = 24 * 60 * 60 * 1000;
            found.push((at + DAY - began) % DAY);
        }
    }
    found
}

/// From "2026-11-22 18:44:01.123+0000: event …".
fn millis_of_day(line: &str) -> Option<u64> {
    let (_, time) = line.split_once(' ')?;
    let mut parts = time.get(..12)?.split([':', '.']);
    let mut next = || parts.next()?.parse::<u64>().ok();
    let (hours, minutes, seconds, millis) = (next()?, next()?, next()?, next()?);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begin_is_rounded_up() {
        let log = "INFO disks marked group=g disks=2 held_us=26001\nINFO request ms=3\nheld_us=900 more";
        assert_eq!(held_millis(log), [27, 1]);
    }

    #[test]
    fn a_pause_lasts_from_suspended_to_resumed() {
        let events = "2026-11-22 18:44:01.100+0000: event 'lifecycle' for domain 'a': Suspended Paused\n\
             2026-11-22 18:44:01.145+0000: event 'lifecycle' for domain 'a': Resumed Unpaused\n\
             2026-11-22 23:59:59.990+0000: event 'lifecycle' for domain 'a': Suspended Paused\n\
             2026-11-23 00:00:00.005+0000: event 'lifecycle' for domain 'a': Resumed Unpaused\n\
             2026-11-23 00:00:01.000+0000: event 'lifecycle' for domain 'a': Resumed Unpaused\n";
        assert_eq!(pauses(events), [45, 15]);
        assert_eq!(pauses("events received: 2\n"), Vec::<u64>::new());
    }
}
