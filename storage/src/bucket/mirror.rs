//! What is at an address, as files of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use super::address::{Address, is_a_path};
use super::md5::Md5;
use super::objects::Object;
use super::parallel::each;
use super::record::{self, Record, is_content};
use super::store::Store;
use super::{blocks, positioned};
use crate::error::{Error, Result};
use crate::part::hexadecimal;

/// Tables that are longer are fetched in blocks, when they are read.
const IN_BLOCKS_FROM: u64 = 4 << 20;
/// Bytes of one request for a file that is fetched whole.
const PIECE: u64 = 8 << 20;

/// What is at an address, opened: every object has its file.
#[derive(Debug)]
pub struct Mirror {
    pub(super) store: Arc<Store>,
    /// What was opened.
    pub address: Address,
    /// Its folder or file on this machine; it need not exist, where nothing is at the address yet.
    pub path: PathBuf,
    /// Key and ETag of what was there when it was opened.
    pub(super) before: BTreeMap<String, String>,
    /// Files that were different on this machine already then: what an earlier command left.
    pub(super) left: Vec<PathBuf>,
    /// What those were then.
    pub(super) left_as: Vec<Record>,
}

impl Mirror {
    /// Of what is in `path` and was opened before.
    pub(super) fn of(store: &Arc<Store>, address: Address, path: &Path) -> Self {
        let (before, left, left_as) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { store: store.clone(), address, path: path.to_owned(), before, left, left_as }
    }

    /// Whether there is something at the address, in the store or made here.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// How many files an earlier command made or changed here that the store does not have.
    pub fn left_behind(&self) -> usize {
        self.left.len()
    }
}

/// How far opening or uploading is: bytes done, bytes in all; answers whether to stop.
pub type Told<'a> = &'a (dyn Fn(u64, u64) -> bool + Sync);

impl Store {
    /// Makes files of everything at `address`: tables as files of their length, the rest fetched. Copies that are there and still
    /// right stay. What was changed on this machine stays, too.
    ///
    /// # Errors
    /// [`Error::Bucket`]: a store that refuses or stays away, objects that change meanwhile or arrive damaged, keys that cannot be
    /// paths; a disk that is full or fails.
    pub fn open(self: &Arc<Self>, address: &Address, told: Told<'_>) -> Result<Mirror> {
        let path = self.path_of(address);
        let objects = self.look(address)?;
        let mut mirror = Mirror::of(self, address.clone(), &path);
        let mut wanted = Vec::new();
        for object in &objects {
            let path = self.path_of(&address.with_key(&object.key));
            mirror.before.insert(object.key.clone(), object.etag.clone());
            if !self.is_current(&path, object, &mut mirror.left)? {
                wanted.push((object, path));
            }
        }
        wanted.extend(self.outdated(address, &objects, &mut mirror.left)?);
        self.forget_removed(&mirror)?;
        self.fetch(address, &wanted, told)?;
        if mirror.path.is_dir() {
            for path in record::files(&mirror.path, &is_content)? {
                if Record::read(self.root(), &path).is_none_or(|record| !record.fits(&path)) {
                    mirror.left.push(path);
                }
            }
            mirror.left.sort();
            mirror.left.dedup();
        }
        mirror.left_as = mirror.left.iter().map(|path| Record::of(path, "", false)).collect::<Result<_>>()?;
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(address.clone());
        self.make_room();
        Ok(mirror)
    }

    /// The objects below `address` that are content, or the one of exactly that key.
    fn look(&self, address: &Address) -> Result<Vec<Object>> {
        let mut objects = self.client().below(address)?;
        // Folders are objects to some programs: a key that ends with a slash, or nothing with something below it.
        objects.retain(|object| !object.key.ends_with('/'));
        let parents: BTreeSet<String> = objects
            .iter()
            .flat_map(|object| object.key.match_indices('/').map(|(at, _)| object.key[..at].to_owned()))
            .collect();
        objects.retain(|object| object.bytes > 0 || !parents.contains(&object.key));
        if let Some(object) = objects.iter().find(|object| !is_a_path(&object.key)) {
            let whole = format!("{}/{}", address.with_key(""), object.key);
            let problem = "this key cannot be a path: it has a part without a name, `.`, `..` or a backslash";
            return Err(Error::bucket(
                &whole,
                problem,
                Some("rename the object, or give a prefix without it"),
            ));
        }
        objects.retain(|object| {
            object.key[address.key.len()..].split('/').filter(|part| !part.is_empty()).all(is_content)
        });
        Ok(objects)
    }

    /// Whether the file of an object need not be fetched.
    fn is_current(&self, path: &Path, object: &Object, left: &mut Vec<PathBuf>) -> Result<bool> {
        if !path.exists() {
            return Ok(false);
        }
        if path.is_dir() {
            let problem = format!("{} is a folder here, and an object in the store", path.display());
            return Err(Error::bucket(&object.key, &problem, Some("remove one of them")));
        }
        match Record::open(self.root(), path) {
            Some((record, map, _)) if record.fits(path) => {
                let current = record.etag == object.etag && record.bytes == object.bytes;
                if current {
                    // The newest use counts when room is made.
                    let _ = map.set_modified(std::time::SystemTime::now());
                }
                Ok(current)
            }
            _ => {
                left.push(path.to_owned());
                Ok(true)
            }
        }
    }

    /// Copies of objects that the store has no longer.
    fn forget_removed(&self, mirror: &Mirror) -> Result<()> {
        // The mirror of a web server may be open as a whole.
        let below = match mirror.path == self.root() {
            true => self.root().join(record::FOLDER),
            false => record::place(self.root(), &mirror.path)?.with_extension(""),
        };
        for place in record::files(&below, &|_| true)? {
            let Some(path) = record::path_of(self.root(), &place) else { continue };
            let key = self.address_of(&path).map(|address| address.key).unwrap_or_default();
            if mirror.before.contains_key(&key) {
                continue;
            }
            if Record::read(self.root(), &path).is_some_and(|record| record.fits(&path)) {
                fs::remove_file(&path).map_err(Error::io(&path))?;
            }
            fs::remove_file(&place).map_err(Error::io(&place))?;
        }
        Ok(())
    }

    pub(super) fn fetch(
        &self,
        address: &Address,
        wanted: &[(&Object, PathBuf)],
        told: Told<'_>,
    ) -> Result<()> {
        let in_blocks = |object: &Object| object.key.ends_with(".parquet") && object.bytes > IN_BLOCKS_FROM;
        let in_parts = self.sends_parts(address, wanted)?;
        let mut whole = Vec::new();
        for (object, path) in wanted {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(Error::io(folder))?;
            }
            if in_blocks(object) && in_parts {
                blocks::create(self.root(), path, object.bytes, &object.etag)?;
            } else {
                let piece = if in_parts { PIECE } else { u64::MAX };
                whole.push(Download::begin(address.with_key(&object.key), object, path, piece)?);
            }
        }
        let pieces: Vec<(&Download, u64)> = whole
            .iter()
            .flat_map(|download| (0..download.pieces).map(move |at| (download, at as u64 * download.piece)))
            .collect();
        let total = whole.iter().map(|download| download.bytes).sum();
        let done = AtomicU64::new(0);
        each(pieces.len(), &|i| {
            let (download, start) = pieces[i];
            let bytes = download.piece(self, start)?;
            self.spend(bytes);
            match told(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total) {
                true => Err(Error::bucket(
                    &address.to_string(),
                    "stopped",
                    Some("what has arrived is kept; try again"),
                )),
                false => Ok(()),
            }
        })
    }
}

impl Store {
    /// Whether the server sends parts of files. Stores do; of a web server one byte is asked for, where that makes a difference.
    ///
    /// # Errors
    /// A server that does not, and files that do not all fit into the cache.
    fn sends_parts(&self, address: &Address, wanted: &[(&Object, PathBuf)]) -> Result<bool> {
        let largest = wanted.iter().max_by_key(|(object, _)| object.bytes).map(|(object, _)| *object);
        let Some(largest) = largest.filter(|object| address.scheme.is_web() && object.bytes > IN_BLOCKS_FROM)
        else {
            return Ok(true);
        };
        if self.client().sends_parts(&address.with_key(&largest.key))? {
            return Ok(true);
        }
        let total: u64 = wanted.iter().map(|(object, _)| object.bytes).sum();
        let limit = self.client().settings().limit;
        if total > limit {
            let problem = format!(
                "the server does not send parts of files, and all of them are {total} bytes, more than the cache may take ({limit})"
            );
            let remedy = "serve the folder with a server that answers `Range`, such as nginx, or give the cache more room: SAE_CACHE_SIZE=50GB";
            return Err(Error::bucket(&address.to_string(), &problem, Some(remedy)));
        }
        Ok(false)
    }
}

/// `.NAME.partial` next to `path`: not content, and never read.
pub(super) fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.partial", std::process::id()))
}

/// A file that is fetched whole.
struct Download {
    address: Address,
    etag: String,
    bytes: u64,
    path: PathBuf,
    partial: PathBuf,
    file: File,
    /// Bytes of a piece.
    piece: u64,
    pieces: usize,
    left: AtomicUsize,
    /// What the store says its MD5 is.
    md5: Option<String>,
    /// Whether it is one: not of objects that are encrypted with keys of their own.
    summed: AtomicBool,
    published: AtomicBool,
}

impl Download {
    fn begin(address: Address, object: &Object, path: &Path, piece: u64) -> Result<Self> {
        let partial = partial(path);
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&partial);
        let pieces = object.bytes.div_ceil(piece).max(1) as usize;
        Ok(Self {
            summed: AtomicBool::new(object.md5.is_some()),
            md5: object.md5.clone(),
            address,
            etag: object.etag.clone(),
            bytes: object.bytes,
            path: path.to_owned(),
            file: file.map_err(Error::io(&partial))?,
            partial,
            piece,
            pieces,
            left: AtomicUsize::new(pieces),
            published: AtomicBool::new(false),
        })
    }

    /// Fetches the piece that begins at `start`; with the last one the file gets its name. Bytes that arrived.
    fn piece(&self, store: &Store, start: u64) -> Result<u64> {
        let range = start..start.saturating_add(self.piece).min(self.bytes);
        if range.end - range.start > PIECE {
            store.client().whole(&self.address, &self.etag, self.bytes, &self.file)?;
            self.publish(store)?;
            return Ok(self.bytes);
        }
        let answer = store.client().range(&self.address, &self.etag, range.clone())?;
        let encrypted = answer.header("x-amz-server-side-encryption").is_some_and(|how| how.contains("kms"))
            || answer.header("x-amz-server-side-encryption-customer-algorithm").is_some();
        if encrypted {
            self.summed.store(false, Ordering::Relaxed);
        }
        positioned::write(&self.file, &answer.body, start).map_err(Error::io(&self.partial))?;
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.publish(store)?;
        }
        Ok(range.end - range.start)
    }

    fn publish(&self, store: &Store) -> Result<()> {
        if let Some(md5) = self.md5.as_ref().filter(|_| self.summed.load(Ordering::Relaxed)) {
            let found = md5_of(&self.partial)?;
            if found != *md5 {
                let problem = format!("arrived damaged: MD5 {found}, expected {md5}");
                return Err(Error::bucket(&self.address.to_string(), &problem, Some("try again")));
            }
        }
        self.file.sync_all().map_err(Error::io(&self.partial))?;
        fs::rename(&self.partial, &self.path).map_err(Error::io(&self.path))?;
        self.published.store(true, Ordering::Relaxed);
        Record::of(&self.path, &self.etag, false)?.write(store.root(), &self.path)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if !self.published.load(Ordering::Relaxed) {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn md5_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let (mut sum, mut buffer) = (Md5::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer).map_err(Error::io(path))? {
            0 => return Ok(hexadecimal(&sum.finish())),
            read => sum.update(&buffer[..read]),
        }
    }
}
