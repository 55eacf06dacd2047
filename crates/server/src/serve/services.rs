//! What the operations are answered from, and which region a request means.

use std::sync::Arc;

use access::Access;
use backup::Backup;
use blocks::Blocks;
use model::{Clock, Code, Entropy, Refusal, RegionId};
use wire::{Params, RegionHint};

/// Everything behind the API.
pub(crate) struct Services {
    pub(crate) access: Access,
    pub(crate) backup: Backup,
    pub(crate) blocks: Blocks,
    pub(crate) regions: Regions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// The regions served, the default one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Regions(Vec<NamedRegion>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedRegion {
    pub(crate) id: RegionId,
    pub(crate) local_name: String,
}

/// The region a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Said by the endpoint or by `RegionId`.
    Named(RegionId),
    /// Not said: that of the resource it names, else this one.
    Default(RegionId),
}

impl Scope {
    pub(crate) fn region(&self) -> &RegionId {
        match self {
            Self::Named(region) | Self::Default(region) => region,
        }
    }
}

impl Regions {
    pub(crate) fn new(mut regions: Vec<NamedRegion>, default: &RegionId) -> Self {
        regions.sort_by_key(|region| region.id != *default);
        Self(regions)
    }

    pub(crate) fn all(&self) -> &[NamedRegion] {
        &self.0
    }

    /// Where to look: in the region named, or for a resource by its id everywhere.
    pub(crate) fn to_search(&self, scope: &Scope, by_id: bool) -> Vec<RegionId> {
        match scope {
            Scope::Named(region) => vec![region.clone()],
            Scope::Default(_) if by_id => self.0.iter().map(|region| region.id.clone()).collect(),
            Scope::Default(region) => vec![region.clone()],
        }
    }

    /// A region that must be there.
    pub(crate) fn check(&self, id: &RegionId) -> Result<(), Refusal> {
        if self.has(id) {
            return Ok(());
        }
        let known: Vec<_> = self.0.iter().map(|region| region.id.0.as_str()).collect();
        Err(Refusal::new(Code::InvalidRegion, format!("there is no region {:?}", id.0))
            .remedy(format!("Regions here: {}.", known.join(", "))))
    }

    /// The endpoint's region, then `RegionId`, then the default. Two that differ are a mistake:
    /// either of them may be the one that was meant.
    pub(crate) fn scope(&self, endpoint: Option<&RegionHint>, params: &Params) -> Result<Scope, Refusal> {
        let by_endpoint = match endpoint {
            Some(RegionHint::Path(region)) => {
                self.check(region)?;
                Some(region.clone())
            }
            Some(RegionHint::Host(region)) => Some(region.clone()).filter(|region| self.has(region)),
            None => None,
        };
        let by_parameter = params.text("RegionId").map(RegionId);
        if let Some(region) = &by_parameter {
            self.check(region)?;
        }
        match (by_endpoint, by_parameter) {
            (Some(endpoint), Some(parameter)) if endpoint != parameter => {
                let message =
                    format!("RegionId is {parameter}, and this endpoint is of the region {endpoint}");
                Err(Refusal::new(Code::InvalidParameter, message).remedy("Leave one of them out."))
            }
            (Some(region), _) | (None, Some(region)) => Ok(Scope::Named(region)),
            (None, None) => {
                Ok(Scope::Default(self.0.first().map(|region| region.id.clone()).unwrap_or("".into())))
            }
        }
    }

    fn has(&self, id: &RegionId) -> bool {
        self.0.iter().any(|region| region.id == *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions() -> Regions {
        let named = |id: &str| NamedRegion { id: id.into(), local_name: id.into() };
        Regions::new(vec![named("osaka"), named("tokyo")], &"tokyo".into())
    }

    fn params(region: &str) -> Params {
        Params::from_pairs([("RegionId".to_owned(), region.to_owned())]).expect("one parameter")
    }

    #[test]
    fn a_region_is_named_by_path_host_or_parameter_or_is_the_default() {
        let check = |endpoint: Option<RegionHint>, region: &str, expected: &Scope| {
            assert_eq!(regions().scope(endpoint.as_ref(), &params(region)).as_ref(), Ok(expected));
        };
        let named = |region: &str| Scope::Named(region.into());
        check(None, "", &Scope::Default("tokyo".into()));
        check(None, "osaka", &named("osaka"));
        check(Some(RegionHint::Path("osaka".into())), "", &named("osaka"));
        check(Some(RegionHint::Host("osaka".into())), "osaka", &named("osaka"));
        // A host that happens to look like ours names no region.
        check(Some(RegionHint::Host("example".into())), "", &Scope::Default("tokyo".into()));
    }

    #[test]
    fn regions_that_are_not_there_or_do_not_agree_are_refused() {
        let code = |endpoint: Option<RegionHint>, region: &str| {
            regions().scope(endpoint.as_ref(), &params(region)).map_err(|refusal| refusal.code)
        };
        assert_eq!(code(None, "kyoto"), Err(Code::InvalidRegion));
        assert_eq!(code(Some(RegionHint::Path("kyoto".into())), ""), Err(Code::InvalidRegion));
        assert_eq!(code(Some(RegionHint::Path("tokyo".into())), "osaka"), Err(Code::InvalidParameter));
    }

    #[test]
    fn a_resource_is_looked_for_everywhere_unless_its_region_is_named() {
        let default = Scope::Default("tokyo".into());
        assert_eq!(regions().to_search(&default, true), ["tokyo".into(), "osaka".into()]);
        assert_eq!(regions().to_search(&default, false), ["tokyo".into()]);
        assert_eq!(regions().to_search(&Scope::Named("osaka".into()), true), ["osaka".into()]);
    }
}
