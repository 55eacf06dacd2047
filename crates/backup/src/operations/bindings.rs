//! Bindings: policies put on instances and taken off again.

use catalog::{Batch, CatalogError, Column, Query, Record};
use model::{
    Binding, BindingOptions, Code, Instance, InstanceId, Policy, PolicyId, Refusal, RegionId, RuleKind,
};

use crate::Backup;

/// As many as the wizard takes in one go (semantics.md §10).
const INSTANCES_MAX: usize = 99;

/// One instance to be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBinding {
    pub instance: InstanceId,
    pub description: String,
    pub disabled: bool,
    pub options: BindingOptions,
}

impl Backup {
    /// Binds all of them, or none.
    pub async fn create_bindings(&self, policy: PolicyId, new: Vec<NewBinding>) -> Result<(), Refusal> {
        let _held = self.shared.binding.lock().await;
        let policy = self.policy(policy).await?;
        check_count(new.len())?;
        ::policy::rules::bindable(&policy)?;
        refuse_what_is_not_offered(&policy)?;
        let now = self.shared.clock.now();
        let mut batch = Batch::new();
        for new in new {
            let instance = self.shared.blocks.instance(new.instance).await?;
            self.check_unbound(&policy, &instance).await?;
            ::policy::selection::admit(&instance, &new.options)?;
            let description = if new.description.is_empty() {
                format!("{}-{}", policy.id, instance.id)
            } else {
                new.description
            };
            batch = batch.insert(&Binding {
                id: self.shared.draw(),
                region: instance.region,
                policy: policy.id,
                instance: instance.id,
                description,
                disabled: new.disabled,
                options: new.options,
                created: now,
                updated: now,
            });
        }
        match self.shared.catalog.write(batch).await {
            Ok(()) => Ok(()),
            Err(CatalogError::Exists { table, key }) if table == <Binding as Record>::TABLE.name => {
                let message = format!("an instance is named twice (binding {key}); nothing was bound");
                Err(Refusal::new(Code::PolicyBound, message).remedy("Name each instance once."))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn check_unbound(&self, policy: &Policy, instance: &Instance) -> Result<(), Refusal> {
        if instance.region != policy.region {
            return Err(Refusal::new(
                Code::InvalidParameter,
                format!(
                    "policy {} is in {}, instance {} in {}",
                    policy.id, policy.region, instance.id, instance.region
                ),
            )
            .remedy("Bind a policy of the instance's own region."));
        }
        match self.binding_of(instance.id).await? {
            None => Ok(()),
            Some(binding) => Err(Refusal::new(
                Code::PolicyBound,
                format!(
                    "instance {} has the policy {} already; nothing was bound",
                    instance.id, binding.policy
                ),
            )
            .remedy("An instance has one policy: remove its binding first.")),
        }
    }

    /// The bindings of a region, oldest first.
    pub async fn bindings(&self, region: &RegionId) -> Result<Vec<Binding>, Refusal> {
        let query = Query::all().eq(Column::Region, region).oldest_first();
        Ok(self.shared.catalog.list(&query).await?)
    }

    /// Takes a policy off instances; their points are kept (semantics.md §6.7).
    pub async fn delete_bindings(&self, policy: PolicyId, instances: &[InstanceId]) -> Result<(), Refusal> {
        let policy = self.policy(policy).await?;
        let mut batch = Batch::new();
        for instance in instances {
            let binding = self.binding_of(*instance).await?.filter(|binding| binding.policy == policy.id);
            let Some(binding) = binding else {
                return Err(Refusal::new(
                    Code::BindingNotFound,
                    format!("policy {} is not bound to instance {instance}; nothing was removed", policy.id),
                )
                .remedy("List the bindings of the policy."));
            };
            batch = batch.delete::<Binding>(&binding.id);
        }
        Ok(self.shared.catalog.write(batch).await?)
    }

    pub(crate) async fn binding_of(&self, instance: InstanceId) -> Result<Option<Binding>, Refusal> {
        let query = Query::all().eq(Column::Instance, instance).limit(1);
        Ok(self.shared.catalog.list::<Binding>(&query).await?.pop())
    }
}

fn check_count(count: usize) -> Result<(), Refusal> {
    if (1..=INSTANCES_MAX).contains(&count) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::InvalidParameter,
        format!("PolicyBindingList names {count} instances; 1 to {INSTANCES_MAX} are allowed"),
    )
    .remedy("Split it into several calls."))
}

/// A protection that silently lacks a part is worse than none.
fn refuse_what_is_not_offered(policy: &Policy) -> Result<(), Refusal> {
    let missing = policy.rules.iter().find_map(|rule| match &rule.kind {
        RuleKind::Replication { .. } => Some("copies to another region (REPLICATION)"),
        RuleKind::Tag { .. } => Some("binding by tags (TAG)"),
        RuleKind::Transition { archive: Some(_), .. } => Some("archiving (ArchiveDays)"),
        RuleKind::Backup { .. } | RuleKind::Transition { .. } | RuleKind::Security { .. } => None,
    });
    match missing {
        None => Ok(()),
        Some(what) => Err(Refusal::new(
            Code::NotOffered,
            format!("policy {} asks for {what}, which this version does not offer", policy.id),
        )
        .remedy("Bind a policy without that rule.")),
    }
}
