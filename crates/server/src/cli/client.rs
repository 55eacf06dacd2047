//! Signed calls to a server, and where that server is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Clock, Entropy};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use url::{Host, Url};
use wire::Product;
use zeroize::Zeroizing;

use super::answer;
use super::failure::Failure;
use crate::args::Connection;
use crate::edge::{self, RealClock, RealEntropy};

pub(crate) const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:8642";
pub(crate) const DATA_DEFAULT: &str = "hikae-data";
/// Written by the server at its first start, and read by a client on the same machine.
pub(crate) const KEY_FILE: &str = "root-access-key.json";
/// Where the server of this directory listens.
pub(crate) const ENDPOINT_FILE: &str = "endpoint";

/// Stopping an instance waits for its guest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Listings page; this is far beyond what one answer may hold.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

#[derive(Deserialize)]
struct KeyFile {
    access_key_id: String,
    access_key_secret: Zeroizing<String>,
}

/// One server, one access key, one region.
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    region: Option<String>,
    access_key_id: String,
    secret: Zeroizing<String>,
    /// The server's default region, once asked for.
    default_region: OnceCell<String>,
}

pub(crate) type Pairs = Vec<(String, String)>;

impl Client {
    pub(crate) fn new(connection: &Connection) -> Result<Self, Failure> {
        let directory = directory(connection);
        let endpoint = match (&connection.endpoint, &directory) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, Some(directory)) => {
                let text = std::fs::read_to_string(directory.join(ENDPOINT_FILE)).unwrap_or_default();
                if text.trim().is_empty() { ENDPOINT_DEFAULT.to_owned() } else { text.trim().to_owned() }
            }
            (None, None) => ENDPOINT_DEFAULT.to_owned(),
        };
        let (endpoint, prefix) = parse_endpoint(&endpoint)?;
        let region = connection.region.clone().or(prefix);
        if let Some(odd) = region.as_ref().filter(|region| !is_region(region)) {
            return Err(Failure::Usage(format!("{odd:?} is not the name of a region")));
        }
        let (access_key_id, secret) = credentials(connection, directory.as_deref())?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            // A redirect would carry the signature elsewhere.
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&endpoint) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| Failure::Failed(format!("cannot set up HTTP: {error}")))?;
        Ok(Self { http, endpoint, region, access_key_id, secret, default_region: OnceCell::new() })
    }

    /// Calls an operation and returns its answer, request id and all.
    pub(crate) async fn call(
        &self,
        product: Product,
        action: &str,
        params: &Pairs,
    ) -> Result<Value, Failure> {
        let path = self.region.as_deref().map_or_else(|| "/".to_owned(), |region| format!("/{region}"));
        let host = self.host();
        let call =
            wire::client::Call { version: product.version(), action, params, host: &host, path: &path };
        let nonce = edge::nonce(&RealEntropy as &dyn Entropy);
        let raw = call.signed(&self.access_key_id, &self.secret, RealClock.now(), &nonce)?;
        let mut url = self.endpoint.clone();
        url.set_path(&raw.path);
        if !raw.query.is_empty() {
            url.set_query(Some(&raw.query));
        }
        let mut request = self.http.post(url).body(raw.body);
        for (name, value) in raw.headers {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = read_bounded(response).await.map_err(|error| self.unreachable(&error))?;
        let answer: Value = serde_json::from_slice(&body).map_err(|_| {
            Failure::Failed(format!("{} answered {status} with something that is not JSON", self.endpoint))
        })?;
        if status.is_success() { Ok(answer) } else { Err(refused(&answer, status.as_u16())) }
    }

    pub(crate) async fn hbr(&self, action: &str, params: Pairs) -> Result<Value, Failure> {
        self.call(Product::Hbr, action, &params).await
    }

    pub(crate) async fn ecs(&self, action: &str, params: Pairs) -> Result<Value, Failure> {
        self.call(Product::Ecs, action, &params).await
    }

    /// The region asked for, else the server's default: the first it lists.
    pub(crate) async fn region(&self) -> Result<String, Failure> {
        if let Some(region) = &self.region {
            return Ok(region.clone());
        }
        let ask = async || {
            let answer = self.hbr("DescribeRegions", Pairs::new()).await?;
            let first = answer::items(&answer, &["Regions", "Region"]).first();
            Ok::<_, Failure>(first.map(|region| answer::text(region, "RegionId")).unwrap_or_default())
        };
        Ok(self.default_region.get_or_try_init(ask).await?.clone())
    }

    /// As reqwest sends it: the port only where it is not the scheme's own.
    fn host(&self) -> String {
        let host = self.endpoint.host_str().unwrap_or_default();
        self.endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        // The innermost cause says what is the matter; the outer ones repeat the URL.
        let mut reason: &dyn std::error::Error = error;
        while let Some(source) = reason.source() {
            reason = source;
        }
        let reason = if error.is_timeout() { "no answer in time".to_owned() } else { reason.to_string() };
        Failure::Unreachable { endpoint: self.endpoint.to_string(), reason }
    }
}

async fn read_bounded(mut response: reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() as u64 + chunk.len() as u64 > ANSWER_BYTES_MAX {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn refused(answer: &Value, status: u16) -> Failure {
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let code = text("Code");
    Failure::Refused {
        code: if code.is_empty() { format!("HTTP {status}") } else { code },
        message: text("Message"),
        remedy: text("Recommend"),
        request_id: text("RequestId"),
    }
}

/// The data directory asked for, or the one in the current directory if it has a key.
fn directory(connection: &Connection) -> Option<PathBuf> {
    match &connection.data {
        Some(data) => Some(data.clone()),
        None => Some(PathBuf::from(DATA_DEFAULT)).filter(|data| data.join(KEY_FILE).exists()),
    }
}

fn credentials(
    connection: &Connection,
    directory: Option<&Path>,
) -> Result<(String, Zeroizing<String>), Failure> {
    match (&connection.access_key_id, &connection.access_key_secret, directory) {
        (Some(id), Some(secret), _) => Ok((id.clone(), secret.0.clone())),
        (Some(_), None, _) => Err(Failure::Usage("an access key id is given without its secret".to_owned())),
        (None, Some(_), _) => Err(Failure::Usage("an access key secret is given without its id".to_owned())),
        (None, None, Some(directory)) => {
            let path = directory.join(KEY_FILE);
            let unreadable = |error| format!("cannot read the access key {}: {error}", path.display());
            let text = std::fs::read(&path).map_err(|error| Failure::Usage(unreadable(error)))?;
            let text = Zeroizing::new(text);
            let key: KeyFile = serde_json::from_slice(&text)
                // The error would quote the file.
                .map_err(|_| Failure::Usage(format!("{} is not an access key file", path.display())))?;
            Ok((key.access_key_id, key.access_key_secret))
        }
        (None, None, None) => Err(Failure::Usage(
            "no access key: give --data DIR of the server, or HIKAE_ACCESS_KEY_ID and HIKAE_ACCESS_KEY_SECRET"
                .to_owned(),
        )),
    }
}

/// The address, and the region if it has one as its path.
fn parse_endpoint(text: &str) -> Result<(Url, Option<String>), Failure> {
    let odd = || Failure::Usage(format!("{text:?} is not an endpoint: give http://host:port"));
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).map_err(|_| odd())?;
    let prefix = url.path().trim_matches('/').to_owned();
    let fits = ["http", "https"].contains(&url.scheme()) && url.has_host() && url.query().is_none();
    if !fits || !(prefix.is_empty() || is_region(&prefix)) {
        return Err(odd());
    }
    Ok((url, Some(prefix).filter(|prefix| !prefix.is_empty())))
}

fn is_region(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_needs_no_scheme_but_a_host() {
        let read = |text: &str| parse_endpoint(text).map(|(url, region)| (url.to_string(), region));
        assert_eq!(read("127.0.0.1:80").expect("an endpoint"), ("http://127.0.0.1/".to_owned(), None));
        assert_eq!(read("https://backup.example/osaka").expect("an endpoint").1.as_deref(), Some("osaka"));
        for odd in ["", "http://", "ftp://host", "unix:/x y", "http://host/a/b", "http://host?x"] {
            assert!(parse_endpoint(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn half_a_key_is_no_key() {
        let connection = Connection {
            data: None,
            endpoint: None,
            access_key_id: Some("HK1".into()),
            access_key_secret: None,
            region: None,
            output: crate::args::Output::Table,
        };
        assert_eq!(Client::new(&connection).err().map(|failure| failure.exit_code()), Some(2));
    }
}
