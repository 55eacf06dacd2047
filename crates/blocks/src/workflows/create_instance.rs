//! A new instance with the disks of a group.
//!
//! | step       | touches     | does                                                         | undo                     |
//! |------------|-------------|--------------------------------------------------------------|--------------------------|
//! | (admit)    | catalog     | the new instance's ids are taken                             | –                        |
//! | Fill       | host, depot | a new disk for each of the group's, filled and made durable  | throw the new disks away |
//! | **Define** | host        | the domain exists, with a new identity: **commit point**     | remove what it left behind |
//! | Start      | host        | starts it, if that was asked for                             | not undone               |

use std::sync::Arc;

use async_trait::async_trait;
use catalog::Batch;
use host::{DiskTarget, Host, NewInstance};
use journal::Outcome;
use model::{ByteCount, GroupId, HostId, InstanceId, InstanceSpec, RegionId, SnapshotId, TaskId};
use serde::{Deserialize, Serialize};
use workflow::{Context, Flow, Outline, StepError, Workflow};

use super::fill::{self, Filling};
use super::{end_task, host_error};
use crate::service::Shared;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CreateInstanceParams {
    pub(crate) task: TaskId,
    pub(crate) region: RegionId,
    pub(crate) host: HostId,
    pub(crate) group: GroupId,
    pub(crate) uuid: [u8; 16],
    pub(crate) instance: InstanceId,
    pub(crate) name: String,
    pub(crate) vcpus: Option<u32>,
    pub(crate) memory: Option<ByteCount>,
    pub(crate) network: Option<String>,
    pub(crate) boot: bool,
    /// The group's, as they were; known without the depot, so that undo works when that is away.
    pub(crate) spec: InstanceSpec,
    pub(crate) disks: Vec<NewDisk>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NewDisk {
    pub(crate) snapshot: SnapshotId,
    pub(crate) device: String,
    pub(crate) size: ByteCount,
}

pub(crate) struct CreateInstance {
    pub(crate) shared: Arc<Shared>,
    pub(crate) params: CreateInstanceParams,
}

pub(super) const OUTLINE: Outline = Outline { kind: "CreateInstance", steps: STEPS, commit: DEFINE };
const STEPS: &[&str] = &["Fill", "Define", "Start"];
const FILL: usize = 0;
const DEFINE: usize = 1;
const START: usize = 2;

#[async_trait]
impl Workflow for CreateInstance {
    fn outline(&self) -> Outline {
        OUTLINE
    }

    async fn run(&self, step: usize, context: &Context) -> Result<Flow, StepError> {
        let host = self.host()?;
        match step {
            FILL => {
                let params = &self.params;
                let manifest = fill::manifest(&self.shared, &params.region, params.group).await?;
                let mut fillings = Vec::new();
                for (disk, target) in params.disks.iter().zip(self.targets()) {
                    fillings.push(Filling { entry: fill::entry(&manifest, disk.snapshot)?, target });
                }
                fill::fill(&self.shared, &params.region, &*host, params.task, &fillings, context).await?;
            }
            DEFINE => host.define(&self.new_instance().await?).await.map_err(host_error)?,
            START if self.params.boot => {
                fill::start(&self.shared, &*host, self.params.task, self.params.instance).await?;
            }
            START => {}
            other => unreachable!("create_instance has no step {other}"),
        }
        Ok(Flow::Done)
    }

    async fn undo(&self, step: usize, _: &Context) -> Result<Flow, StepError> {
        let host = self.host()?;
        match step {
            DEFINE => host.undefine(&self.new_instance().await?).await.map_err(host_error)?,
            FILL => fill::discard(&*host, self.params.task, &self.targets()).await?,
            _ => {}
        }
        Ok(Flow::Done)
    }

    async fn rest(&self, outcome: &Outcome) -> Result<Batch, StepError> {
        Ok(end_task(&self.shared, self.params.task, Some(self.params.instance), outcome))
    }
}

impl CreateInstance {
    fn host(&self) -> Result<Arc<dyn Host>, StepError> {
        Ok(self.shared.host(&self.params.region, self.params.host)?)
    }

    fn targets(&self) -> Vec<DiskTarget> {
        let target = |disk: &NewDisk| DiskTarget::ForNew {
            instance: self.params.instance,
            name: self.params.name.clone(),
            device: disk.device.clone(),
            size: disk.size,
            spec: self.params.spec.clone(),
        };
        self.params.disks.iter().map(target).collect()
    }

    async fn new_instance(&self) -> Result<NewInstance, StepError> {
        let disks = fill::prepared(&self.shared, self.params.task, &self.targets()).await?;
        let devices = self.params.disks.iter().map(|disk| disk.device.clone());
        Ok(NewInstance {
            id: self.params.instance,
            uuid: self.params.uuid,
            task: self.params.task,
            name: self.params.name.clone(),
            spec: self.params.spec.clone(),
            disks: devices.zip(disks).collect(),
            vcpus: self.params.vcpus,
            memory: self.params.memory,
            network: self.params.network.clone(),
        })
    }
}
