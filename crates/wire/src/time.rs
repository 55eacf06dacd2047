//! Times as the wire writes them: epoch seconds for HBR, ISO 8601 in UTC for ECS and signatures.

use model::Timestamp;

/// `2026-11-22T16:06:28Z`.
pub(crate) fn iso(time: Timestamp) -> String {
    // Out of range only for years beyond 9999, which no clock of ours shows.
    jiff::Timestamp::from_second(time.seconds()).map_or_else(
        |_| String::from("9999-12-31T23:59:59Z"),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

/// Reads `2026-11-22T16:06:28Z` and, as ECS filters have it, `2026-11-22T16:06Z`.
pub(crate) fn parse_iso(text: &str) -> Option<Timestamp> {
    const LENGTHS: [usize; 2] = ["2026-11-22T16:06:28Z".len(), "2026-11-22T16:06Z".len()];
    if !LENGTHS.contains(&text.len()) || !text.ends_with('Z') {
        return None;
    }
    let full =
        if text.len() == LENGTHS[0] { text.to_owned() } else { format!("{}:00Z", text.strip_suffix('Z')?) };
    full.parse::<jiff::Timestamp>().ok().map(|time| Timestamp::from_seconds(time.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_survive_the_trip() {
        for (text, seconds) in [("1970-01-01T00:00:00Z", 0), ("2026-11-22T16:06:28Z", 1_795_363_588)] {
            assert_eq!(parse_iso(text), Some(Timestamp::from_seconds(seconds)));
            assert_eq!(iso(Timestamp::from_seconds(seconds)), text);
        }
        assert_eq!(parse_iso("2026-11-22T16:06Z"), Some(Timestamp::from_seconds(1_795_363_560)));
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            "Z",
            "2026-11-22T16:06:28",
            "2026-13-22T16:06:28Z",
            "2026-11-22T16:06:28+09",
            "ああああああZ",
        ] {
            assert_eq!(parse_iso(text), None, "{text}");
        }
    }
}
