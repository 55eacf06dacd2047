//! The product's own command line, called as a user would.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::answer;
use super::server::Server;
use crate::sh::{capture, command, output, text};

#[derive(Debug, Clone)]
pub(crate) struct Cli {
    program: PathBuf,
    data: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Cli {
    pub(crate) fn new(program: &Path, server: &Server) -> Self {
        let data = server.data().to_owned();
        Self { program: program.to_owned(), data, environment: server.environment().unwrap_or_default() }
    }

    /// One call; its failure is an error with what it said.
    pub(crate) fn call(&self, arguments: &[&str]) -> Result<Value> {
        let said = capture(&mut self.command(arguments))?;
        serde_json::from_str(&said).with_context(|| format!("hikae {} said {said:?}", arguments.join(" ")))
    }

    /// One call that must not succeed.
    pub(crate) fn refused(&self, arguments: &[&str]) -> Result<Refused> {
        let output = output(&mut self.command(arguments))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok(Refused { code: output.status.code(), said })
    }

    /// Any operation of the wire: its answer as it came.
    pub(crate) fn api(&self, product: &str, action: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let names: Vec<String> = parameters.iter().map(|(name, _)| format!("--{name}")).collect();
        let mut arguments = vec!["api", product, action];
        for (name, (_, value)) in names.iter().zip(parameters) {
            arguments.extend([name.as_str(), *value]);
        }
        self.call(&arguments)
    }

    /// What to type to have the same in a shell.
    pub(crate) fn exports(&self) -> Result<String> {
        let directory = self.program.parent().context("the program lies nowhere")?;
        // The key stays in its file: what is printed here ends in a terminal's history.
        Ok(format!("export PATH={}:$PATH HIKAE_DATA={}", text(directory)?, text(&self.data)?))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&self.program, arguments);
        // `api` prints the wire's own JSON, and takes every option for a parameter of the operation.
        if arguments.first() != Some(&"api") {
            command.args(["--output", "json"]);
        }
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command
    }
}

/// How a call was refused, if it was.
#[derive(Debug)]
pub(crate) struct Refused {
    code: Option<i32>,
    said: String,
}

impl Refused {
    /// It did not succeed, did not crash, and said why.
    pub(crate) fn is_some(&self) -> bool {
        matches!(self.code, Some(1..=4)) && !self.said.is_empty()
    }

    /// The server refused it, with this code of the wire.
    pub(crate) fn is(&self, wire_code: &str) -> bool {
        self.code == Some(3) && self.said.contains(wire_code)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Value = serde_json::from_str(&self.said).unwrap_or_default();
        let part = |name| answer::text(&told, name).unwrap_or_default();
        match self.code {
            Some(0) => f.write_str("it was not"),
            _ if self.said.is_empty() => f.write_str("without a word"),
            _ if told.is_object() => write!(f, "{} ({})", part("message"), part("code")),
            _ => f.write_str(&self.said),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_a_crash_and_silence_are_no_refusals() {
        let refused = |code, said: &str| Refused { code, said: said.to_owned() };
        assert!(refused(Some(3), "PolicyInUse").is_some());
        assert!(!refused(Some(0), "warning").is_some());
        assert!(!refused(Some(101), "panicked").is_some());
        assert!(!refused(None, "killed").is_some());
        assert!(!refused(Some(3), "").is_some());
        assert!(refused(Some(3), "Error: PolicyInUse").is("PolicyInUse"));
        assert!(!refused(Some(2), "Error: PolicyInUse").is("PolicyInUse"));
    }
}
