//! What the examples measure with.

/// User and system time of this process in seconds, of which the kernel counts hundredths.
pub(crate) fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a process has one");
    let (_, fields) = stat.rsplit_once(") ").expect("the name ends");
    let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a count"));
    ticks.sum::<f64>() / 100.0
}
