//! Bindings: policies put on instances, listed, taken off.

use backup::NewBinding;
use model::Refusal;
use serde_json::Value;
use wire::hbr::{BindingView, Bindings, CreatePolicyBindings, DeletePolicyBinding, DescribePolicyBindings};

use super::super::dispatch::Call;
use super::{nothing, payload};

pub(crate) async fn create(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = CreatePolicyBindings::parse(call.params)?;
    let new = asked.bindings.into_iter().map(|binding| NewBinding {
        instance: binding.instance,
        description: binding.description,
        disabled: binding.disabled,
        options: binding.options,
    });
    call.services.backup.create_bindings(asked.policy, new.collect()).await?;
    Ok(nothing())
}

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = DescribePolicyBindings::parse(call.params)?;
    let by_id = asked.policy.one().is_some() || asked.instances.one().is_some();
    let mut views = Vec::new();
    for region in call.services.regions.to_search(call.scope, by_id) {
        let bindings = call.services.backup.bindings(&region).await?;
        views.extend(bindings.iter().filter(|binding| asked.matches(binding)).map(BindingView::from));
    }
    let page = asked.page.of(views, |view| view.policy_binding_id.to_string());
    payload(&Bindings::new(&asked, page))
}

pub(crate) async fn delete(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = DeletePolicyBinding::parse(call.params)?;
    call.services.backup.delete_bindings(asked.policy, &asked.instances).await?;
    Ok(nothing())
}
