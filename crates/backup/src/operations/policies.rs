//! Policies: made, listed, deleted.

use catalog::{Batch, Column, Query};
use model::{Binding, Code, Policy, PolicyId, PolicyKind, Refusal, RegionId, Rule, RuleKind};

use super::not_found;
use crate::Backup;

/// A policy as asked for; its rules have passed `policy::rules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPolicy {
    pub name: String,
    pub description: String,
    pub kind: PolicyKind,
    pub rules: Vec<RuleKind>,
}

impl Backup {
    pub async fn create_policy(&self, region: &RegionId, new: NewPolicy) -> Result<PolicyId, Refusal> {
        let now = self.shared.clock.now();
        let policy = Policy {
            id: self.shared.draw(),
            region: region.clone(),
            name: new.name,
            description: new.description,
            kind: new.kind,
            rules: new.rules.into_iter().map(|kind| Rule { id: self.shared.draw(), kind }).collect(),
            created: now,
            updated: now,
        };
        self.shared.catalog.write(Batch::new().insert(&policy)).await?;
        Ok(policy.id)
    }

    /// The policies of a region, oldest first, each with the number of its bindings.
    pub async fn policies(&self, region: &RegionId) -> Result<Vec<(Policy, u64)>, Refusal> {
        let query = Query::all().eq(Column::Region, region).oldest_first();
        let policies: Vec<Policy> = self.shared.catalog.list(&query).await?;
        let mut counted = Vec::with_capacity(policies.len());
        for policy in policies {
            let bindings = self.binding_count(policy.id).await?;
            counted.push((policy, bindings));
        }
        Ok(counted)
    }

    pub async fn policy(&self, id: PolicyId) -> Result<Policy, Refusal> {
        let found = self.shared.catalog.get::<Policy>(&id).await?;
        found.ok_or_else(|| not_found(Code::PolicyNotFound, "policy", id))
    }

    /// Refused while an instance is bound (semantics.md §11.8); points are never touched.
    pub async fn delete_policy(&self, id: PolicyId) -> Result<(), Refusal> {
        let _held = self.shared.binding.lock().await;
        let policy = self.policy(id).await?;
        let bindings = self.binding_count(id).await?;
        if bindings > 0 {
            return Err(Refusal::new(
                Code::PolicyInUse,
                format!("policy {id} ({}) protects {bindings} instances", policy.name),
            )
            .remedy("Remove its bindings first; the points they made are kept."));
        }
        Ok(self.shared.catalog.write(Batch::new().delete::<Policy>(&id)).await?)
    }

    async fn binding_count(&self, policy: PolicyId) -> Result<u64, Refusal> {
        Ok(self.shared.catalog.count::<Binding>(&Query::all().eq(Column::Policy, policy)).await?)
    }
}
