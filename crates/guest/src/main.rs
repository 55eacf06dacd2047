//! The demo guest's witness: writes alternately to two disks and says how far it came.

use std::path::Path;
use std::process::ExitCode;

mod slot;
mod witness;

const USAGE: &str = "usage: hikae-guest found A B | witness A B | fill FILE BYTES[K|M|G] [SEED]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["found", a, b] => found(Path::new(a), Path::new(b)),
        ["witness", a, b] => witness::run(Path::new(a), Path::new(b)).map_err(|error| error.to_string()),
        ["fill", file, bytes] => fill(file, bytes, "1"),
        ["fill", file, bytes, seed] => fill(file, bytes, seed),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("hikae-guest: failed: {why}");
            ExitCode::FAILURE
        }
    }
}

fn found(a: &Path, b: &Path) -> Result<(), String> {
    let (a, b) = witness::found(a, b).map_err(|error| error.to_string())?;
    println!("hikae-guest: found a={} b={}", a.number, b.number);
    for (name, held) in [("a", a), ("b", b)] {
        if held.torn > 0 {
            println!("hikae-guest: torn {name}={}", held.torn);
        }
    }
    Ok(())
}

fn fill(file: &str, bytes: &str, seed: &str) -> Result<(), String> {
    let bytes = size(bytes).ok_or_else(|| format!("not a size: {bytes}"))?;
    let seed = seed.parse().map_err(|_| format!("not a number: {seed}"))?;
    witness::fill(Path::new(file), bytes, seed).map_err(|error| error.to_string())
}

/// "64M" and the like.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(number) if text.ends_with('K') => (number, 1 << 10),
        Some(number) if text.ends_with('M') => (number, 1 << 20),
        Some(number) => (number, 1 << 30),
        None => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        assert_eq!(size("17"), Some(17));
        assert_eq!(size("2K"), Some(2048));
        assert_eq!(size("64M"), Some(64 << 20));
        assert_eq!(size("1G"), Some(1 << 30));
        for wrong in ["", "M", "-1", "1T", "99999999999999999999"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
