//! Reading answers: what a field of the wire's JSON says, without ever failing on what it lacks.

use serde_json::Value;

/// The array at a path such as `["BackupJobs", "BackupJob"]`.
pub(crate) fn items<'a>(answer: &'a Value, path: &[&str]) -> &'a [Value] {
    at(answer, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// A number, also one that travels as text.
pub(crate) fn number(value: &Value, name: &str) -> u64 {
    match value.get(name) {
        Some(Value::Number(number)) => number.as_u64().unwrap_or(0),
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

/// Epoch seconds; zero and below mean none.
pub(crate) fn time(value: &Value, name: &str) -> Option<i64> {
    value.get(name).and_then(Value::as_i64).filter(|seconds| *seconds > 0)
}

pub(crate) fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}

pub(crate) fn texts(value: &Value, path: &[&str]) -> Vec<String> {
    items(value, path).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_nothing() {
        let answer = json!({"A": {"B": [1]}, "N": "17", "T": 0});
        assert_eq!(items(&answer, &["A", "B"]).len(), 1);
        assert!(items(&answer, &["A", "C"]).is_empty());
        assert_eq!(number(&answer, "N"), 17);
        assert_eq!(time(&answer, "T"), None);
        assert_eq!(text(&answer, "X"), "");
    }
}
