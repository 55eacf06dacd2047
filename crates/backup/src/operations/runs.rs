//! Running a policy now, over one or all of its instances.

use catalog::{Batch, Column, Query};
use model::{
    BackupRequest, Binding, Code, InstanceId, Job, JobId, Policy, PolicyId, Refusal, RuleId, RuleKind,
    Trigger,
};

use super::not_found;
use crate::Backup;

impl Backup {
    /// Runs a policy's backup rule now. Over one instance it answers that job; over several, a run,
    /// whose jobs have it as their parent.
    pub async fn execute_policy(
        &self,
        policy: PolicyId,
        rule: RuleId,
        instance: Option<InstanceId>,
    ) -> Result<JobId, Refusal> {
        let policy = self.policy(policy).await?;
        check_rule(&policy, rule)?;
        let bindings = self.bindings_to_run(&policy, instance).await?;
        if let [binding] = bindings.as_slice() {
            let seen = self.shared.blocks.instance(binding.instance).await?;
            let request = policy_request(&policy, rule, binding, None)?;
            return self.admit_backup(&seen, request, "", None, Batch::new()).await;
        }
        let run: JobId = self.shared.draw();
        for binding in &bindings {
            self.run_one(&policy, rule, binding, run).await?;
        }
        Ok(run)
    }

    /// The jobs of a run, oldest first.
    pub async fn run(&self, run: JobId) -> Result<Vec<Job>, Refusal> {
        let query = Query::all().eq(Column::Parent, run).oldest_first();
        let jobs: Vec<Job> = self.shared.catalog.list(&query).await?;
        let mut shown = Vec::with_capacity(jobs.len());
        for job in jobs {
            shown.push(self.with_progress(job).await?);
        }
        Ok(shown)
    }

    /// One instance of a run; what refuses it is recorded as a failed job, so that the others run.
    async fn run_one(
        &self,
        policy: &Policy,
        rule: RuleId,
        binding: &Binding,
        run: JobId,
    ) -> Result<(), Refusal> {
        let request = policy_request(policy, rule, binding, None)?;
        let refusal = match self.shared.blocks.instance(binding.instance).await {
            Ok(instance) => {
                match self.admit_backup(&instance, request.clone(), "", Some(run), Batch::new()).await {
                    Ok(_) => return Ok(()),
                    Err(refusal) => refusal,
                }
            }
            Err(refusal) => refusal,
        };
        match self.shared.blocks.last_seen(binding.instance).await? {
            Some(last) => {
                self.record_refused(&last, request, Some(run), refusal, Batch::new()).await?;
                Ok(())
            }
            None => Err(refusal),
        }
    }

    async fn bindings_to_run(
        &self,
        policy: &Policy,
        instance: Option<InstanceId>,
    ) -> Result<Vec<Binding>, Refusal> {
        let query = Query::all().eq(Column::Policy, policy.id).oldest_first();
        let bindings: Vec<Binding> = self.shared.catalog.list(&query).await?;
        let chosen: Vec<_> = match instance {
            None => bindings.into_iter().filter(|binding| !binding.disabled).collect(),
            Some(wanted) => {
                let binding = bindings.into_iter().find(|binding| binding.instance == wanted);
                let binding = binding.ok_or_else(|| {
                    Refusal::new(
                        Code::BindingNotFound,
                        format!("policy {} is not bound to instance {wanted}", policy.id),
                    )
                    .remedy("Bind it first.")
                })?;
                ::policy::admission::run_now(&binding)?;
                vec![binding]
            }
        };
        if chosen.is_empty() {
            return Err(Refusal::new(
                Code::BindingNotFound,
                format!("policy {} protects no instance", policy.id),
            )
            .remedy("Bind an instance first."));
        }
        Ok(chosen)
    }
}

fn check_rule(policy: &Policy, rule: RuleId) -> Result<(), Refusal> {
    match policy.rule(rule) {
        Some(found) if matches!(found.kind, RuleKind::Backup { .. }) => Ok(()),
        Some(_) => Err(Refusal::new(
            Code::InvalidParameter,
            format!("rule {rule} of policy {} is not of the type BACKUP", policy.id),
        )
        .remedy("Name a BACKUP rule of the policy.")),
        None => Err(not_found(Code::RuleNotFound, "rule", rule)),
    }
}

/// What a binding's next backup is asked to be. `due` is the occurrence of a scheduled one.
pub(crate) fn policy_request(
    policy: &Policy,
    rule: RuleId,
    binding: &Binding,
    due: Option<model::Timestamp>,
) -> Result<BackupRequest, Refusal> {
    let (policy_id, binding_id) = (policy.id, binding.id);
    let trigger = match due {
        Some(due) => Trigger::Schedule { policy: policy_id, rule, binding: binding_id, due },
        None => Trigger::PolicyNow { policy: policy_id, rule, binding: binding_id },
    };
    let found = policy.rule(rule).ok_or_else(|| not_found(Code::RuleNotFound, "rule", rule))?;
    ::policy::rules::bindable(policy)?;
    let retention = ::policy::rules::effective_retention(policy, found).map(|kept| kept.value);
    let retention = retention.ok_or_else(|| {
        Refusal::new(
            Code::PermanentRetention,
            format!("rule {rule} of policy {policy_id} keeps points for ever"),
        )
    })?;
    let immutable = ::policy::rules::effective_immutable(policy, found);
    Ok(BackupRequest { trigger, retention, immutable, options: binding.options.clone() })
}
