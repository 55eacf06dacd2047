//! The ways of paging: by token, by page number, and ECS's choice of both.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use model::Refusal;

use crate::params::Params;

const LEN_DEFAULT: usize = 10;

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Of all pages.
    pub total: usize,
    /// To ask for the next page with; none at the end, and none in paging by number.
    pub next_token: Option<String>,
}

/// `NextToken` and `MaxResults`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPage {
    pub max_results: usize,
    after: Option<Mark>,
}

/// Where a listing was left. By id, and by count in case that one is gone by now.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    seen: usize,
    last: String,
}

impl TokenPage {
    pub fn parse(params: &Params, len_max: usize) -> Result<Self, Refusal> {
        let after = match params.str("NextToken") {
            Some(text) => Some(Mark::parse(text).ok_or_else(|| {
                params.invalid("NextToken", text, "Give the NextToken of the page before.")
            })?),
            None => None,
        };
        Ok(Self { max_results: length(params, "MaxResults", len_max)?, after })
    }

    /// The page of `items`, which are all there are, always in the same order. `id` tells them apart.
    pub fn of<T>(&self, items: Vec<T>, id: impl Fn(&T) -> String) -> Page<T> {
        let total = items.len();
        let start = self.after.as_ref().map_or(0, |mark| {
            let found = items.iter().position(|item| id(item) == mark.last);
            found.map_or(mark.seen, |at| at + 1)
        });
        let items: Vec<_> = items.into_iter().skip(start).take(self.max_results).collect();
        let seen = start.saturating_add(items.len());
        let last = items.last().filter(|_| seen < total).map(&id);
        Page { items, total, next_token: last.map(|last| Mark { seen, last }.print()) }
    }
}

impl Mark {
    fn print(&self) -> String {
        BASE64.encode(format!("{}:{}", self.seen, self.last))
    }

    fn parse(text: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64.decode(text).ok()?).ok()?;
        let (seen, last) = text.split_once(':')?;
        Some(Self { seen: seen.parse().ok()?, last: last.to_owned() })
    }
}

/// `PageNumber` and `PageSize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberPage {
    /// From 1.
    pub number: usize,
    pub size: usize,
}

impl NumberPage {
    pub fn parse(params: &Params, len_max: usize) -> Result<Self, Refusal> {
        let number = params.int("PageNumber", 1, i64::from(u32::MAX))?.unwrap_or(1);
        Ok(Self { number: usize::try_from(number).unwrap_or(1), size: length(params, "PageSize", len_max)? })
    }

    /// The page of `items`, which are all there are, always in the same order.
    pub fn of<T>(self, items: Vec<T>) -> Page<T> {
        let total = items.len();
        let start = (self.number - 1).saturating_mul(self.size);
        Page { items: items.into_iter().skip(start).take(self.size).collect(), total, next_token: None }
    }
}

/// ECS pages by number when a number or size is given, else by token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EcsPage {
    Token(TokenPage),
    Number(NumberPage),
}

impl EcsPage {
    /// Longest pages by number, and by token.
    pub fn parse(params: &Params, size_max: usize, results_max: usize) -> Result<Self, Refusal> {
        let by_token = params.any_given(&["NextToken", "MaxResults"]);
        if !by_token && params.any_given(&["PageNumber", "PageSize"]) {
            NumberPage::parse(params, size_max).map(Self::Number)
        } else {
            let mut page = TokenPage::parse(params, results_max)?;
            // ECS takes a smaller number for this one.
            page.max_results = page.max_results.max(LEN_DEFAULT);
            Ok(Self::Token(page))
        }
    }

    pub fn of<T>(&self, items: Vec<T>, id: impl Fn(&T) -> String) -> Page<T> {
        match self {
            Self::Token(page) => page.of(items, id),
            Self::Number(page) => page.of(items),
        }
    }
}

fn length(params: &Params, name: &str, len_max: usize) -> Result<usize, Refusal> {
    let len_max = i64::try_from(len_max).unwrap_or(i64::MAX);
    let length = params.int(name, 1, len_max)?;
    Ok(length.and_then(|length| usize::try_from(length).ok()).unwrap_or(LEN_DEFAULT))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::from_pairs(pairs.iter().map(|pair| (pair.0.to_owned(), pair.1.to_owned()))).unwrap()
    }

    fn next(items: &[u32], token: Option<&str>) -> (Vec<u32>, Option<String>) {
        let page = TokenPage::parse(&params(&[("MaxResults", "3"), ("NextToken", token.unwrap_or(""))]), 100)
            .unwrap();
        let page = page.of(items.to_vec(), u32::to_string);
        assert_eq!(page.total, items.len());
        (page.items, page.next_token)
    }

    #[test]
    fn tokens_lead_through_every_item_once() {
        for total in 0..10_u32 {
            let all: Vec<_> = (0..total).collect();
            let (mut seen, mut token) = next(&all, None);
            while let Some(given) = token {
                let (more, after) = next(&all, Some(&given));
                assert!(!more.is_empty(), "an empty page has no next one");
                seen.extend(more);
                token = after;
            }
            assert_eq!(seen, all);
        }
    }

    #[test]
    fn what_comes_and_goes_between_pages_shifts_nothing() {
        let (first, token) = next(&[9, 8, 7, 6, 5], None);
        assert_eq!(first, [9, 8, 7]);
        assert_eq!(next(&[10, 9, 8, 7, 6, 5], token.as_deref()).0, [6, 5], "a new one came before");
        assert_eq!(next(&[9, 8, 6, 5], token.as_deref()).0, [5], "the last one seen is gone: by count");
    }

    #[test]
    fn numbers_lead_to_pages_and_beyond_the_end_to_none() {
        let page = |number: &str| {
            let page = NumberPage::parse(&params(&[("PageNumber", number), ("PageSize", "2")]), 99).unwrap();
            page.of(vec![1, 2, 3])
        };
        assert_eq!(page("1").items, [1, 2]);
        assert_eq!(page("2").items, [3]);
        assert!(page("4294967295").items.is_empty());
        assert_eq!(page("2").total, 3);
        for pairs in [("PageNumber", "0"), ("PageSize", "0"), ("PageSize", "100"), ("PageSize", "x")] {
            assert!(NumberPage::parse(&params(&[pairs]), 99).is_err(), "{pairs:?}");
        }
    }

    #[test]
    fn ecs_pages_both_ways() {
        let check = |pairs: &[(&str, &str)]| EcsPage::parse(&params(pairs), 100, 500).unwrap();
        assert_eq!(check(&[]), EcsPage::Token(TokenPage { max_results: 10, after: None }));
        assert_eq!(check(&[("MaxResults", "3")]), EcsPage::Token(TokenPage { max_results: 10, after: None }));
        assert_eq!(check(&[("PageSize", "3")]), EcsPage::Number(NumberPage { number: 1, size: 3 }));
        assert!(EcsPage::parse(&params(&[("NextToken", "x y")]), 100, 500).is_err());
    }
}
