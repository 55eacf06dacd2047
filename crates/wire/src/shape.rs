//! Instance types: the wire wants a name where a host only knows processors and memory.

use model::ByteCount;

const PREFIX: &str = "kvm.c";

/// `kvm.c2m4096`: two processors and 4096 MiB.
pub fn print(vcpus: u32, memory: ByteCount) -> String {
    format!("{PREFIX}{vcpus}m{}", memory.0 / ByteCount::MIB)
}

/// Processors and memory of a name that [`print`] made.
pub fn parse(name: &str) -> Option<(u32, ByteCount)> {
    let (vcpus, memory) = name.strip_prefix(PREFIX)?.split_once('m')?;
    let (vcpus, memory) = (vcpus.parse().ok()?, memory.parse::<u64>().ok()?);
    let memory = ByteCount(memory.checked_mul(ByteCount::MIB)?);
    (vcpus > 0 && memory.0 > 0).then_some((vcpus, memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_survives_its_name() {
        for (vcpus, mib) in [(1, 256), (2, 4096), (64, 1 << 20)] {
            let memory = ByteCount(mib * ByteCount::MIB);
            assert_eq!(parse(&print(vcpus, memory)), Some((vcpus, memory)));
        }
        for name in ["", "ecs.g6.large", "kvm.c0m1", "kvm.c1m0", "kvm.c1m18446744073709551615"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
