//! Policies on instances: bound, listed, unbound.

use std::collections::BTreeSet;

use model::{Binding, BindingId, BindingOptions, Code, DiskId, InstanceId, PolicyId, Refusal, kinds};
use serde::Serialize;

use super::{DESCRIPTION_CHARS_MAX, DISKS_MAX, OwnAccount, SCRIPT_PATH_CHARS_MAX, SourceType};
use crate::document::Document;
use crate::filter::{Filter, FilterRules};
use crate::page::{Page, TokenPage};
use crate::params::{Asked, Params};

const INSTANCES_MAX: usize = 99;
const FREEZE_SECONDS_MAX: i64 = 3_600;
const FILTERS: FilterRules =
    FilterRules { keys: &["PolicyId", "DataSourceId", "DataSourceType"], filters_max: 100, values_max: 10 };

/// `CreatePolicyBindings`: all of them, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatePolicyBindings {
    pub policy: PolicyId,
    /// Each instance at most once.
    pub bindings: Vec<BindingInput>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingInput {
    pub instance: InstanceId,
    /// Empty when none was given.
    pub description: String,
    pub disabled: bool,
    pub options: BindingOptions,
}

impl CreatePolicyBindings {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        let policy = params.id("PolicyId", Code::PolicyNotFound)?;
        let list =
            params.document("PolicyBindingList")?.ok_or_else(|| params.missing("PolicyBindingList"))?;
        let bindings =
            list.elements(INSTANCES_MAX)?.iter().map(BindingInput::parse).collect::<Result<Vec<_>, _>>()?;
        if bindings.is_empty() {
            return Err(params.missing("PolicyBindingList"));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = bindings.iter().find(|binding| !seen.insert(binding.instance)) {
            let message = format!("PolicyBindingList names {} twice", twice.instance);
            return Err(Refusal::new(Code::InvalidParameter, message));
        }
        Ok(Self { policy, bindings })
    }
}

impl BindingInput {
    fn parse(item: &Document) -> Result<Self, Refusal> {
        let source_type = item.required("SourceType")?;
        if SourceType::parse(&source_type, "SourceType")? != SourceType::UdmEcs {
            return Err(item.invalid("SourceType", &source_type, "Give UDM_ECS."));
        }
        OwnAccount::check_type(item.text("CrossAccountType")?.as_deref(), "CrossAccountType")?;
        let instance = item.id("DataSourceId", Code::InstanceNotFound)?;
        let udm = match item.get("AdvancedOptions")? {
            Some(advanced) => advanced.get("UdmDetail")?,
            None => None,
        };
        Ok(Self {
            instance: instance.ok_or_else(|| item.missing("DataSourceId"))?,
            description: item.bounded("PolicyBindingDescription", DESCRIPTION_CHARS_MAX)?,
            disabled: item.bool("Disabled")?.unwrap_or(false),
            options: udm.map_or_else(|| Ok(BindingOptions::default()), |udm| parse_options(&udm))?,
        })
    }
}

/// `UdmDetail` of bindings and `Detail` of jobs: the same things, in all their spellings.
pub(super) fn parse_options(udm: &Document) -> Result<BindingOptions, Refusal> {
    let defaults = BindingOptions::default();
    let long = udm.int("TimeoutInSeconds", 1, FREEZE_SECONDS_MAX)?;
    let short = udm.int("TimeoutSeconds", 1, FREEZE_SECONDS_MAX)?;
    let timeout = long.or(short).and_then(|seconds| u32::try_from(seconds).ok());
    let destination_key = udm.bounded("DestinationKmsKeyId", 128)?;
    Ok(BindingOptions {
        disks: udm.ids("DiskIdList", DISKS_MAX, Code::DiskNotFound)?,
        excluded: udm.ids("ExcludeDiskIdList", DISKS_MAX, Code::DiskNotFound)?,
        group: udm.bool("SnapshotGroup")?.unwrap_or(defaults.group),
        app_consistent: udm.bool("AppConsistent")?.unwrap_or(defaults.app_consistent),
        fs_freeze: udm.bool("EnableFsFreeze")?.unwrap_or(defaults.fs_freeze),
        writers: udm.bool("EnableWriters")?.unwrap_or(defaults.writers),
        pre_script: udm.bounded("PreScriptPath", SCRIPT_PATH_CHARS_MAX)?,
        post_script: udm.bounded("PostScriptPath", SCRIPT_PATH_CHARS_MAX)?,
        role: udm.bounded("RamRoleName", 128)?,
        timeout_seconds: timeout.unwrap_or(defaults.timeout_seconds),
        destination_key: (!destination_key.is_empty()).then_some(destination_key),
    })
}

/// `DescribePolicyBindings`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribePolicyBindings {
    pub policy: Asked<kinds::Policy>,
    pub instances: Asked<kinds::Instance>,
    pub filters: Vec<Filter>,
    pub page: TokenPage,
}

impl DescribePolicyBindings {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        SourceType::instances_only(params)?;
        Ok(Self {
            policy: params.asked("PolicyId"),
            instances: params.asked_list("DataSourceIds", 500)?,
            filters: Filter::parse_all(params, FILTERS)?,
            page: TokenPage::parse(params, 100)?,
        })
    }

    pub fn matches(&self, binding: &Binding) -> bool {
        self.policy.matches(binding.policy)
            && self.instances.matches(binding.instance)
            && Filter::all_match(&self.filters, |key| match key {
                "PolicyId" => binding.policy.to_string(),
                "DataSourceId" => binding.instance.to_string(),
                "DataSourceType" => SourceType::UdmEcs.as_str().to_owned(),
                _ => String::new(),
            })
    }
}

/// `DeletePolicyBinding`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletePolicyBinding {
    pub policy: PolicyId,
    pub instances: Vec<InstanceId>,
}

impl DeletePolicyBinding {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        SourceType::instances_only(params)?;
        let policy = params.id("PolicyId", Code::PolicyNotFound)?;
        let texts = params.texts("DataSourceIds", 500)?;
        if texts.is_empty() {
            // Unbinding everything is DeletePolicyV2's to do, not a forgotten parameter's.
            return Err(params.missing("DataSourceIds"));
        }
        let instances = texts.iter().map(|text| crate::params::parse_id(text, Code::BindingNotFound));
        Ok(Self { policy, instances: instances.collect::<Result<_, _>>()? })
    }
}

/// The answer to `DescribePolicyBindings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Bindings {
    policy_bindings: Vec<BindingView>,
    max_results: usize,
    next_token: String,
    total_count: usize,
}

impl Bindings {
    pub fn new(asked: &DescribePolicyBindings, page: Page<BindingView>) -> Self {
        Self {
            policy_bindings: page.items,
            max_results: asked.page.max_results,
            next_token: page.next_token.unwrap_or_default(),
            total_count: page.total,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BindingView {
    pub policy_binding_id: BindingId,
    policy_id: PolicyId,
    data_source_id: InstanceId,
    source_type: &'static str,
    policy_binding_description: String,
    disabled: bool,
    advanced_options: AdvancedOptions,
    created_by_tag: bool,
    hit_tags: [(); 0],
    created_time: i64,
    updated_time: i64,
    source: &'static str,
    include: &'static str,
    exclude: &'static str,
    speed_limit: &'static str,
    #[serde(flatten)]
    account: OwnAccount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct AdvancedOptions {
    udm_detail: UdmDetail,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UdmDetail {
    disk_id_list: Vec<DiskId>,
    exclude_disk_id_list: Vec<DiskId>,
    snapshot_group: bool,
    app_consistent: bool,
    enable_fs_freeze: bool,
    enable_writers: bool,
    pre_script_path: String,
    post_script_path: String,
    ram_role_name: String,
    timeout_in_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_kms_key_id: Option<String>,
}

impl From<&Binding> for BindingView {
    fn from(binding: &Binding) -> Self {
        Self {
            policy_binding_id: binding.id,
            policy_id: binding.policy,
            data_source_id: binding.instance,
            source_type: SourceType::UdmEcs.as_str(),
            policy_binding_description: binding.description.clone(),
            disabled: binding.disabled,
            advanced_options: AdvancedOptions { udm_detail: UdmDetail::from(&binding.options) },
            created_by_tag: false,
            hit_tags: [],
            created_time: binding.created.seconds(),
            updated_time: binding.updated.seconds(),
            source: "",
            include: "",
            exclude: "",
            speed_limit: "",
            account: OwnAccount::SELF,
        }
    }
}

impl From<&BindingOptions> for UdmDetail {
    fn from(options: &BindingOptions) -> Self {
        Self {
            disk_id_list: options.disks.clone(),
            exclude_disk_id_list: options.excluded.clone(),
            snapshot_group: options.group,
            app_consistent: options.app_consistent,
            enable_fs_freeze: options.fs_freeze,
            enable_writers: options.writers,
            pre_script_path: options.pre_script.clone(),
            post_script_path: options.post_script.clone(),
            ram_role_name: options.role.clone(),
            timeout_in_seconds: options.timeout_seconds,
            destination_kms_key_id: options.destination_key.clone(),
        }
    }
}
