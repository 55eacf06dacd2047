//! From a request's bytes to its answer: who asks, for what, in which region; then one operation.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use model::{AccessKeyId, Code, Refusal};
use serde_json::Value;
use tokio::time::Instant;
use tracing::{error, info};
use wire::{Answer, EcsAction, Format, HbrAction, Operation, RawRequest, Request, envelope};

use super::operations::{ecs, hbr_bindings, hbr_jobs, hbr_points, hbr_policies, hbr_restores};
use super::services::{Scope, Services};
use crate::edge;

/// One call of one operation, by somebody who may.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) services: &'a Services,
    pub(crate) params: &'a wire::Params,
    pub(crate) scope: &'a Scope,
    /// As the client calls us: it is told how to reach each region.
    pub(crate) host: &'a str,
}

/// What is known of a request by the time it is answered.
#[derive(Debug, Default)]
struct Trace {
    action: String,
    region: String,
    key: Option<AccessKeyId>,
}

/// Answers a request, whatever it holds, and logs that it did.
pub(crate) async fn answer(services: &Services, raw: Result<&RawRequest, Refusal>) -> Answer {
    let began = Instant::now();
    let request_id = edge::request_id(&*services.entropy);
    let mut trace = Trace::default();
    let format = raw.as_ref().map_or(Format::Json, |raw| Format::of(raw));
    let answered = match raw {
        Ok(raw) => guarded(serve(services, raw, &mut trace)).await,
        Err(refusal) => Err(refusal),
    };
    let code = answered.as_ref().map_or_else(|refusal| refusal.code.as_str(), |_| "ok");
    let key = trace.key.map(|key| key.to_string()).unwrap_or_default();
    let ms = began.elapsed().as_millis();
    // Never the query or the body: they can hold signatures and tokens.
    info!(action = trace.action, region = trace.region, key, code, ms, request_id, "request");
    match answered {
        Ok((operation, payload)) => envelope::success(operation, format, &request_id, &payload),
        Err(refusal) => envelope::failure(&refusal, format, &request_id, "hikae"),
    }
}

/// An operation that panics is an answer like any other, and the server goes on.
async fn guarded<T>(operation: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    AssertUnwindSafe(operation).catch_unwind().await.unwrap_or_else(|_| {
        error!("an operation panicked");
        let remedy = "This is a defect of Hikae: please report it with the request id and the server's log.";
        Err(Refusal::new(Code::Internal, "the server failed to handle this request").remedy(remedy))
    })
}

async fn serve(
    services: &Services,
    raw: &RawRequest,
    trace: &mut Trace,
) -> Result<(Operation, Value), Refusal> {
    let caller = services.access.authenticate(raw, services.clock.now()).await?;
    trace.key = Some(caller.key);
    let request = Request::parse(raw)?;
    trace.action = request.operation.name();
    if !caller.root {
        return Err(Refusal::new(Code::Forbidden, format!("this access key may not call {}", trace.action))
            .remedy("Use a root access key."));
    }
    let scope = services.regions.scope(request.endpoint.as_ref(), &request.params)?;
    trace.region = scope.region().0.clone();
    let host = raw.header("host").unwrap_or_default();
    let call = Call { services, params: &request.params, scope: &scope, host };
    let payload = match request.operation {
        Operation::Hbr(action) => Box::pin(hbr(action, call)).await,
        Operation::Ecs(action) => Box::pin(ecs(action, call)).await,
    };
    Ok((request.operation, payload?))
}

async fn hbr(action: HbrAction, call: Call<'_>) -> Result<Value, Refusal> {
    match action {
        HbrAction::CreatePolicyV2 => hbr_policies::create(call).await,
        HbrAction::DescribePoliciesV2 => hbr_policies::describe(call).await,
        HbrAction::DeletePolicyV2 => hbr_policies::delete(call).await,
        HbrAction::ExecutePolicyV2 => hbr_policies::execute(call).await,
        HbrAction::CreatePolicyBindings => hbr_bindings::create(call).await,
        HbrAction::DescribePolicyBindings => hbr_bindings::describe(call).await,
        HbrAction::DeletePolicyBinding => hbr_bindings::delete(call).await,
        HbrAction::CreateBackupJob => hbr_jobs::create(call).await,
        HbrAction::CancelBackupJob => hbr_jobs::cancel(call).await,
        HbrAction::DescribeBackupJobs2 => hbr_jobs::describe(call).await,
        HbrAction::DescribeUdmSnapshots => hbr_points::describe(call).await,
        HbrAction::DeleteSnapshot => hbr_points::delete(call).await,
        HbrAction::CreateRestoreJob => hbr_restores::create(call).await,
        HbrAction::DescribeRestoreJobs2 => hbr_restores::describe(call).await,
        HbrAction::DescribeRegions => hbr_points::regions(call),
    }
}

async fn ecs(action: EcsAction, call: Call<'_>) -> Result<Value, Refusal> {
    match action {
        EcsAction::DescribeRegions => ecs::regions(call),
        EcsAction::DescribeInstances => ecs::instances(call).await,
        EcsAction::DescribeDisks => ecs::disks(call).await,
        EcsAction::DescribeSnapshots => ecs::snapshots(call).await,
        EcsAction::DescribeSnapshotGroups => ecs::groups(call).await,
        EcsAction::StartInstance => ecs::start(call).await,
        EcsAction::StopInstance => ecs::stop(call).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let index = std::hint::black_box(7);
        let operation = async { Ok([0_u8; 3].get(index).copied().expect("there is no such element")) };
        assert_eq!(guarded(operation).await.map_err(|refusal| refusal.code), Err(Code::Internal));
        assert_eq!(guarded(async { Ok(1) }).await, Ok(1));
    }
}
