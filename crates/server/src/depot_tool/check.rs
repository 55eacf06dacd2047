//! The store's contract, run on the operator's own store under a prefix nobody used before.

use std::any::Any;
use std::sync::Arc;

use depot::DepotError;
use model::Entropy;
use serde_json::json;
use store::Store;

use super::place::{Found, failure};
use crate::args::Output;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::edge::{RealEntropy, nonce};

pub(super) async fn check(found: &Found, output: Output) -> Result<(), Failure> {
    let store: Arc<dyn Store> = found.store.clone();
    let mut fresh = [0; 16];
    RealEntropy.fill(&mut fresh);
    let probe = store::probe(&*store, u128::from_le_bytes(fresh)).await;
    let probe = probe.map_err(|error| failure(&found.place, DepotError::Store(error)))?;
    let seen = json!({
        "create_only": probe.create_only, "ranges": probe.ranges, "listing": probe.listing,
    });
    let said = |passed: bool, broken: Option<&str>| json!({"store": found.place, "probe": seen, "passed": passed, "broken": broken});
    if !probe.is_sound() {
        let what = format!("{} does not keep what a depot relies on ({probe:?})", found.place);
        output::one(output, &said(false, Some("probe")), "")?;
        return Err(Failure::Failed(what));
    }
    let root = format!("check-{}", nonce(&RealEntropy));
    if let Err(broken) = contract(store, root.clone()).await {
        output::one(output, &said(false, Some(&broken)), "")?;
        let what = format!("{} broke a promise: {broken}\nObjects may be left under {root}/", found.place);
        return Err(Failure::Failed(what));
    }
    let sentence = format!("{} keeps every promise a depot relies on", found.place);
    output::one(output, &said(true, None), &sentence)
}

/// The suite panics with the promise that was broken; here that is an answer.
async fn contract(store: Arc<dyn Store>, root: String) -> Result<(), String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let suite = tokio::spawn(async move { store::contract::all(&*store, &root).await }).await;
    std::panic::set_hook(hook);
    suite.map_err(|error| match error.try_into_panic() {
        Ok(panic) => words(&*panic),
        Err(error) => error.to_string(),
    })
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("the suite failed").to_owned()
}

#[cfg(test)]
mod tests {
    use store::{Fault, Faulty, Script};

    use super::*;

    #[tokio::test]
    async fn a_promise_that_is_broken_is_told() {
        assert_eq!(contract(store::memory(), "check-a".to_owned()).await, Ok(()));
        let full = Faulty::new(store::memory(), Script::From(3, Fault::NoSpace));
        let broken = contract(Arc::new(full), "check-b".to_owned()).await.expect_err("no room");
        assert!(broken.contains("no space"), "{broken}");
    }
}
