//! Finds and opens what a command works on: the store, the root key, the depot, the data directory's lock.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use depot::{Depot, DepotError, Settings};
use keys::{KeyError, KeyWrap, RegionKeys, WrappedKey};
use model::RegionId;
use seal::{FileSealer, KeyMaterial, Sealer};
use store::{Counting, Credentials, Operation, Secret, Store, StoreConfig};

use super::args::Place;
use crate::args::Connection;
use crate::cli::failure::Failure;
use crate::edge::{RealClock, RealEntropy};
use crate::serve::data_dir::{DataDir, KNOWN_FOLDER};

const SECRET_VARIABLE: &str = "HIKAE_DEPOT_SECRET";
const REGION_DEFAULT: &str = "default";

/// A store that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// As it is told to people: without credentials.
    pub(super) place: String,
    pub(super) store: Arc<Counting>,
    /// For a depot that is made here.
    region: RegionId,
    root_key: Option<PathBuf>,
    known_folder: Option<PathBuf>,
    /// Whether writers may link to chunks that are there.
    dedups: bool,
}

/// A depot that is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) place: String,
    pub(super) depot: Arc<Depot>,
    pub(super) region: RegionId,
    /// Where known chunks are kept, if anywhere.
    pub(super) known_folder: Option<PathBuf>,
    store: Arc<Counting>,
}

impl Open {
    /// Bytes got from the store so far.
    pub(super) fn bytes_fetched(&self) -> u64 {
        self.store.tally(Operation::Get).bytes + self.store.tally(Operation::GetRange).bytes
    }

    /// A failure of this depot, by what the caller sees.
    pub(super) fn failed(&self, error: DepotError) -> Failure {
        failure(&self.place, error)
    }
}

/// Finds the store. A directory that is not there is a slip of the pen, except for `init`.
pub(super) async fn find(place: &Place, connection: &Connection, make: bool) -> Result<Found, Failure> {
    let config = config(place, connection)?;
    if let StoreConfig::Directory { path } = &config
        && !make
        && !path.is_dir()
    {
        return Err(Failure::Usage(format!("there is no directory {}", path.display())));
    }
    let region = RegionId(connection.region.clone().unwrap_or_else(|| REGION_DEFAULT.to_owned()));
    let place_text = config.to_string();
    let opened =
        store::open(&config).await.map_err(|error| failure(&place_text, DepotError::Store(error)))?;
    let root_key = place.root_key.clone();
    let root_key = root_key.or_else(|| connection.data.as_ref().map(|data| data.join("root.key")));
    let (store, known_folder) = (Arc::new(Counting::new(opened)), known_folder(place, connection));
    Ok(Found { place: place_text, store, region, root_key, known_folder, dedups: true })
}

/// Holds the data directory, if one was named: no server may run on it meanwhile.
pub(super) fn lock(connection: &Connection) -> Result<Option<DataDir>, Failure> {
    let Some(data) = &connection.data else { return Ok(None) };
    if !data.is_dir() {
        return Err(Failure::Usage(format!("there is no data directory {}", data.display())));
    }
    DataDir::take(data).map(Some).map_err(|error| Failure::Failed(error.to_string()))
}

impl Found {
    /// For a writer that is to link to nothing the depot holds.
    pub(super) fn knowing_nothing(self) -> Self {
        Self { known_folder: None, dedups: false, ..self }
    }

    /// Opens the depot there is, with its key, whatever its region.
    pub(super) async fn open(self) -> Result<Open, Failure> {
        let keys = Arc::new(AnyRegion { sealer: self.sealer(false)?, region: OnceLock::new() });
        let depot = self.with(Arc::clone(&keys) as Arc<dyn KeyWrap>).await?;
        depot.unlock().await.map_err(|error| failure(&self.place, error))?;
        let region = keys.region.get().cloned().unwrap_or(self.region);
        Ok(Open { place: self.place, depot, region, known_folder: self.known_folder, store: self.store })
    }

    /// Opens the depot there is, to look for damage: none if it is too damaged to be opened.
    pub(super) async fn open_if_whole(&self) -> Result<Option<Arc<Depot>>, Failure> {
        let keys = Arc::new(AnyRegion { sealer: self.sealer(false)?, region: OnceLock::new() });
        let store: Arc<dyn Store> = self.store.clone();
        let (entropy, clock) = (Arc::new(RealEntropy), Arc::new(RealClock));
        let damaged =
            |error: &DepotError| matches!(error, DepotError::Damaged { .. } | DepotError::Newer { .. });
        let depot = match Depot::open(store, keys, entropy, clock, self.settings()).await {
            Err(error) if damaged(&error) => return Ok(None),
            opened => opened.map_err(|error| failure(&self.place, error))?,
        };
        match depot.unlock().await {
            Err(error) if !damaged(&error) => Err(failure(&self.place, error)),
            _ => Ok(Some(depot)),
        }
    }

    /// Bytes got from the store so far.
    pub(super) fn bytes_fetched(&self) -> u64 {
        self.store.tally(Operation::Get).bytes + self.store.tally(Operation::GetRange).bytes
    }

    /// Makes a depot, or opens the one there is.
    pub(super) async fn init(self) -> Result<Open, Failure> {
        let (sealer, settings) = (self.sealer(true)?, self.settings());
        let region = self.region;
        let keys = Arc::new(RegionKeys::new(region.clone(), sealer, Arc::new(RealEntropy)));
        let store: Arc<dyn Store> = self.store.clone();
        let (entropy, clock) = (Arc::new(RealEntropy), Arc::new(RealClock));
        let depot = Depot::open_or_init(store, keys, entropy, clock, settings).await;
        let depot = depot.map_err(|error| failure(&self.place, error))?;
        Ok(Open { place: self.place, depot, region, known_folder: self.known_folder, store: self.store })
    }

    fn settings(&self) -> Settings {
        let settings = Settings { known_folder: self.known_folder.clone(), ..Settings::default() };
        if self.dedups { settings } else { Settings { known_chunks: 0, ..settings } }
    }

    async fn with(&self, keys: Arc<dyn KeyWrap>) -> Result<Arc<Depot>, Failure> {
        let store: Arc<dyn Store> = self.store.clone();
        let (entropy, clock) = (Arc::new(RealEntropy), Arc::new(RealClock));
        let depot = Depot::open(store, keys, entropy, clock, self.settings()).await;
        depot.map_err(|error| failure(&self.place, error))
    }

    fn sealer(&self, make: bool) -> Result<Arc<dyn Sealer>, Failure> {
        let Some(path) = &self.root_key else {
            return Err(Failure::Usage("name the root key with --root-key FILE".to_owned()));
        };
        if !make && !path.exists() {
            return Err(Failure::Usage(format!("there is no root key {}", path.display())));
        }
        let sealer = FileSealer::open_or_create(path, Arc::new(RealEntropy));
        Ok(Arc::new(sealer.map_err(|error| refused(&error))?))
    }
}

/// The keys of whichever region a wrapped key says it is of.
struct AnyRegion {
    sealer: Arc<dyn Sealer>,
    /// The region of the last key that opened.
    region: OnceLock<RegionId>,
}

#[async_trait]
impl KeyWrap for AnyRegion {
    async fn wrap(&self, _: &KeyMaterial, _: &str) -> Result<WrappedKey, KeyError> {
        // A new slot is for whoever knows the region: `init`.
        Err(KeyError::Refused)
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &str) -> Result<KeyMaterial, KeyError> {
        let region = wrapped.region()?;
        let keys = RegionKeys::new(region.clone(), Arc::clone(&self.sealer), Arc::new(RealEntropy));
        let material = keys.unwrap(wrapped, context).await?;
        self.region.get_or_init(|| region);
        Ok(material)
    }
}

fn config(place: &Place, connection: &Connection) -> Result<StoreConfig, Failure> {
    let Some(text) = &place.depot else {
        let Some(data) = &connection.data else {
            return Err(Failure::Usage("name the depot with --depot PLACE, or --data DIR".to_owned()));
        };
        let region = connection.region.as_deref().unwrap_or(REGION_DEFAULT);
        return Ok(StoreConfig::Directory { path: absolute(&data.join("depots").join(region))? });
    };
    if !text.contains("://") {
        return Ok(StoreConfig::Directory { path: absolute(Path::new(text))? });
    }
    StoreConfig::parse(text, credentials(place)?).map_err(|error| Failure::Usage(error.to_string()))
}

/// Where to keep what is known of chunks: as told, beside a server's data, or where the user's caches are.
fn known_folder(place: &Place, connection: &Connection) -> Option<PathBuf> {
    if place.no_cache {
        return None;
    }
    let users = || {
        let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        caches.or_else(home).map(|caches| caches.join("hikae"))
    };
    let data = || connection.data.as_ref().map(|data| data.join(KNOWN_FOLDER));
    place.cache.clone().or_else(data).or_else(users)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

fn credentials(place: &Place) -> Result<Option<Credentials>, Failure> {
    let secret = match &place.depot_secret_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
            Some(Secret::new(zeroize::Zeroizing::new(text).trim()))
        }
        None => std::env::var(SECRET_VARIABLE).ok().map(Secret::new),
    };
    let id = place.depot_access_key_id.clone();
    Ok(id.zip(secret).map(|(access_key_id, secret)| Credentials { access_key_id, secret }))
}

fn refused(error: &dyn std::fmt::Display) -> Failure {
    Failure::Refused {
        code: "KeyUnavailable".to_owned(),
        message: error.to_string(),
        remedy: "Use the root key file that this depot was made with.".to_owned(),
        request_id: String::new(),
    }
}

/// What the depot said, as an exit code and words.
pub(super) fn failure(place: &str, error: DepotError) -> Failure {
    match error {
        DepotError::Keys(error) => refused(&error),
        DepotError::Invalid(what) => Failure::Usage(what),
        DepotError::Store(error) if error.is_transient() => {
            Failure::Unreachable { endpoint: place.to_owned(), reason: error.to_string() }
        }
        DepotError::Store(error @ store::StoreError::Denied { .. }) => Failure::Refused {
            code: "StoreDenied".to_owned(),
            message: error.to_string(),
            remedy: "Check the access key, its secret and its permissions.".to_owned(),
            request_id: String::new(),
        },
        other => Failure::Failed(other.to_string()),
    }
}
