//! The official Python SDK, called through small scripts.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::server::Server;
use crate::setup::python;
use crate::sh::{capture, command, root};

#[derive(Debug, Clone)]
pub(crate) struct Sdk {
    environment: Vec<(&'static str, String)>,
}

impl Sdk {
    pub(crate) fn new(server: &Server) -> Self {
        Self { environment: server.environment().unwrap_or_default() }
    }

    /// Runs `tests/clients/steps.py`; its last line is its answer.
    pub(crate) fn step(&self, arguments: &[&str]) -> Result<Value> {
        let mut step = command(python(), &[]);
        step.arg(root().join("tests/clients/steps.py")).args(arguments);
        step.env("PYTHONDONTWRITEBYTECODE", "1");
        let said = capture(step.envs(self.environment.iter().map(|(name, value)| (*name, value))))?;
        let last = said.lines().next_back().context("the SDK's script said nothing")?;
        serde_json::from_str(last).with_context(|| format!("the SDK's script said {last:?}"))
    }
}
