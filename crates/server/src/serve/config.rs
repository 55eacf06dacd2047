//! The configuration file: regions, their depots and hosts. Everything has a default.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use model::{RegionId, ZoneId};
use serde::Deserialize;
use store::{Credentials, Secret, StoreConfig};
use zeroize::Zeroizing;

const REGION_DEFAULT: &str = "default";
const HOST_DEFAULT: &str = "qemu:///system";
const ID_CHARS_MAX: usize = 32;
const FILE_BYTES_MAX: usize = 1 << 20;

/// What the server is to serve, with every default filled in.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) default_region: RegionId,
    pub(crate) catalog: CatalogAt,
    pub(crate) regions: Vec<RegionConfig>,
}

/// Where the catalog is.
pub(crate) struct CatalogAt(pub(crate) Zeroizing<String>);

impl std::fmt::Debug for CatalogAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.split(':').next().unwrap_or_default())
    }
}

#[derive(Debug)]
pub(crate) struct RegionConfig {
    pub(crate) id: RegionId,
    pub(crate) local_name: String,
    pub(crate) time_zone: TimeZone,
    pub(crate) depot: StoreConfig,
    /// Possibly none: a region that only receives copies.
    pub(crate) hosts: Vec<HostConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostConfig {
    pub(crate) uri: String,
    pub(crate) zone: ZoneId,
    /// Where guests' overwritten blocks wait while they are backed up; none means a place of ours.
    pub(crate) scratch: Option<PathBuf>,
    /// Where new disks go that have no source to lie beside.
    pub(crate) images: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a configuration: {what}")]
    Malformed { path: PathBuf, what: String },
    #[error("{0}")]
    Wrong(String),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    server: ServerTable,
    #[serde(default)]
    catalog: CatalogTable,
    region: Option<Vec<RegionTable>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ServerTable {
    default_region: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct CatalogTable {
    url: Option<Zeroizing<String>>,
    url_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionTable {
    id: String,
    local_name: Option<String>,
    time_zone: Option<String>,
    #[serde(default)]
    depot: DepotTable,
    #[serde(default)]
    host: Vec<HostTable>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct DepotTable {
    directory: Option<PathBuf>,
    url: Option<String>,
    bucket: Option<String>,
    endpoint: Option<String>,
    prefix: Option<String>,
    region: Option<String>,
    allow_http: Option<bool>,
    access_key_id: Option<String>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostTable {
    uri: String,
    zone: Option<String>,
    scratch_directory: Option<PathBuf>,
    image_directory: Option<PathBuf>,
}

impl Config {
    /// Reads `file`, or takes the defaults, for a server whose own things live in `data`.
    pub(crate) fn load(file: Option<&Path>, data: &Path) -> Result<Self, ConfigError> {
        let Some(path) = file else { return Self::of(File::default(), data) };
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?);
        let malformed = |what: String| ConfigError::Malformed { path: path.to_owned(), what };
        if text.len() > FILE_BYTES_MAX {
            return Err(malformed("it is too long".to_owned()));
        }
        // The whole error would quote the line, and the line may hold a password.
        let read = toml::from_str::<File>(&text).map_err(|error| {
            let line =
                error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
            malformed(format!("line {line}: {}", error.message()))
        })?;
        Self::of(read, data)
    }

    fn of(file: File, data: &Path) -> Result<Self, ConfigError> {
        let tables = file.region.unwrap_or_else(|| vec![default_region()]);
        let first = tables.first().ok_or_else(|| wrong("there is no [[region]]"))?;
        let default = file.server.default_region.unwrap_or_else(|| first.id.clone());
        let mut seen = BTreeSet::new();
        for table in &tables {
            check_id("a region's id", &table.id)?;
            if !seen.insert(table.id.clone()) {
                return Err(wrong(format!("the region {} is there twice", table.id)));
            }
        }
        if !seen.contains(&default) {
            return Err(wrong(format!("server.default_region is {default:?}, and there is no such region")));
        }
        let regions = tables.into_iter().map(|table| region(table, data)).collect::<Result<_, _>>()?;
        Ok(Self { default_region: RegionId(default), catalog: catalog(file.catalog, data)?, regions })
    }
}

fn default_region() -> RegionTable {
    RegionTable {
        id: REGION_DEFAULT.to_owned(),
        local_name: Some("Default region".to_owned()),
        time_zone: None,
        depot: DepotTable::default(),
        host: vec![HostTable {
            uri: HOST_DEFAULT.to_owned(),
            zone: None,
            scratch_directory: None,
            image_directory: None,
        }],
    }
}

fn catalog(table: CatalogTable, data: &Path) -> Result<CatalogAt, ConfigError> {
    match (table.url, table.url_file) {
        (Some(_), Some(_)) => Err(wrong("catalog has url and url_file: give one")),
        (Some(url), None) => Ok(CatalogAt(url)),
        (None, Some(path)) => {
            let text =
                Zeroizing::new(std::fs::read_to_string(&path).map_err(|source| unreadable(&path, source))?);
            Ok(CatalogAt(Zeroizing::new(text.trim().to_owned())))
        }
        (None, None) => {
            // A path may hold what means something else in a URL.
            let path = url::Url::from_file_path(data.join("catalog.db"))
                .map_err(|()| wrong(format!("{} is not an absolute path", data.display())))?;
            Ok(CatalogAt(Zeroizing::new(format!("sqlite://{}", path.path()))))
        }
    }
}

fn region(table: RegionTable, data: &Path) -> Result<RegionConfig, ConfigError> {
    let time_zone = match &table.time_zone {
        None => TimeZone::UTC,
        Some(name) => TimeZone::get(name)
            .map_err(|_| wrong(format!("region {}: {name:?} is not the name of a time zone", table.id)))?,
    };
    let mut hosts = Vec::new();
    for host in table.host {
        let zone = host.zone.unwrap_or_else(|| format!("{}-a", table.id));
        check_id("a zone", &zone)?;
        if hosts.iter().any(|known: &HostConfig| known.uri == host.uri) {
            return Err(wrong(format!("region {}: the host {} is there twice", table.id, host.uri)));
        }
        let (scratch, images) = (host.scratch_directory, host.image_directory);
        hosts.push(HostConfig { uri: host.uri, zone: ZoneId(zone), scratch, images });
    }
    Ok(RegionConfig {
        depot: depot(&table.id, table.depot, data)?,
        local_name: table.local_name.unwrap_or_else(|| table.id.clone()),
        id: RegionId(table.id),
        time_zone,
        hosts,
    })
}

fn depot(region: &str, table: DepotTable, data: &Path) -> Result<StoreConfig, ConfigError> {
    let wrong = |what: &str| wrong(format!("region {region}: depot: {what}"));
    let given = [table.directory.is_some(), table.url.is_some(), table.bucket.is_some()];
    if given.iter().filter(|given| **given).count() > 1 {
        return Err(wrong("give one of directory, url, bucket"));
    }
    let secret = match (&table.secret_file, &table.secret_env) {
        (Some(_), Some(_)) => return Err(wrong("give one of secret_file, secret_env")),
        (Some(path), None) => {
            let text =
                Zeroizing::new(std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?);
            Some(Secret::new(text.trim()))
        }
        (None, Some(name)) => {
            let text = std::env::var(name).map_err(|_| wrong(&format!("the variable {name} is not set")))?;
            Some(Secret::new(text))
        }
        (None, None) => None,
    };
    if let Some(bucket) = table.bucket {
        return Ok(StoreConfig::S3 {
            endpoint: table.endpoint.unwrap_or_default(),
            bucket,
            prefix: table.prefix.unwrap_or_default(),
            region: table.region.unwrap_or_else(|| "us-east-1".to_owned()),
            access_key_id: table.access_key_id.ok_or_else(|| wrong("a bucket needs access_key_id"))?,
            secret: secret.ok_or_else(|| wrong("a bucket needs secret_file or secret_env"))?,
            allow_http: table.allow_http.unwrap_or(false),
        });
    }
    if table.endpoint.is_some()
        || table.prefix.is_some()
        || table.region.is_some()
        || table.allow_http.is_some()
    {
        return Err(wrong("endpoint, prefix, region and allow_http belong to a bucket"));
    }
    if let Some(url) = table.url {
        let credentials = match (table.access_key_id, secret) {
            (Some(access_key_id), Some(secret)) => Some(Credentials { access_key_id, secret }),
            (None, None) => None,
            _ => return Err(wrong("access_key_id and its secret go together")),
        };
        return StoreConfig::parse(&url, credentials).map_err(|error| wrong(&error.to_string()));
    }
    let path = table.directory.unwrap_or_else(|| data.join("depots").join(region));
    Ok(StoreConfig::Directory { path })
}

/// Ids of regions and zones stand in paths, host names and file names.
fn check_id(what: &str, id: &str) -> Result<(), ConfigError> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = !id.is_empty() && id.len() <= ID_CHARS_MAX && id.chars().all(is_plain) && !id.starts_with('-');
    if fits {
        return Ok(());
    }
    Err(wrong(format!("{what} is {id:?}: use up to {ID_CHARS_MAX} of a-z, 0-9 and -")))
}

fn wrong(what: impl Into<String>) -> ConfigError {
    ConfigError::Wrong(what.into())
}

fn unreadable(path: &Path, source: std::io::Error) -> ConfigError {
    ConfigError::Unreadable { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| wrong(error.message()))?;
        Config::of(file, Path::new("/data"))
    }

    #[test]
    fn nothing_said_means_one_region_one_host_and_everything_under_data() {
        let config = read("").expect("defaults");
        assert_eq!(config.default_region, RegionId("default".into()));
        assert_eq!(config.catalog.0.as_str(), "sqlite:///data/catalog.db");
        let region = &config.regions[0];
        assert_eq!(region.depot.to_string(), "file:///data/depots/default");
        let [host] = region.hosts.as_slice() else { panic!("one host: {:?}", region.hosts) };
        assert_eq!((host.uri.as_str(), host.zone.0.as_str()), ("qemu:///system", "default-a"));
    }

    #[test]
    fn two_regions_of_which_one_has_no_host() {
        let config = read(
            "server.default_region = 'tokyo'\n\
             [[region]]\nid = 'osaka'\n\
             [[region]]\nid = 'tokyo'\ntime_zone = 'Asia/Tokyo'\nlocal_name = 'Tokyo'\n\
             depot.directory = '/srv/tokyo'\n\
             [[region.host]]\nuri = 'qemu:///system'\nzone = 'tokyo-b'\n",
        )
        .expect("well formed");
        assert_eq!(config.default_region, RegionId("tokyo".into()));
        assert!(config.regions[0].hosts.is_empty());
        assert_eq!(config.regions[1].time_zone.iana_name(), Some("Asia/Tokyo"));
        assert_eq!(config.regions[1].depot.to_string(), "file:///srv/tokyo");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, part: &str| {
            let words = read(text).expect_err("refused").to_string();
            assert!(words.contains(part), "{text:?}: {words}");
        };
        check("surprise = 1", "surprise");
        check("[server]\nlisten = ''", "listen");
        check("[[region]]\nid = 'a'\ndepots = {}", "depots");
        check("[[region]]\nid = 'Tokyo'", "Tokyo");
        check("[[region]]\nid = '../x'", "../x");
        check("[[region]]\nid = 'a'\n[[region]]\nid = 'a'", "twice");
        check("[[region]]\nid = 'a'\ntime_zone = 'Moon/Base'", "Moon/Base");
        check("server.default_region = 'b'\n[[region]]\nid = 'a'", "default_region");
        check("[[region]]\nid = 'a'\ndepot = { directory = '/x', url = 's3://b' }", "one of");
        check("[[region]]\nid = 'a'\ndepot = { bucket = 'b' }", "access_key_id");
        check("[[region]]\nid = 'a'\ndepot = { bucket = 'b', access_key_id = 'k' }", "secret_file");
        check("region = []", "no [[region]]");
    }

    #[test]
    fn a_password_in_the_catalogs_url_is_not_printed() {
        let config = read("catalog.url = 'postgres://hikae:hush@db/hikae'").expect("well formed");
        assert!(!format!("{config:?}").contains("hush"));
    }
}
