//! Starts the backups that policies say are due.

use blocks::Report;
use catalog::{Batch, Column, Query, Setting};
use model::{Binding, Policy, Refusal, RuleId, RuleKind, Schedule, Timestamp};

use crate::Backup;
use crate::operations::policy_request;

/// A run that could not start for longer than this was missed. Some twenty activations.
const LATE_SECONDS_MAX: i64 = 300;

#[derive(Debug, Clone)]
pub struct StartDueJobs {
    backup: Backup,
}

impl StartDueJobs {
    pub fn new(backup: Backup) -> Self {
        Self { backup }
    }

    pub async fn activate(&mut self) -> Report {
        let mut report = Report::default();
        let policies: Vec<Policy> = match self.backup.shared.catalog.list(&Query::all()).await {
            Ok(policies) => policies,
            Err(error) => {
                report.troubles.push(error.to_string());
                return report;
            }
        };
        for policy in policies {
            for rule in &policy.rules {
                let RuleKind::Backup { schedule: Some(schedule), .. } = &rule.kind else { continue };
                if let Err(refusal) = self.start_due(&policy, rule.id, schedule, &mut report).await {
                    report.troubles.push(format!("policy {}: {refusal}", policy.id));
                }
            }
        }
        report
    }

    async fn start_due(
        &self,
        policy: &Policy,
        rule: RuleId,
        schedule: &Schedule,
        report: &mut Report,
    ) -> Result<(), Refusal> {
        let query = Query::all().eq(Column::Policy, policy.id).oldest_first();
        let bindings: Vec<Binding> = self.backup.shared.catalog.list(&query).await?;
        for binding in bindings.iter().filter(|binding| !binding.disabled) {
            report.looked_at += 1;
            let last = self.last_run(rule, binding).await?;
            let now = self.backup.shared.clock.now();
            let zone = &self.backup.shared.time_zone(&policy.region);
            // A run missed while nobody was there is not made up (semantics.md §5).
            let Some(due) = ::policy::schedule::due(schedule, last, now, zone)
                .filter(|due| due.plus_seconds(LATE_SECONDS_MAX) > now)
            else {
                continue;
            };
            match self.start(policy, rule, binding, due).await {
                Ok(()) => report.acted_on += 1,
                Err(refusal) => report.troubles.push(format!("instance {}: {refusal}", binding.instance)),
            }
        }
        Ok(())
    }

    /// Nothing is due before the binding was last changed: missed runs are not made up.
    async fn last_run(&self, rule: RuleId, binding: &Binding) -> Result<Option<Timestamp>, Refusal> {
        let kept = self.backup.shared.catalog.get::<Setting>(&setting_name(rule, binding)).await?;
        let kept = kept.and_then(|setting| setting.value.parse().ok()).map(Timestamp);
        Ok(Some(kept.map_or(binding.updated, |last| last.max(binding.updated))))
    }

    /// One occurrence is one job: that it was started, skipped or refused is written together
    /// with what became of it.
    async fn start(
        &self,
        policy: &Policy,
        rule: RuleId,
        binding: &Binding,
        due: Timestamp,
    ) -> Result<(), Refusal> {
        let kept = Setting { name: setting_name(rule, binding), value: due.0.to_string() };
        let records = || Batch::new().put(&kept);
        let request = policy_request(policy, rule, binding, Some(due))?;
        let blocks = &self.backup.shared.blocks;
        let refusal = match blocks.instance(binding.instance).await {
            Ok(instance) => {
                match self.backup.admit_backup(&instance, request.clone(), "", None, records()).await {
                    Ok(_) => return Ok(()),
                    // The last one still runs: this run is skipped, the next due time is its chance.
                    Err(refusal) if refusal.code == model::Code::JobRunning => {
                        tracing::info!(instance = %binding.instance, "run skipped: the last one still runs");
                        return Ok(self.backup.shared.catalog.write(records()).await?);
                    }
                    Err(refusal) => refusal,
                }
            }
            Err(refusal) => refusal,
        };
        // A released instance has no runs any more (semantics.md §15.12).
        if refusal.code == model::Code::InstanceReleased {
            return Ok(self.backup.shared.catalog.write(records()).await?);
        }
        match blocks.last_seen(binding.instance).await? {
            Some(last) => {
                self.backup.record_refused(&last, request, None, refusal, records()).await.map(|_| ())
            }
            None => Err(refusal),
        }
    }
}

fn setting_name(rule: RuleId, binding: &Binding) -> String {
    format!("last run of {rule} on {}", binding.id)
}
