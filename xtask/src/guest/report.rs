//! Reads what a guest says on its console.

use super::agent::Numbers;

/// One boot, as the guest told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boot {
    /// What is wrong with its file systems, a line each.
    pub(crate) damage: Vec<String>,
    /// What its disks held before anything was written.
    pub(crate) found: Numbers,
}

impl Boot {
    pub(crate) fn clean(&self) -> bool {
        self.damage.is_empty()
    }
}

/// A second of the witness's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pulse {
    pub(crate) at: Numbers,
    pub(crate) stall_ms: u64,
    pub(crate) tick_gap_ms: u64,
}

/// `None` until the guest has checked both disks, said what it found, and begun to write.
pub(crate) fn boot(said: &str) -> Option<Boot> {
    let found = found(said)?;
    pulses(said).first()?;
    let checks: Vec<&str> = lines(said).filter_map(|line| line.strip_prefix("fsck ")).collect();
    let mut damage: Vec<String> =
        checks.iter().filter(|check| !check.ends_with(" clean")).map(|check| (*check).to_owned()).collect();
    for disk in ["vda", "vdb"] {
        if !checks.iter().any(|check| check.starts_with(disk)) {
            damage.push(format!("{disk} was not checked"));
        }
    }
    damage.extend(lines(said).filter(|line| line.starts_with("torn ")).map(str::to_owned));
    Some(Boot { damage, found })
}

pub(crate) fn found(said: &str) -> Option<Numbers> {
    let line = lines(said).find_map(|line| line.strip_prefix("found "))?;
    Some(Numbers { a: field(line, "a")?, b: field(line, "b")? })
}

pub(crate) fn pulses(said: &str) -> Vec<Pulse> {
    let lines = lines(said).filter_map(|line| line.strip_prefix("seq "));
    let pulse = |line| {
        Some(Pulse {
            at: Numbers { a: field(line, "a")?, b: field(line, "b")? },
            stall_ms: field(line, "stall_ms")?,
            tick_gap_ms: field(line, "tick_gap_ms")?,
        })
    };
    lines.filter_map(pulse).collect()
}

/// Why this boot will never be one.
pub(crate) fn failure(said: &str) -> Option<String> {
    let ours = lines(said).find_map(|line| line.strip_prefix("failed: ").map(str::to_owned));
    ours.or_else(|| said.lines().find(|line| line.contains("Kernel panic")).map(str::to_owned))
}

/// Whole lines only: the last one may still be on its way.
fn lines(said: &str) -> impl Iterator<Item = &str> {
    let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter_map(|line| line.trim().split_once("hikae-guest: ").map(|(_, rest)| rest))
}

fn field(line: &str, name: &str) -> Option<u64> {
    line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[    0.5] something of the kernel\r\nhikae-guest: fsck vda clean\r\n\
        hikae-guest: fsck vdb clean\r\nhikae-guest: found a=12 b=11\r\n\
        hikae-guest: seq a=20 b=20 stall_ms=3 tick_gap_ms=2\r\nhikae-guest: seq a=3";

    #[test]
    fn a_boot_is_one_only_when_the_witness_writes() {
        let good = boot(GOOD).expect("booted");
        assert!(good.clean());
        assert_eq!(good.found, Numbers { a: 12, b: 11 });
        let (early, _) = GOOD.split_once("hikae-guest: seq").expect("it has one");
        assert_eq!(boot(early), None);
        assert_eq!(pulses(GOOD).len(), 1, "half a line is no pulse");
    }

    #[test]
    fn a_disk_that_is_damaged_or_was_not_checked_is_damage() {
        let bad = GOOD.replace("vdb clean", "vdb damaged: inode 7");
        assert_eq!(boot(&bad).expect("booted").damage, ["vdb damaged: inode 7"]);
        let none = GOOD.replace("hikae-guest: fsck vda clean", "");
        assert_eq!(boot(&none).expect("booted").damage, ["vda was not checked"]);
    }

    #[test]
    fn failures_are_seen() {
        assert_eq!(failure(GOOD), None);
        assert_eq!(failure("hikae-guest: failed: no disk\n").as_deref(), Some("no disk"));
        assert!(failure("Kernel panic - not syncing\n").is_some());
    }
}
