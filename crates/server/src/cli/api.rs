//! `hikae api`: any operation, and its answer as it came.

use wire::Product;

use super::client::Pairs;
use super::failure::Failure;
use super::{Session, output};
use crate::args::{ApiArgs, Connection, Output};

pub(crate) async fn call(session: &Session, arguments: &ApiArgs) -> Result<(), Failure> {
    let product = Product::ALL
        .into_iter()
        .find(|product| product.as_str().eq_ignore_ascii_case(&arguments.product))
        .ok_or_else(|| {
            let known = Product::ALL.map(Product::as_str).join(" or ");
            Failure::Usage(format!("there is no product {:?}: say {known}", arguments.product))
        })?;
    let params = params(&words(arguments)?)?;
    let answer = session.client.call(product, &arguments.action, &params).await?;
    output::json(&answer)
}

/// Our own options may stand among the operation's parameters: no parameter is spelled like them.
pub(crate) fn take_options(arguments: &mut ApiArgs, connection: &mut Connection) -> Result<(), Failure> {
    let mut rest = Vec::new();
    let mut words = words(arguments)?.into_iter();
    while let Some(word) = words.next() {
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.clone(), None),
        };
        if !["--data", "--endpoint", "--region", "--output", "--access-key-id", "--access-key-secret"]
            .contains(&name.as_str())
        {
            rest.push(word);
            if attached.is_none()
                && let Some(value) = words.next()
            {
                rest.push(value);
            }
            continue;
        }
        let value = attached.or_else(|| words.next()).ok_or_else(|| needs_value(&name))?;
        match name.as_str() {
            "--data" => connection.data = Some(value.into()),
            "--endpoint" => connection.endpoint = Some(value),
            "--region" => connection.region = Some(value),
            "--access-key-id" => connection.access_key_id = Some(value),
            "--access-key-secret" => connection.access_key_secret = value.parse().ok(),
            // The answer is JSON whatever is asked for; errors follow it.
            _ => connection.output = if value == "json" { Output::Json } else { Output::Table },
        }
    }
    arguments.params = rest.into_iter().map(Into::into).collect();
    Ok(())
}

fn words(arguments: &ApiArgs) -> Result<Vec<String>, Failure> {
    let text = |word: &std::ffi::OsString| word.to_str().map(str::to_owned);
    let words: Option<Vec<_>> = arguments.params.iter().map(text).collect();
    words.ok_or_else(|| Failure::Usage("parameters must be UTF-8".to_owned()))
}

fn params(words: &[String]) -> Result<Pairs, Failure> {
    let mut pairs = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix("--").filter(|name| !name.is_empty()) else {
            return Err(Failure::Usage(format!("{word:?} is no parameter: write --Name value")));
        };
        match name.split_once('=') {
            Some((name, value)) => pairs.push((name.to_owned(), value.to_owned())),
            None => {
                let value = words.next().ok_or_else(|| needs_value(word))?;
                pairs.push((name.to_owned(), value.clone()));
            }
        }
    }
    Ok(pairs)
}

fn needs_value(name: &str) -> Failure {
    Failure::Usage(format!("{name} needs a value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_pairs_in_two_spellings() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let read = params(&words("--Filters.1.Key Status --PageSize=5 --Retention -1")).expect("well formed");
        assert_eq!(read, [pair("Filters.1.Key", "Status"), pair("PageSize", "5"), pair("Retention", "-1")]);
        for odd in ["PageSize 5", "--PageSize", "-- 5"] {
            assert_eq!(params(&words(odd)).expect_err("no parameter").exit_code(), 2, "{odd}");
        }
    }
}
