//! From the bytes of a request to what it asks for: product, action, parameters, format, region.

use std::fmt;

use model::{Code, Refusal, RegionId};

use crate::pairs::Pairs;
use crate::params::Params;

/// An HTTP request as it came, in plain types so that no HTTP library is part of the wire.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawRequest {
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Without the question mark, still encoded.
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

// Requests carry session tokens: their parts are not for logs.
impl fmt::Debug for RawRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("query_bytes", &self.query.len())
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

impl RawRequest {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1.trim())
    }
}

/// What is asked for. Whether the asker may is another question.
#[derive(Debug, Clone)]
pub struct Request {
    pub operation: Operation,
    /// Those of the operation: the protocol's own are taken out.
    pub params: Params,
    pub format: Format,
    /// The region of the endpoint the request was sent to, if that names one.
    pub endpoint: Option<RegionHint>,
}

impl Request {
    /// Reads a request of either signature's framing. Call it after
    /// [`verify`](crate::signature::verify), which makes sure that what is read here was signed.
    pub fn parse(raw: &RawRequest) -> Result<Self, Refusal> {
        if !["GET", "POST"].contains(&raw.method.as_str()) {
            let message = format!("the method is {:?}", clipped(&raw.method));
            return Err(Refusal::new(Code::UnsupportedMethod, message).remedy("Use POST or GET."));
        }
        let pairs = Pairs::of(raw)?;
        let (action, version) = if raw.is_acs3() {
            (raw.header("x-acs-action"), raw.header("x-acs-version"))
        } else {
            // V1 signs no header, so nothing but parameters may say what is asked for.
            (None, None)
        };
        let version = version.or(pairs.get("Version")).unwrap_or_default();
        let action = action.or(pairs.get("Action")).unwrap_or_default();
        Ok(Self {
            operation: Operation::find(version, action)?,
            format: Format::asked(raw, &pairs)?,
            endpoint: RegionHint::of(raw),
            params: Params::new(pairs)?,
        })
    }
}

/// The products served, each by the one version of its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Product {
    Hbr,
    Ecs,
}

impl Product {
    pub const ALL: [Self; 2] = [Self::Hbr, Self::Ecs];

    pub const fn version(self) -> &'static str {
        match self {
            Self::Hbr => "2017-09-08",
            Self::Ecs => "2014-05-26",
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hbr => "hbr",
            Self::Ecs => "ecs",
        }
    }
}

macro_rules! actions {
    ($(#[$doc:meta])* $name:ident: $($action:ident),* $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($action),* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$action),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$action => stringify!($action)),* }
            }
        }
    };
}

actions! {
    /// Cloud Backup.
    HbrAction:
    CreatePolicyV2, DescribePoliciesV2, DeletePolicyV2, ExecutePolicyV2,
    CreatePolicyBindings, DescribePolicyBindings, DeletePolicyBinding,
    CreateBackupJob, CancelBackupJob, DescribeBackupJobs2,
    DescribeUdmSnapshots, DeleteSnapshot,
    CreateRestoreJob, DescribeRestoreJobs2,
    DescribeRegions,
}
actions! {
    /// Instances, disks, snapshots.
    EcsAction:
    DescribeRegions, DescribeInstances, DescribeDisks, DescribeSnapshots, DescribeSnapshotGroups,
    StartInstance, StopInstance,
}

/// One operation of one product. The same name means different things in different products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    Hbr(HbrAction),
    Ecs(EcsAction),
}

impl Operation {
    pub fn find(version: &str, action: &str) -> Result<Self, Refusal> {
        if version.is_empty() || action.is_empty() {
            let name = if version.is_empty() { "Version" } else { "Action" };
            return Err(Refusal::new(Code::MissingParameter, format!("the parameter {name} is missing"))
                .remedy(
                    "Send Version and Action as parameters, or x-acs-version and x-acs-action as headers.",
                ));
        }
        let Some(product) = Product::ALL.into_iter().find(|product| product.version() == version) else {
            let served = Product::ALL.map(|product| format!("{} ({})", product.version(), product.as_str()));
            let message = format!("there is no version {:?}", clipped(version));
            return Err(Refusal::new(Code::InvalidVersion, message)
                .remedy(format!("Served are {}.", served.join(" and "))));
        };
        let found = match product {
            Product::Hbr => {
                HbrAction::ALL.iter().find(|known| known.as_str() == action).map(|it| Self::Hbr(*it))
            }
            Product::Ecs => {
                EcsAction::ALL.iter().find(|known| known.as_str() == action).map(|it| Self::Ecs(*it))
            }
        };
        found.ok_or_else(|| {
            let message = format!("{} {version} has no action {:?} here", product.as_str(), clipped(action));
            Refusal::new(Code::InvalidAction, message).remedy("Check the spelling; letter case counts.")
        })
    }

    pub const fn product(self) -> Product {
        match self {
            Self::Hbr(_) => Product::Hbr,
            Self::Ecs(_) => Product::Ecs,
        }
    }

    pub const fn action(self) -> &'static str {
        match self {
            Self::Hbr(action) => action.as_str(),
            Self::Ecs(action) => action.as_str(),
        }
    }

    /// As authorization and the audit trail write it.
    pub fn name(self) -> String {
        format!("{}:{}", self.product().as_str(), self.action())
    }
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    Json,
    Xml,
}

impl Format {
    /// The format for an answer to anything, even to what cannot be parsed.
    pub fn of(raw: &RawRequest) -> Self {
        Pairs::of(raw).and_then(|pairs| Self::asked(raw, &pairs)).unwrap_or(Self::Json)
    }

    fn asked(raw: &RawRequest, pairs: &Pairs) -> Result<Self, Refusal> {
        match pairs.get("Format").map(str::to_ascii_lowercase).as_deref() {
            Some("json") => Ok(Self::Json),
            Some("xml") => Ok(Self::Xml),
            Some(other) if !other.is_empty() => {
                let message = format!("Format is {:?}", clipped(other));
                Err(Refusal::new(Code::InvalidParameter, message).remedy("Format is JSON or XML."))
            }
            _ if raw.is_acs3() => {
                let xml = raw.header("accept").is_some_and(|accept| {
                    accept.starts_with("application/xml") || accept.starts_with("text/xml")
                });
                Ok(if xml { Self::Xml } else { Self::Json })
            }
            // The old protocol's rule: who does not say gets XML.
            _ if pairs.get("Signature").is_some() => Ok(Self::Xml),
            _ => Ok(Self::Json),
        }
    }
}

/// A region named by where a request was sent. Neither signature covers the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegionHint {
    /// `http://host/<region>`: there must be such a region.
    Path(RegionId),
    /// `hbr.<region>.…`: to be ignored when there is no such region.
    Host(RegionId),
}

impl RegionHint {
    fn of(raw: &RawRequest) -> Option<Self> {
        let prefix = raw.path.trim_matches('/');
        if !prefix.is_empty() {
            return Some(Self::Path(RegionId(clipped(prefix))));
        }
        // A client given `http://host:port` as its endpoint sends just that as the host.
        let host = raw.header("host")?;
        let host = host.split_once("://").map_or(host, |split| split.1);
        let mut labels = host.split(['.', ':', '/']);
        let product = labels.next()?;
        let region = labels.next().filter(|label| !label.is_empty())?;
        let known = Product::ALL.iter().any(|known| known.as_str().eq_ignore_ascii_case(product));
        known.then(|| Self::Host(RegionId(clipped(region))))
    }
}

/// Client text for a message: enough to recognise, never a page of it.
pub(crate) fn clipped(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn post(query: &str) -> RawRequest {
        RawRequest { method: "POST".into(), path: "/".into(), query: query.into(), ..RawRequest::default() }
    }

    #[test]
    fn version_and_action_decide_together() {
        for product in ["2017-09-08", "2014-05-26"] {
            let request =
                Request::parse(&post(&format!("Version={product}&Action=DescribeRegions"))).unwrap();
            assert_eq!(request.operation.action(), "DescribeRegions");
            assert_eq!(request.operation.product().version(), product);
        }
        let code = |query| Request::parse(&post(query)).unwrap_err().code;
        assert_eq!(code("Version=2017-09-08&Action=StartInstance"), Code::InvalidAction);
        assert_eq!(code("Version=2016-01-20&Action=ListKeys"), Code::InvalidVersion);
        assert_eq!(code("Action=ListKeys"), Code::MissingParameter);
        assert_eq!(code("Version=2014-05-26"), Code::MissingParameter);
    }

    #[test]
    fn headers_say_nothing_in_a_request_signed_the_old_way() {
        let mut raw = post("Version=2014-05-26&Action=DescribeDisks&Signature=x");
        raw.headers.push(("x-acs-action".into(), "StopInstance".into()));
        assert_eq!(Request::parse(&raw).unwrap().operation, Operation::Ecs(EcsAction::DescribeDisks));
    }

    #[test]
    fn a_region_is_a_path_or_a_host() {
        let check = |path: &str, host: &str, expected: Option<RegionHint>| {
            let mut raw = post("");
            raw.path = path.into();
            raw.headers.push(("Host".into(), host.into()));
            assert_eq!(RegionHint::of(&raw), expected, "{path} at {host}");
        };
        check("/osaka/", "127.0.0.1:1/osaka", Some(RegionHint::Path("osaka".into())));
        check("/osaka", "hbr.tokyo.example", Some(RegionHint::Path("osaka".into())));
        check("/", "hbr.tokyo.example:80", Some(RegionHint::Host("tokyo".into())));
        check("/", "http://ecs.tokyo.example", Some(RegionHint::Host("tokyo".into())));
        check("/", "http://127.0.0.1:80", None);
        check("", "localhost", None);
    }

    #[test]
    fn the_format_is_asked_for_in_three_ways() {
        assert_eq!(Format::of(&post("Format=json&Signature=x")), Format::Json);
        assert_eq!(Format::of(&post("Format=XML")), Format::Xml);
        assert_eq!(Format::of(&post("Signature=x")), Format::Xml);
        assert_eq!(Format::of(&post("")), Format::Json);
        let mut acs3 = post("");
        acs3.headers.push(("Authorization".into(), "ACS3-HMAC-SHA256 x".into()));
        assert_eq!(Format::of(&acs3), Format::Json);
        acs3.headers.push(("accept".into(), "text/xml".into()));
        assert_eq!(Format::of(&acs3), Format::Xml);
    }

    #[test]
    fn other_methods_and_endless_requests_are_refused() {
        let mut raw = post("Version=2014-05-26&Action=DescribeDisks");
        raw.method = "PUT".into();
        assert_eq!(Request::parse(&raw).unwrap_err().code, Code::UnsupportedMethod);
        let many = "a=&".repeat(2_001);
        assert_eq!(Request::parse(&post(&many)).unwrap_err().code, Code::RequestTooLarge);
        let mut long = post("");
        long.body = vec![b'a'; (1 << 20) + 1];
        assert_eq!(Request::parse(&long).unwrap_err().code, Code::RequestTooLarge);
    }

    #[test]
    fn a_session_token_stays_out_of_logs() {
        let mut raw = post("SecurityToken=hush");
        raw.headers.push(("x-acs-security-token".into(), "hush".into()));
        assert!(!format!("{raw:?}").contains("hush"));
    }
}
