//! Instances: what the hosts show, starting and stopping them.

use catalog::{Column, Lease, Query, SeenInstance};
use futures::future::join_all;
use host::Stop;
use model::{Code, Instance, InstanceId, InstanceStatus, Refusal, RegionId};
use tracing::warn;

use crate::Blocks;
use crate::operations::disks_lease;

impl Blocks {
    /// All instances of a region. A host that cannot be reached shows what it showed last.
    pub async fn instances(&self, region: &RegionId) -> Result<Vec<Instance>, Refusal> {
        let hosts = &self.shared.region(region)?.hosts;
        let lists = join_all(hosts.iter().map(|host| host.list())).await;
        let mut instances = Vec::new();
        let mut unreachable = Vec::new();
        let mut last_error = None;
        for (host, list) in hosts.iter().zip(lists) {
            match list {
                Ok(list) => instances.extend(list),
                Err(error) => {
                    warn!(host = %host.id(), %error, "host not listed");
                    unreachable.push(host.id());
                    last_error = Some(error);
                }
            }
        }
        if let Some(error) = last_error {
            if unreachable.len() == hosts.len() {
                return Err(error.into());
            }
            let seen: Vec<SeenInstance> =
                self.shared.catalog.list(&Query::all().eq(Column::Region, region)).await?;
            instances.extend(
                seen.into_iter()
                    .filter(|seen| seen.released.is_none() && unreachable.contains(&seen.last.host))
                    .map(|seen| seen.last),
            );
        }
        for instance in &mut instances {
            if let Some(seen) = self.shared.catalog.get::<SeenInstance>(&instance.id).await? {
                instance.created = Some(seen.first_seen);
            }
        }
        instances.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(instances)
    }

    /// One instance, wherever it is; released ones and unknown ones are told apart.
    pub async fn instance(&self, id: InstanceId) -> Result<Instance, Refusal> {
        Ok(self.shared.locate(id).await?.0)
    }

    /// An instance as it was last seen, whether or not it still exists.
    pub async fn last_seen(&self, id: InstanceId) -> Result<Option<Instance>, Refusal> {
        Ok(self.shared.catalog.get::<SeenInstance>(&id).await?.map(|seen| seen.last))
    }

    pub async fn start_instance(&self, id: InstanceId) -> Result<(), Refusal> {
        let (instance, host) = self.shared.locate(id).await?;
        if instance.status != InstanceStatus::Stopped {
            return Err(wrong_state(&instance, "Stopped", "start"));
        }
        // A stopped instance whose disks are being read or replaced must stay stopped.
        if self.shared.catalog.get::<Lease>(&disks_lease(id)).await?.is_some() {
            return Err(Refusal::new(
                Code::InstanceStatus,
                format!("instance {id} cannot be started while a backup or restore works on its disks"),
            )
            .remedy("Wait until the job has ended, or cancel it."));
        }
        Ok(host.start(id).await?)
    }

    /// By force at once; gracefully in the background, as guests take their time.
    pub async fn stop_instance(&self, id: InstanceId, force: bool) -> Result<(), Refusal> {
        let (instance, host) = self.shared.locate(id).await?;
        if instance.status == InstanceStatus::Stopped {
            return Err(Refusal::new(Code::InstanceStatus, format!("instance {id} is stopped already")));
        }
        if force {
            return Ok(host.stop(id, Stop::ByForce).await?);
        }
        tokio::spawn(async move {
            if let Err(error) = host.stop(id, Stop::Gracefully).await {
                warn!(instance = %id, %error, "instance did not stop when asked");
            }
        });
        Ok(())
    }
}

pub(crate) fn wrong_state(instance: &Instance, needed: &str, verb: &str) -> Refusal {
    Refusal::new(
        Code::InstanceStatus,
        format!("instance {} is {:?}; it must be {needed} to {verb}", instance.id, instance.status),
    )
    .remedy(format!("Bring it to the state {needed} and try again."))
}
