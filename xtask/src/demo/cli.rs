//! The product's own command line, called as a user would.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::server::Server;
use crate::sh::{capture, command, output, text};

#[derive(Debug, Clone)]
pub(crate) struct Cli {
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Cli {
    pub(crate) fn new(program: &Path, server: &Server) -> Self {
        Self { program: program.to_owned(), environment: server.environment().unwrap_or_default() }
    }

    /// One call; its failure is an error with what it said.
    pub(crate) fn call(&self, arguments: &[&str]) -> Result<Value> {
        let said = capture(&mut self.command(arguments))?;
        serde_json::from_str(&said).with_context(|| format!("hikae {} said {said:?}", arguments.join(" ")))
    }

    /// One call that must not succeed: what it said while refusing, or `None` if it did succeed.
    pub(crate) fn refused(&self, arguments: &[&str]) -> Result<Option<String>> {
        let output = output(&mut self.command(arguments))?;
        Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
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
        let mut words = vec![format!("export PATH={}:$PATH", text(directory)?)];
        words.extend(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        Ok(words.join(" "))
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
