//! Query filters: `Filters.1.Key`, `.Operator`, `.Values.1`.

use std::cmp::Ordering;

use model::{Code, Refusal};

use crate::params::Params;

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    Equal,
    NotEqual,
    GreaterThan,
    GreaterThanOrEqual,
    LessThan,
    LessThanOrEqual,
    /// Both ends included.
    Between,
    /// What is meant when nothing is said.
    In,
}

impl Operator {
    const WORDS: [(&str, Self); 8] = [
        ("EQUAL", Self::Equal),
        ("NOT_EQUAL", Self::NotEqual),
        ("GREATER_THAN", Self::GreaterThan),
        ("GREATER_THAN_OR_EQUAL", Self::GreaterThanOrEqual),
        ("LESS_THAN", Self::LessThan),
        ("LESS_THAN_OR_EQUAL", Self::LessThanOrEqual),
        ("BETWEEN", Self::Between),
        ("IN", Self::In),
    ];
}

/// One condition; filters of a call hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// As the operation spells it, whatever the client's letter case.
    pub key: &'static str,
    pub operator: Operator,
    /// At least one; two of `Between`.
    pub values: Vec<String>,
}

/// What one operation's filters may be.
#[derive(Debug, Clone, Copy)]
pub struct FilterRules {
    pub keys: &'static [&'static str],
    pub filters_max: usize,
    pub values_max: usize,
}

impl Filter {
    pub fn parse_all(params: &Params, rules: FilterRules) -> Result<Vec<Self>, Refusal> {
        let items = params.items("Filters", rules.filters_max)?;
        items.iter().map(|item| Self::parse(item, rules)).collect()
    }

    fn parse(item: &Params, rules: FilterRules) -> Result<Self, Refusal> {
        let asked = item.required("Key")?;
        let Some(key) = rules.keys.iter().copied().find(|key| key.eq_ignore_ascii_case(asked)) else {
            return Err(item.invalid("Key", asked, &format!("Give one of {}.", rules.keys.join(", "))));
        };
        let operator = item.word("Operator", &Operator::WORDS)?.unwrap_or(Operator::In);
        let values = item.texts("Values", rules.values_max)?;
        if values.is_empty() {
            return Err(item.missing("Values"));
        }
        match operator {
            Operator::Between if values.len() != 2 => {
                let given = format!("{} values", values.len());
                Err(item.invalid("Values", &given, "Give BETWEEN the least and the greatest value."))
            }
            Operator::In if key == "CompleteTime" => {
                let remedy = "Compare CompleteTime by another operator than IN, such as BETWEEN.";
                Err(Refusal::new(Code::InvalidParameter, "CompleteTime cannot be compared by IN")
                    .remedy(remedy))
            }
            _ => Ok(Self { key, operator, values }),
        }
    }

    /// Whether a field of this value passes. Numbers compare as numbers, all else as text; what is
    /// not there is neither less nor more than anything.
    pub fn matches(&self, field: &str) -> bool {
        if field.is_empty() {
            return self.operator == Operator::NotEqual;
        }
        let to = |value: &String| compare(field, value);
        let first = || self.values.first().map(to);
        match self.operator {
            Operator::Equal | Operator::In => self.values.iter().any(|value| to(value).is_eq()),
            Operator::NotEqual => self.values.iter().all(|value| to(value).is_ne()),
            Operator::GreaterThan => first().is_some_and(Ordering::is_gt),
            Operator::GreaterThanOrEqual => first().is_some_and(Ordering::is_ge),
            Operator::LessThan => first().is_some_and(Ordering::is_lt),
            Operator::LessThanOrEqual => first().is_some_and(Ordering::is_le),
            Operator::Between => {
                first().is_some_and(Ordering::is_ge)
                    && self.values.last().map(to).is_some_and(Ordering::is_le)
            }
        }
    }

    /// Whether a thing passes all of `filters`, given its fields by key. A field it does not have
    /// is empty: it equals nothing anybody asks for.
    pub fn all_match(filters: &[Self], field: impl Fn(&str) -> String) -> bool {
        filters.iter().all(|filter| filter.matches(&field(filter.key)))
    }

    /// The only value a key is narrowed to.
    pub fn only<'a>(filters: &'a [Self], key: &str) -> Option<&'a str> {
        let filter = filters.iter().find(|filter| filter.key == key)?;
        match (filter.operator, filter.values.as_slice()) {
            (Operator::Equal | Operator::In, [value]) => Some(value),
            _ => None,
        }
    }
}

fn compare(left: &str, right: &str) -> Ordering {
    match (left.parse::<i64>(), right.parse::<i64>()) {
        (Ok(left), Ok(right)) => left.cmp(&right),
        _ => left.cmp(right),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RULES: FilterRules =
        FilterRules { keys: &["CompleteTime", "InstanceId"], filters_max: 2, values_max: 3 };

    fn parse(pairs: &[(&str, &str)]) -> Result<Vec<Filter>, Refusal> {
        let pairs = pairs.iter().map(|pair| (format!("Filters.{}", pair.0), pair.1.to_owned()));
        Filter::parse_all(&Params::from_pairs(pairs).unwrap(), RULES)
    }

    #[test]
    fn keys_are_found_in_any_case_and_the_operator_is_in() {
        let filters =
            parse(&[("1.Key", "instanceId"), ("1.Values.1", "i-1"), ("1.Values.2", "i-2")]).unwrap();
        assert_eq!((filters[0].key, filters[0].operator), ("InstanceId", Operator::In));
        assert!(filters[0].matches("i-2") && !filters[0].matches("i-3"));
        assert_eq!(Filter::only(&filters, "InstanceId"), None);
    }

    #[test]
    fn every_operator_compares_numbers_as_numbers() {
        let check = |operator: Operator, values: &[&str], passing: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            let filter = Filter { key: "CompleteTime", operator, values };
            let passed: Vec<_> =
                ["5", "9", "10", "11"].into_iter().filter(|field| filter.matches(field)).collect();
            assert_eq!(passed, passing, "{operator:?}");
        };
        for (word, operator) in Operator::WORDS {
            match operator {
                Operator::Equal => check(operator, &["9"], &["9"]),
                Operator::NotEqual => check(operator, &["9"], &["5", "10", "11"]),
                Operator::GreaterThan => check(operator, &["9"], &["10", "11"]),
                Operator::GreaterThanOrEqual => check(operator, &["9"], &["9", "10", "11"]),
                Operator::LessThan => check(operator, &["10"], &["5", "9"]),
                Operator::LessThanOrEqual => check(operator, &["10"], &["5", "9", "10"]),
                Operator::Between => check(operator, &["9", "10"], &["9", "10"]),
                Operator::In => check(operator, &["5", "11"], &["5", "11"]),
            }
            let pairs =
                [("1.Key", "InstanceId"), ("1.Operator", word), ("1.Values.1", "1"), ("1.Values.2", "2")];
            assert_eq!(parse(&pairs).unwrap()[0].operator, operator);
        }
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        for pairs in [
            &[("1.Key", "Colour"), ("1.Values.1", "1")][..],
            &[("1.Values.1", "1")],
            &[("1.Key", "InstanceId")],
            &[("1.Key", "InstanceId"), ("1.Values.1", "1"), ("1.Operator", "LIKE")],
            &[("1.Key", "InstanceId"), ("1.Values.1", "1"), ("1.Operator", "BETWEEN")],
            &[("1.Key", "completeTime"), ("1.Values.1", "1")],
            &[("1.Key", "InstanceId"), ("1.Values", r#"["1","2","3","4"]"#)],
            &[("1.Key", "InstanceId"), ("2.Key", "InstanceId"), ("3.Key", "InstanceId")],
        ] {
            assert!(parse(pairs).is_err(), "{pairs:?}");
        }
    }
}
