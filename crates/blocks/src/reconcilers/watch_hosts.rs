//! Remembers every instance the hosts show, and notices those that are gone.

use catalog::{Batch, Column, Query, SeenInstance};
use model::Instance;

use super::Report;
use crate::Blocks;

#[derive(Debug, Clone)]
pub struct WatchHosts {
    blocks: Blocks,
}

impl WatchHosts {
    pub fn new(blocks: Blocks) -> Self {
        Self { blocks }
    }

    pub async fn activate(&mut self) -> Report {
        let mut report = Report::default();
        let hosts: Vec<_> =
            self.blocks.shared.all_regions().flat_map(|region| region.hosts.iter().cloned()).collect();
        for host in hosts {
            let asked = self.blocks.shared.clock.now();
            match host.list().await {
                Ok(instances) => self.remember(host.id(), &instances, asked, &mut report).await,
                // An absent answer is no proof of absence: nothing is released.
                Err(error) => report.troubles.push(format!("host {}: {error}", host.id())),
            }
        }
        report
    }

    async fn remember(
        &self,
        host: model::HostId,
        instances: &[Instance],
        asked: model::Timestamp,
        report: &mut Report,
    ) {
        report.looked_at += instances.len();
        let catalog = &self.blocks.shared.catalog;
        let now = self.blocks.shared.clock.now();
        let known: Vec<SeenInstance> =
            match catalog.list(&Query::all().eq(Column::Released, catalog::Value::Null)).await {
                Ok(known) => known,
                Err(error) => return report.troubles.push(error.to_string()),
            };
        let mut batch = Batch::new();
        for instance in instances {
            let before = known.iter().find(|seen| seen.id == instance.id);
            if before.is_some_and(|seen| seen.last == *instance) {
                continue;
            }
            report.acted_on += 1;
            batch = batch.put(&seen(instance, before, now));
        }
        // One that a backup has seen since we asked is no proof of anything.
        let gone = known.iter().filter(|seen| {
            seen.last.host == host
                && seen.last_seen <= asked
                && !instances.iter().any(|instance| instance.id == seen.id)
        });
        for seen in gone {
            report.acted_on += 1;
            batch = batch.put(&SeenInstance { released: Some(now), ..seen.clone() });
        }
        if let Err(error) = catalog.write(batch).await {
            report.troubles.push(error.to_string());
        }
    }
}

/// The record of an instance that a host shows now.
pub(crate) fn seen(
    instance: &Instance,
    before: Option<&SeenInstance>,
    now: model::Timestamp,
) -> SeenInstance {
    SeenInstance {
        id: instance.id,
        region: instance.region.clone(),
        uuid: instance.uuid,
        name: instance.name.clone(),
        first_seen: before.map_or(now, |seen| seen.first_seen),
        last_seen: now,
        released: None,
        last: instance.clone(),
    }
}
