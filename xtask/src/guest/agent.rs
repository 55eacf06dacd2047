//! Asks a guest things through its agent.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::libvirtd::virsh;
use crate::sh::wait_for;

const ANSWER_AT_MOST: Duration = Duration::from_secs(60);

/// The two numbers a guest's disks hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) a: u64,
    pub(crate) b: u64,
}

impl Numbers {
    /// Disk A is written first, then disk B, then A again: at one instant they are equal, or A is one ahead.
    pub(crate) fn of_one_instant(self) -> bool {
        self.a == self.b || self.a.checked_sub(1) == Some(self.b)
    }
}

pub(crate) fn ping(domain: &str) -> bool {
    ask(domain, &json!({ "execute": "guest-ping" })).is_ok()
}

/// What is on both disks now.
pub(crate) fn numbers(domain: &str) -> Result<Numbers> {
    let said = run_in(domain, "/bin/hikae-guest", &["found", "/a/witness", "/b/witness"])?;
    super::report::found(&said).with_context(|| format!("{domain} answered {said:?}"))
}

/// Runs a program in the guest to its end and returns what it printed.
pub(crate) fn run_in(domain: &str, program: &str, arguments: &[&str]) -> Result<String> {
    let asked = ask(
        domain,
        &json!({ "execute": "guest-exec", "arguments": {
            "path": program, "arg": arguments, "capture-output": true } }),
    )?;
    let pid = asked["pid"].as_u64().context("the agent gave no process number")?;
    let status = json!({ "execute": "guest-exec-status", "arguments": { "pid": pid } });
    let ended = wait_for(&format!("{program} in {domain} ends"), ANSWER_AT_MOST, || {
        let answer = ask(domain, &status)?;
        Ok((answer["exited"] == true).then_some(answer))
    })?;
    let said = decode(ended["out-data"].as_str().unwrap_or_default())?;
    match ended["exitcode"].as_i64() {
        Some(0) => Ok(said),
        code => bail!("{program} in {domain} ended with {code:?}: {said}"),
    }
}

fn ask(domain: &str, question: &Value) -> Result<Value> {
    let answer = virsh(&["qemu-agent-command", "--timeout", "10", domain, &question.to_string()])?;
    let mut answer: Value = serde_json::from_str(&answer).context("the agent's answer is no JSON")?;
    Ok(answer["return"].take())
}

/// Base64, as the agent wraps output.
fn decode(text: &str) -> Result<String> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for byte in text.bytes().filter(|byte| *byte != b'=' && !byte.is_ascii_whitespace()) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("not base64: {text:?}"),
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_the_agent_writes_it() {
        for (text, plain) in
            [("", ""), ("YQ==", "a"), ("YWI=", "ab"), ("YWJj", "abc"), ("aGlrYWU6IG9rCg==", "hikae: ok\n")]
        {
            assert_eq!(decode(text).expect(text), plain);
        }
        assert!(decode("a b!").is_err());
    }

    #[test]
    fn which_pairs_of_numbers_are_of_one_instant() {
        let at = |a, b| Numbers { a, b }.of_one_instant();
        assert!(at(0, 0) && at(7, 7) && at(8, 7));
        assert!(!at(7, 8) && !at(9, 7) && !at(0, 1));
    }
}
