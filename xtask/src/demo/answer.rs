//! Finds things in JSON answers without caring how deep they lie.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The first value of this name, wherever it is. `JobId` also finds `job_id`, `jobId` and `job-id`.
pub(crate) fn find<'a>(answer: &'a Value, name: &str) -> Option<&'a Value> {
    match answer {
        Value::Object(fields) => fields
            .iter()
            .find(|(key, value)| plain(key) == plain(name) && !value.is_null())
            .map(|(_, value)| value)
            .or_else(|| fields.values().find_map(|value| find(value, name))),
        Value::Array(items) => items.iter().find_map(|item| find(item, name)),
        _ => None,
    }
}

/// The same as text; numbers and booleans too.
pub(crate) fn text(answer: &Value, name: &str) -> Result<String> {
    let found = find(answer, name).with_context(|| format!("no {name} in {answer}"))?;
    Ok(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
}

/// The same as a number, also where the wire writes numbers as strings.
pub(crate) fn number(answer: &Value, name: &str) -> Result<u64> {
    let text = text(answer, name)?;
    text.parse().with_context(|| format!("{name} is {text:?}, not a number"))
}

/// Every object that has a field of this name, wherever it is.
pub(crate) fn objects<'a>(answer: &'a Value, name: &str) -> Vec<&'a Value> {
    match answer {
        Value::Object(fields) if fields.keys().any(|key| plain(key) == plain(name)) => vec![answer],
        Value::Object(fields) => fields.values().flat_map(|value| objects(value, name)).collect(),
        Value::Array(items) => items.iter().flat_map(|item| objects(item, name)).collect(),
        _ => Vec::new(),
    }
}

fn plain(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|one| one.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn found_at_any_depth_in_any_spelling() {
        let answer =
            json!({ "Jobs": { "Job": [{ "job_id": "job-1", "bytes": "17" }, { "job_id": "job-2" }] } });
        assert_eq!(text(&answer, "JobId").expect("there"), "job-1");
        assert_eq!(number(&answer, "Bytes").expect("there"), 17);
        assert_eq!(objects(&answer, "JobId").len(), 2);
        assert!(text(&answer, "PointId").is_err());
    }
}
