//! JSON documents inside parameters. Keys count in any letter case; zero, "" and [] mean not given.

use std::str::FromStr;

use model::{Code, Id, Kind, Refusal};
use serde_json::Value;

use crate::params::{find_word, invalid, listed, missing, parse_bool};
use crate::request::clipped;

/// No document of the interface nests deeper than a third of this.
const DEPTH_MAX: usize = 16;

/// A JSON value and the path to it, for messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    path: String,
    value: Value,
}

impl Document {
    pub fn parse(path: &str, text: &str) -> Result<Self, Refusal> {
        if depth(text) > DEPTH_MAX {
            return Err(invalid(path, text, &format!("Nest at most {DEPTH_MAX} levels.")));
        }
        let value = serde_json::from_str(text).map_err(|error| {
            let message = format!("{path} is no JSON: {error}");
            Refusal::new(Code::InvalidParameter, message)
                .remedy(format!("It begins with {:?}.", clipped(text)))
        })?;
        Ok(Self { path: path.to_owned(), value })
    }

    /// The document of a parameter that was not given: nothing in it is.
    pub fn empty(path: &str) -> Self {
        Self { path: path.to_owned(), value: Value::Null }
    }

    /// The value under a key, if given. Two spellings of one key are refused.
    pub fn get(&self, key: &str) -> Result<Option<Self>, Refusal> {
        let path = self.path_to(key);
        let fields = match &self.value {
            Value::Object(fields) => fields,
            Value::Null => return Ok(None),
            other => return Err(invalid(&self.path, &other.to_string(), "Give a JSON object.")),
        };
        let mut found = fields.iter().filter(|field| field.0.eq_ignore_ascii_case(key) && given(field.1));
        let first = found.next();
        if found.any(|other| first.is_some_and(|first| first.1 != other.1)) {
            let message = format!("{path} is given twice, with different values");
            return Err(Refusal::new(Code::InvalidParameter, message));
        }
        Ok(first.map(|field| Self { path, value: field.1.clone() }))
    }

    pub fn text(&self, key: &str) -> Result<Option<String>, Refusal> {
        self.get(key)?.map(|document| document.as_text()).transpose()
    }

    pub fn required(&self, key: &str) -> Result<String, Refusal> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// A text of at most `chars_max` characters; empty when not given.
    pub fn bounded(&self, key: &str, chars_max: usize) -> Result<String, Refusal> {
        let text = self.text(key)?.unwrap_or_default();
        if text.chars().count() > chars_max {
            return Err(self.invalid(key, &text, &format!("Give at most {chars_max} characters.")));
        }
        Ok(text)
    }

    /// A number, or a text of digits. Zero means not given unless it is allowed.
    pub fn int(&self, key: &str, min: i64, max: i64) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.scalar(key)? else { return Ok(None) };
        match text.trim().parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            Ok(0) => Ok(None),
            _ => Err(self.invalid(key, &text, &format!("Give a whole number from {min} to {max}."))),
        }
    }

    /// A boolean, or a text that says one.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Refusal> {
        let Some(text) = self.scalar(key)? else { return Ok(None) };
        parse_bool(&text).map(Some).ok_or_else(|| self.invalid(key, &text, "Give true or false."))
    }

    pub fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        find_word(&text, words)
            .map(Some)
            .ok_or_else(|| self.invalid(key, &text, &format!("Give one of {}.", listed(words))))
    }

    pub fn id<K: Kind>(&self, key: &str, code: Code) -> Result<Option<Id<K>>, Refusal> {
        self.text(key)?.map(|text| crate::params::parse_id(&text, code)).transpose()
    }

    pub fn ids<K: Kind>(&self, key: &str, len_max: usize, code: Code) -> Result<Vec<Id<K>>, Refusal> {
        let Some(list) = self.get(key)? else { return Ok(Vec::new()) };
        let ids: Result<Vec<_>, _> = list
            .texts()?
            .iter()
            .map(|text| Id::from_str(text).map_err(|error| Refusal::new(code, error.to_string())))
            .collect();
        ids.and_then(
            |ids| if ids.len() > len_max { Err(self.too_long(key, ids.len(), len_max)) } else { Ok(ids) },
        )
    }

    /// The elements of a list under a key.
    pub fn list(&self, key: &str, len_max: usize) -> Result<Vec<Self>, Refusal> {
        match self.get(key)? {
            Some(document) => document.elements(len_max),
            None => Ok(Vec::new()),
        }
    }

    /// The elements of this list.
    pub fn elements(&self, len_max: usize) -> Result<Vec<Self>, Refusal> {
        let Value::Array(values) = &self.value else {
            return Err(invalid(&self.path, &self.value.to_string(), "Give a JSON array."));
        };
        if values.len() > len_max {
            return Err(self.too_long("", values.len(), len_max));
        }
        let numbered = values.iter().enumerate();
        Ok(numbered
            .map(|(at, value)| Self { path: format!("{}[{at}]", self.path), value: value.clone() })
            .collect())
    }

    /// A list of texts; of an object its values, since some clients call a list of ids a map.
    pub fn texts(&self) -> Result<Vec<String>, Refusal> {
        let wrong = || invalid(&self.path, &self.value.to_string(), "Give a JSON array of texts.");
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
        match &self.value {
            Value::Array(values) => values.iter().map(text).collect(),
            Value::Object(fields) => fields.values().map(text).collect(),
            Value::Null => Ok(Vec::new()),
            Value::String(one) => Ok(vec![one.clone()]),
            Value::Bool(_) | Value::Number(_) => Err(wrong()),
        }
    }

    /// As JSON again, without what stood around it.
    pub fn to_json(&self) -> String {
        self.value.to_string()
    }

    pub fn missing(&self, key: &str) -> Refusal {
        missing(&self.path_to(key))
    }

    pub fn invalid(&self, key: &str, value: &str, remedy: &str) -> Refusal {
        invalid(&self.path_to(key), value, remedy)
    }

    fn scalar(&self, key: &str) -> Result<Option<String>, Refusal> {
        match self.get(key)? {
            None => Ok(None),
            Some(Self { value: Value::String(text), .. }) => Ok(Some(text)),
            Some(Self { value: value @ (Value::Bool(_) | Value::Number(_)), .. }) => {
                Ok(Some(value.to_string()))
            }
            Some(other) => Err(self.invalid(key, &other.to_json(), "Give a number, a boolean or a text.")),
        }
    }

    fn as_text(&self) -> Result<String, Refusal> {
        match &self.value {
            Value::String(text) => Ok(text.clone()),
            other => Err(invalid(&self.path, &other.to_string(), "Give a text.")),
        }
    }

    fn too_long(&self, key: &str, len: usize, len_max: usize) -> Refusal {
        self.invalid(key, &format!("{len} elements"), &format!("Give at most {len_max}."))
    }

    fn path_to(&self, key: &str) -> String {
        if key.is_empty() { self.path.clone() } else { format!("{}.{key}", self.path) }
    }
}

/// Clients that cannot leave a field out send it empty. Numbers decide by their range.
fn given(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// How deep the brackets nest, without parsing. Counts brackets in texts only when quotes do not match.
fn depth(text: &str) -> usize {
    let (mut deepest, mut now, mut quoted, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use model::kinds;

    use super::*;

    fn document(text: &str) -> Document {
        Document::parse("Detail", text).unwrap()
    }

    #[test]
    fn keys_count_in_any_case_and_empties_are_not_given() {
        let detail = document(r#"{"EnableFsFreeze":"True","diskIdList":[],"x":"","Retention":0,"o":{}}"#);
        assert_eq!(detail.bool("enableFsFreeze"), Ok(Some(true)));
        assert_eq!(detail.ids::<kinds::Disk>("DiskIdList", 9, Code::DiskNotFound), Ok(vec![]));
        assert_eq!(detail.text("X"), Ok(None));
        assert_eq!(detail.int("retention", 1, 9), Ok(None));
        assert_eq!(detail.int("retention", 0, 9), Ok(Some(0)));
        assert_eq!(detail.get("o"), Ok(None));
    }

    #[test]
    fn wrong_shapes_are_named_by_their_path() {
        let message = |text: &str| document(text).list("Rules", 1).and_then(|rules| rules[0].int("N", 1, 2));
        assert_eq!(message(r#"{"Rules":[{"N":3}]}"#).unwrap_err().message, "Detail.Rules[0].N is \"3\"");
        assert_eq!(message(r#"{"Rules":{"N":3}}"#).unwrap_err().code, Code::InvalidParameter);
        assert_eq!(message(r#"{"Rules":[1,2]}"#).unwrap_err().code, Code::InvalidParameter);
        assert_eq!(message(r#"{"Rules":[1]}"#).unwrap_err().code, Code::InvalidParameter);
        assert!(message("[1]").is_err());
        assert!(document(r#"{"a":1,"A":2}"#).int("a", 1, 2).is_err());
    }

    #[test]
    fn depth_is_limited_and_brackets_in_texts_do_not_count() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Document::parse("D", &nested(16)).is_ok());
        assert!(Document::parse("D", &nested(17)).is_err());
        assert!(Document::parse("D", &nested(100_000)).is_err());
        assert!(Document::parse("D", &format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(99))).is_ok());
        assert!(Document::parse("D", "{").is_err());
    }
}
