//! Parameters by name: letter case does not count, empty means not given, and what is wrong is named.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use model::{Code, Id, Kind, Refusal};

use crate::document::Document;
use crate::pairs::Pairs;
use crate::request::clipped;

/// The protocol's own parameters, no business of any operation.
const PROTOCOL: [&str; 11] = [
    "accesskeyid",
    "action",
    "format",
    "securitytoken",
    "signature",
    "signaturemethod",
    "signaturenonce",
    "signaturetype",
    "signatureversion",
    "timestamp",
    "version",
];

/// The parameters of one call, or those of one element of a flattened list.
#[derive(Debug, Clone, Default)]
pub struct Params {
    /// By name in lower case.
    fields: BTreeMap<String, String>,
    /// What stands before the names where they came from: `Filters.1.`
    prefix: String,
}

impl Params {
    pub(crate) fn new(pairs: Pairs) -> Result<Self, Refusal> {
        Self::from_pairs(pairs.query.into_iter().chain(pairs.form))
    }

    /// Two values for one name are refused: choosing one would do half of what was asked.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Refusal> {
        let mut fields = BTreeMap::new();
        for (name, value) in pairs {
            let key = name.to_ascii_lowercase();
            if value.is_empty() || PROTOCOL.contains(&key.as_str()) {
                continue;
            }
            if fields.get(&key).is_some_and(|known| *known != value) {
                let message =
                    format!("the parameter {} is given twice, with different values", clipped(&name));
                return Err(Refusal::new(Code::InvalidParameter, message));
            }
            fields.insert(key, value);
        }
        Ok(Self { fields, prefix: String::new() })
    }

    pub fn str(&self, name: &str) -> Option<&str> {
        self.fields.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    pub fn text(&self, name: &str) -> Option<String> {
        self.str(name).map(str::to_owned)
    }

    pub fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.str(name).ok_or_else(|| self.missing(name))
    }

    /// A text of at most `chars_max` characters.
    pub fn bounded(&self, name: &str, chars_max: usize) -> Result<Option<String>, Refusal> {
        match self.str(name) {
            Some(text) if text.chars().count() > chars_max => {
                Err(self.invalid(name, text, &format!("Give at most {chars_max} characters.")))
            }
            text => Ok(text.map(str::to_owned)),
        }
    }

    pub fn int(&self, name: &str, min: i64, max: i64) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.str(name) else { return Ok(None) };
        match text.trim().parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(self.invalid(name, text, &format!("Give a whole number from {min} to {max}."))),
        }
    }

    pub fn bool(&self, name: &str) -> Result<Option<bool>, Refusal> {
        let Some(text) = self.str(name) else { return Ok(None) };
        parse_bool(text).map(Some).ok_or_else(|| self.invalid(name, text, "Give true or false."))
    }

    /// One of some words, in any letter case.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Refusal> {
        let Some(text) = self.str(name) else { return Ok(None) };
        find_word(text, words)
            .map(Some)
            .ok_or_else(|| self.invalid(name, text, &format!("Give one of {}.", listed(words))))
    }

    /// The id of something that must exist. What is no id of the kind names nothing: `code`.
    pub fn id<K: Kind>(&self, name: &str, code: Code) -> Result<Id<K>, Refusal> {
        parse_id(self.required(name)?, code)
    }

    /// What a listing is narrowed to. What is no id of the kind matches nothing.
    pub fn asked<K: Kind>(&self, name: &str) -> Asked<K> {
        match self.str(name) {
            Some(text) => Asked::These(text.trim().parse().into_iter().collect()),
            None => Asked::Any,
        }
    }

    /// As [`Params::asked`], for a list in any encoding.
    pub fn asked_list<K: Kind>(&self, name: &str, len_max: usize) -> Result<Asked<K>, Refusal> {
        let texts = self.texts(name, len_max)?;
        if texts.is_empty() && self.str(name).is_none() {
            return Ok(Asked::Any);
        }
        Ok(Asked::These(texts.iter().filter_map(|text| text.trim().parse().ok()).collect()))
    }

    /// A list of texts: flattened (`Name.1`), one JSON array, or one bare text.
    pub fn texts(&self, name: &str, len_max: usize) -> Result<Vec<String>, Refusal> {
        let texts = match self.str(name) {
            Some(text) if text.trim_start().starts_with(['[', '{']) => {
                Document::parse(&self.path(name), text)?.texts()?
            }
            Some(text) => vec![text.to_owned()],
            None => self.flattened(name)?.into_values().map(|params| params.bare()).collect(),
        };
        self.check_len(name, texts.len(), len_max)?;
        Ok(texts)
    }

    /// A flattened list of objects: `Filters.1.Key`, `Filters.1.Values.1`.
    pub fn items(&self, name: &str, len_max: usize) -> Result<Vec<Self>, Refusal> {
        let items: Vec<_> = self.flattened(name)?.into_values().collect();
        self.check_len(name, items.len(), len_max)?;
        Ok(items)
    }

    /// A parameter that holds a JSON document.
    pub fn document(&self, name: &str) -> Result<Option<Document>, Refusal> {
        self.str(name).map(|text| Document::parse(&self.path(name), text)).transpose()
    }

    /// Some of these is given, by itself or as a list.
    pub fn any_given(&self, names: &[&str]) -> bool {
        names.iter().any(|name| {
            let prefix = format!("{}.", name.to_ascii_lowercase());
            self.str(name).is_some()
                || self.fields.range(prefix.clone()..).next().is_some_and(|it| it.0.starts_with(&prefix))
        })
    }

    pub fn missing(&self, name: &str) -> Refusal {
        missing(&self.path(name))
    }

    pub fn invalid(&self, name: &str, value: &str, remedy: &str) -> Refusal {
        invalid(&self.path(name), value, remedy)
    }

    /// The elements of a list by their number; numbers may be missing, as some clients skip.
    fn flattened(&self, name: &str) -> Result<BTreeMap<u32, Self>, Refusal> {
        let prefix = format!("{}.", name.to_ascii_lowercase());
        let mut items: BTreeMap<u32, Self> = BTreeMap::new();
        for (key, value) in self.fields.range(prefix.clone()..) {
            let Some(rest) = key.strip_prefix(&prefix) else { break };
            let (number, field) = rest.split_once('.').unwrap_or((rest, ""));
            let Some(number) = number.parse().ok().filter(|number| *number > 0) else {
                return Err(self.invalid(name, key, "Number the elements of a list from 1."));
            };
            let item = items.entry(number).or_default();
            item.prefix = format!("{}{name}.{number}.", self.prefix);
            item.fields.insert(field.to_owned(), value.clone());
        }
        Ok(items)
    }

    fn bare(mut self) -> String {
        self.fields.remove("").unwrap_or_default()
    }

    fn check_len(&self, name: &str, len: usize, len_max: usize) -> Result<(), Refusal> {
        if len > len_max {
            return Err(self.invalid(name, &format!("{len} elements"), &format!("Give at most {len_max}.")));
        }
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// What a listing is narrowed to.
pub enum Asked<K> {
    Any,
    /// Possibly none, when what was asked for cannot exist.
    These(Vec<Id<K>>),
}

// By hand: the kinds are markers, of which nothing can be derived.
impl<K> Clone for Asked<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::These(ids) => Self::These(ids.clone()),
        }
    }
}
impl<K> PartialEq for Asked<K> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::These(ids), Self::These(others)) => ids == others,
            (Self::Any, Self::These(_)) | (Self::These(_), Self::Any) => false,
        }
    }
}
impl<K> Eq for Asked<K> {}
impl<K: Kind> fmt::Debug for Asked<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("Any"),
            Self::These(ids) => f.debug_tuple("These").field(ids).finish(),
        }
    }
}

impl<K: Kind> Asked<K> {
    pub fn matches(&self, id: Id<K>) -> bool {
        match self {
            Self::Any => true,
            Self::These(ids) => ids.contains(&id),
        }
    }

    /// The only one asked for.
    pub fn one(&self) -> Option<Id<K>> {
        match self {
            Self::These(ids) if ids.len() == 1 => ids.first().copied(),
            Self::Any | Self::These(_) => None,
        }
    }
}

pub(crate) fn missing(path: &str) -> Refusal {
    Refusal::new(Code::MissingParameter, format!("the parameter {path} is missing"))
}

pub(crate) fn invalid(path: &str, value: &str, remedy: &str) -> Refusal {
    Refusal::new(Code::InvalidParameter, format!("{path} is {:?}", clipped(value))).remedy(remedy)
}

pub(crate) fn parse_id<K: Kind>(text: &str, code: Code) -> Result<Id<K>, Refusal> {
    Id::from_str(text.trim()).map_err(|error| Refusal::new(code, error.to_string()))
}

/// Python says `True`, everyone else `true`.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text.trim() {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

pub(crate) fn find_word<T: Copy>(text: &str, words: &[(&str, T)]) -> Option<T> {
    words.iter().find(|word| word.0.eq_ignore_ascii_case(text.trim())).map(|word| word.1)
}

pub(crate) fn listed<T>(words: &[(&str, T)]) -> String {
    words.iter().map(|word| word.0).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use model::{DiskId, kinds};

    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::from_pairs(pairs.iter().map(|pair| (pair.0.to_owned(), pair.1.to_owned()))).unwrap()
    }

    #[test]
    fn case_does_not_count_and_empty_is_not_given() {
        let params = params(&[("regionid", "tokyo"), ("Empty", ""), ("Signature", "x")]);
        assert_eq!(params.str("RegionId"), Some("tokyo"));
        assert_eq!(params.required("Empty").unwrap_err().code, Code::MissingParameter);
        assert_eq!(params.str("Signature"), None);
    }

    #[test]
    fn one_name_has_one_value() {
        let twice = |second: &str| {
            Params::from_pairs([("A".into(), "1".into()), ("a".into(), second.to_owned())]).map(|_| ())
        };
        assert_eq!(twice("1"), Ok(()));
        assert_eq!(twice("2").unwrap_err().code, Code::InvalidParameter);
    }

    #[test]
    fn numbers_and_booleans_say_what_is_allowed() {
        let params = params(&[("N", "7"), ("B", "True"), ("C", "yes")]);
        assert_eq!(params.int("N", 1, 7), Ok(Some(7)));
        assert_eq!(params.int("Other", 1, 7), Ok(None));
        let refusal = params.int("N", 1, 6).unwrap_err();
        assert_eq!((refusal.code, refusal.message.as_str()), (Code::InvalidParameter, "N is \"7\""));
        assert_eq!(refusal.remedy, "Give a whole number from 1 to 6.");
        assert_eq!(params.bool("B"), Ok(Some(true)));
        assert!(params.bool("C").is_err());
        assert!(params.int("B", 0, 1).is_err());
    }

    #[test]
    fn lists_come_in_three_encodings() {
        for pairs in [
            &[("L.2", "b"), ("L.1", "a")][..],
            &[("L", r#"["a","b"]"#)],
            &[("L.1", "a"), ("L.10", "b")],
            &[("l.9", "a"), ("L.10", "b")],
        ] {
            assert_eq!(params(pairs).texts("L", 2).unwrap(), ["a", "b"], "{pairs:?}");
            assert!(params(pairs).texts("L", 1).is_err());
            assert!(params(pairs).any_given(&["X", "L"]));
        }
        assert_eq!(params(&[("L", "a")]).texts("L", 2).unwrap(), ["a"]);
        assert!(params(&[("L.x", "a")]).texts("L", 2).is_err());
        assert!(params(&[("L.0", "a")]).texts("L", 2).is_err());
        assert!(!params(&[("LL.1", "a")]).any_given(&["L"]));
    }

    #[test]
    fn objects_are_flattened_and_keep_their_path() {
        let params = params(&[("F.1.Key", "k"), ("F.1.Values.1", "v"), ("F.2.Key", "x")]);
        let items = params.items("F", 5).unwrap();
        assert_eq!(items[0].texts("Values", 5).unwrap(), ["v"]);
        assert_eq!(items[1].required("Values").unwrap_err().message, "the parameter F.2.Values is missing");
    }

    #[test]
    fn an_id_that_cannot_exist_names_nothing() {
        let params = params(&[("D", "d-nonsense"), ("E", &DiskId::from_bits(5).to_string())]);
        assert_eq!(params.id::<kinds::Disk>("D", Code::DiskNotFound).unwrap_err().code, Code::DiskNotFound);
        assert!(!params.asked::<kinds::Disk>("D").matches(DiskId::from_bits(5)));
        assert!(params.asked::<kinds::Disk>("E").matches(DiskId::from_bits(5)));
        assert!(params.asked::<kinds::Disk>("F").matches(DiskId::from_bits(5)));
    }
}
