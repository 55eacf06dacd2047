//! `cargo xtask test` and `cargo xtask ci`.

use anyhow::Result;

use crate::janitor::Janitor;
use crate::sh::{command, loud, now, say, succeeds, timed};
use crate::{demo, fuzz, guest, setup, tidy};

/// All tests, with everything they need. `arguments` go to cargo test, and then only cargo's tests run.
pub(crate) fn test(janitor: &Janitor, arguments: &[&str]) -> Result<()> {
    let began = now();
    let setup::TestEnvironment(variables) = timed("set-up", || setup::for_tests(janitor))?;
    let image = guest::image()?;
    // All that is broken, in one run: each takes minutes.
    let mut cargo = command("cargo", &["test", "--no-fail-fast"]);
    if !arguments.iter().any(|argument| *argument == "-p" || argument.starts_with("--package")) {
        cargo.arg("--workspace");
    }
    cargo.args(arguments).envs(variables.iter().map(|(name, value)| (*name, value.as_str())));
    cargo.env("HIKAE_TEST_KERNEL", &image.kernel).env("HIKAE_TEST_INITRAMFS", &image.initramfs);
    timed("cargo test", || loud(&mut cargo))?;
    if arguments.is_empty() {
        timed("client tests", || demo::client_tests(janitor))?;
        timed("the scenario on real machines", || demo::once(janitor, demo::Build::Debug))?;
    }
    say(format!("all tests passed in {:.0} s", began.elapsed().as_secs_f64()));
    Ok(())
}

/// What CI runs.
pub(crate) fn ci(janitor: &Janitor) -> Result<()> {
    timed("format", || {
        loud(&mut command("cargo", &["fmt", "--all", "--check"]))?;
        loud(&mut command("cargo", &["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]))
    })?;
    timed("lints", || {
        loud(&mut command(
            "cargo",
            &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
        ))
    })?;
    timed("tidy", tidy::run)?;
    if succeeds(&mut command("cargo", &["deny", "--version"])) {
        timed("deny", || loud(&mut command("cargo", &["deny", "check", "bans", "licenses", "sources"])))?;
    } else {
        say("deny: cargo-deny is not installed here, so licences and bans were NOT checked");
    }
    fuzz::run(&[])?;
    test(janitor, &[])
}
