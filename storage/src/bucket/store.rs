//! A store and its mirror on this machine. A process keeps one connection to each store that it was told of.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use super::address::{Address, Scheme};
use super::blocks::Blocks;
use super::client::{Client, Figures};
use super::record::{self, Record};
use super::room;
use super::settings::Settings;
use crate::error::{Error, Result};

/// Marks the root of a mirror, so that files in it are known whatever the environment says today.
pub(super) const MARK: &str = ".sae-mirror";

/// The folder of what commands printed.
const FINISHED: &str = ".finished";

/// Paths are what every part of the program passes on, and connections are worth sharing: so the stores that were
/// named in this process are kept for it.
static STORES: RwLock<Vec<Arc<Store>>> = RwLock::new(Vec::new());

/// A store, and the folder of the copies of its objects.
#[derive(Debug)]
pub struct Store {
    client: Client,
    /// How its addresses begin.
    prefix: String,
    root: PathBuf,
    /// Files that are open.
    files: Mutex<HashMap<PathBuf, Weak<Blocks>>>,
    /// What was opened in this process.
    pub(super) opened: Mutex<BTreeSet<Address>>,
    /// What the copies take, about.
    held: AtomicU64,
    pub(super) making_room: Mutex<()>,
}

impl Store {
    /// The store that `address` is in: the one that this process has used for such addresses, else the one that the environment names.
    ///
    /// # Errors
    /// As [`Settings::of`] and [`Store::connect`].
    pub fn of(address: &Address) -> Result<Arc<Self>> {
        match connected().into_iter().find(|store| store.client.settings().holds(address)) {
            Some(known) => Ok(known),
            None => Self::connect(Settings::of(address)?),
        }
    }

    /// The store with these settings; nothing is sent yet. A second call with the same place in the cache gives the first one's.
    ///
    /// # Errors
    /// A cache that cannot be written, certificates that cannot be read.
    pub fn connect(settings: Settings) -> Result<Arc<Self>> {
        let root = settings.root();
        fs::create_dir_all(&root).map_err(Error::io(&root))?;
        let root = fs::canonicalize(&root).map_err(Error::io(&root))?;
        let mut stores = STORES.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = stores.iter().find(|store| store.root == root) {
            return Ok(known.clone());
        }
        let finished = root.join(FINISHED);
        fs::create_dir_all(&finished).map_err(Error::io(&finished))?;
        let mark = root.join(MARK);
        if !mark.exists() {
            let text = "Copies of objects of a store, and a record of each: see docs/scale-out.md. Remove the folder to free its room.\n";
            fs::write(&mark, text).map_err(Error::io(&mark))?;
        }
        let store = Arc::new(Self {
            prefix: settings.prefix(),
            client: Client::new(settings)?,
            root,
            files: Mutex::default(),
            opened: Mutex::default(),
            held: AtomicU64::new(0),
            making_room: Mutex::default(),
        });
        store.held.store(room::measured(&store.root)?, Ordering::Relaxed);
        stores.push(store.clone());
        Ok(store)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What was asked of the store and read from it so far, by this process.
    pub fn figures(&self) -> Figures {
        self.client.figures()
    }

    /// Where the copy of what is at `address` is, or would be.
    pub fn path_of(&self, address: &Address) -> PathBuf {
        path_below(&self.root, address)
    }

    /// Whether anything is written to the store: the others are only read.
    pub fn is_written(&self) -> bool {
        self.client.settings().scheme.is_written()
    }

    /// Where is kept what a command printed that has ended and whose files are not uploaded yet.
    pub fn finished(&self, command: &str) -> PathBuf {
        self.root.join(FINISHED).join(format!("{command}.json"))
    }

    /// What the file or folder in `path` is a copy of.
    pub fn address_of(&self, path: &Path) -> Option<Address> {
        let below = path.strip_prefix(&self.root).ok()?.to_str()?.replace('\\', "/");
        let scheme = self.client.settings().scheme;
        if below.starts_with('.') {
            return None;
        }
        if scheme.is_web() {
            let bucket = self.prefix.trim_end_matches('/').trim_start_matches(scheme.prefix());
            return Some(Address { scheme, bucket: bucket.to_owned(), key: below });
        }
        let (bucket, key) = below.split_once('/').unwrap_or((&below, ""));
        (!bucket.is_empty()).then(|| Address { scheme, bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// `text` with addresses in place of the paths of their copies.
    pub fn readable(&self, text: &str) -> String {
        match self.root.to_str() {
            // The folder alone is a whole server.
            Some(root) if self.client.settings().scheme.is_web() => text
                .replace(&format!("{root}/"), &self.prefix)
                .replace(root, self.prefix.trim_end_matches('/')),
            Some(root) => text.replace(&format!("{root}/"), &self.prefix),
            None => text.to_owned(),
        }
    }

    /// The open file in `path`, which is below the root, if it is fetched in blocks.
    ///
    /// # Errors
    /// Files that cannot be opened.
    pub(super) fn blocks(self: &Arc<Self>, path: &Path) -> Result<Option<Arc<Blocks>>> {
        let Some(address) = self.address_of(path) else { return Ok(None) };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        // A file of that name may have taken its place.
        if let Some(open) = files.get(path).and_then(Weak::upgrade).filter(|open| open.is_in(path)) {
            return Ok(Some(open));
        }
        let opened = Blocks::open(self, path, address)?.map(Arc::new);
        match &opened {
            Some(blocks) => files.insert(path.to_owned(), Arc::downgrade(blocks)),
            None => files.remove(path),
        };
        Ok(opened)
    }

    /// Counts bytes that the copies take more.
    pub(super) fn spend(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What the copies take, as counted.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Puts `right` in place of `counted` in the count.
    pub(super) fn correct(&self, counted: u64, right: u64) {
        let new = |held: u64| Some((held + right).saturating_sub(counted));
        let _ = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, new);
    }

    pub(super) fn is_full(&self) -> bool {
        self.held() > self.client.settings().limit
    }
}

/// Where the copy of what is at `address` is in the mirror `root`.
pub(super) fn path_below(root: &Path, address: &Address) -> PathBuf {
    // The mirror of a web server has no folder for its host.
    let bucket = if address.scheme.is_web() { root.to_owned() } else { root.join(&address.bucket) };
    if address.key.is_empty() { bucket } else { bucket.join(&address.key) }
}

/// The stores that were named in this process.
pub(super) fn connected() -> Vec<Arc<Store>> {
    STORES.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The store whose mirror `path` is in, and the path as that store has it; `None` for a file of this machine. One that this process
/// was not told of is connected if it is the environment's.
///
/// # Errors
/// [`Error::Bucket`] for a file of a mirror of a different store than the environment's.
pub(super) fn of(path: &Path) -> Result<Option<(Arc<Store>, PathBuf)>> {
    let Ok(whole) = fs::canonicalize(path) else { return Ok(None) };
    let known = connected().into_iter().find(|store| whole.starts_with(&store.root));
    if let Some(store) = known {
        return Ok(Some((store, whole)));
    }
    let Some(root) = whole.ancestors().find(|folder| folder.join(MARK).is_file()) else { return Ok(None) };
    // What is whole needs no store.
    if Record::read(root, &whole).is_none_or(|record| record.block == 0 || !record.fits(&whole)) {
        return Ok(None);
    }
    // The environment's S3 store may be meant; any other is named by an address.
    let settings = Settings::of(&Address { scheme: Scheme::S3, bucket: String::new(), key: String::new() })?;
    if fs::canonicalize(settings.root()).ok().as_deref() != Some(root) {
        let problem = "is a copy of an object of a store, and not all of it is here";
        let remedy = "give its address, s3://BUCKET/KEY, and set AWS_ENDPOINT_URL and SAE_CACHE as they were when it was opened";
        return Err(Error::bucket(&path.display().to_string(), problem, Some(remedy)));
    }
    Ok(Some((Store::connect(settings)?, whole)))
}

impl Store {
    /// Every record of the mirror.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub(super) fn records(root: &Path) -> Result<Vec<PathBuf>> {
        let all = record::files(&root.join(record::FOLDER), &|_| true)?;
        Ok(all.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "of")).collect())
    }
}
