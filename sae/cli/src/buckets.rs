//! `s3://…` in place of a path, for every command: arguments are replaced by the paths of mirrors before the command runs, and what it made
//! or changed in them is uploaded afterwards.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use storage::bucket::{Address, Mirror, Settings, Store, Told};

use super::Output;
use super::progress::{Terminal, count};
use sae::{Error, Progress as _, Result};

/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The mirrors that a command line names.
pub struct Mirrors {
    store: Arc<Store>,
    opened: Vec<Mirror>,
    args: Vec<OsString>,
    mark: PathBuf,
}

/// What a command printed that has ended and whose files are not uploaded yet.
#[derive(Serialize, Deserialize)]
struct Finished {
    table: String,
    json: String,
}

impl Mirrors {
    /// Opens what `args` name in a store; `None` if they name nothing there, and then nothing is asked of anybody.
    ///
    /// # Errors
    /// An address that is not one, a store that refuses or stays away; an interruption.
    pub fn open(args: &[OsString], progress: &mut Terminal) -> Result<Option<Self>> {
        let mut addresses: Vec<Address> = Vec::new();
        let root = root();
        for text in args.iter().skip(1).filter_map(|arg| named(arg, root.as_deref())) {
            let address = Address::parse(&text)?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Ok(None);
        }
        let store = Store::from_environment()?;
        let mark = store.finished(&of(args));
        let replaced =
            args.iter().map(|arg| with_path(arg, root.as_deref(), &store)).collect::<Result<_>>()?;
        let mut mirrors = Self { store, opened: Vec::new(), args: replaced, mark };
        for address in &addresses {
            let store = &mirrors.store;
            let opened = told(progress, "opening", &|told| store.open(address, told))?;
            if opened.left_behind() > 0 && !mirrors.mark.exists() {
                progress.remark(&format!(
                    "{address}: {} files were made or changed here and are not in the store; a command that changes something there \
                     uploads them",
                    opened.left_behind()
                ));
            }
            mirrors.opened.push(opened);
        }
        Ok(Some(mirrors))
    }

    /// The command line with paths in place of addresses.
    pub fn args(&self) -> &[OsString] {
        &self.args
    }

    /// Uploads what the same command made before, if it ended and its upload did not; what it printed.
    ///
    /// # Errors
    /// As [`Mirrors::close`].
    pub fn finish(&self, progress: &mut Terminal) -> Result<Option<Output>> {
        let Ok(bytes) = std::fs::read(&self.mark) else { return Ok(None) };
        let finished: Option<Finished> = serde_json::from_slice(&bytes).ok();
        let is_left = self.opened.iter().any(|mirror| mirror.left_behind() > 0);
        if is_left && finished.is_some() {
            progress.remark("this command has ended before; what it made is uploaded");
            self.upload(progress)?;
        }
        // Best effort: where nothing is left to upload, it says nothing.
        let _ = std::fs::remove_file(&self.mark);
        Ok(finished.filter(|_| is_left).map(|Finished { table, json }| Output::printed(table, json)))
    }

    /// Uploads what the command made or changed; its output is kept until that is done.
    ///
    /// # Errors
    /// A store that refuses or stays away, something that somebody else wrote meanwhile; an interruption.
    pub fn close(&self, output: &Output, progress: &mut Terminal) -> Result<()> {
        let mut changed = false;
        for mirror in &self.opened {
            changed |= mirror.has_changed()?;
        }
        if !changed {
            return Ok(());
        }
        let finished = Finished { table: output.text(false), json: output.text(true) };
        if output.failure().is_none() {
            storage::atomic::write_json(&self.mark, &finished)?;
        }
        self.upload(progress)?;
        // Best effort: the next time there is nothing to upload.
        let _ = std::fs::remove_file(&self.mark);
        Ok(())
    }

    fn upload(&self, progress: &mut Terminal) -> Result<()> {
        for mirror in &self.opened {
            let sent = told(progress, "uploading", &|told| mirror.upload(told))?;
            if sent.files + sent.removed > 0 {
                let bytes = count(sent.bytes as f64);
                progress.remark(&format!(
                    "{}: {} files uploaded ({bytes}B), {} removed",
                    mirror.address, sent.files, sent.removed
                ));
            }
        }
        Ok(())
    }
}

/// Where the environment's store has its mirror, as commands of the window name it.
fn root() -> Option<PathBuf> {
    let root = Settings::from_environment().ok()?.root();
    root.canonicalize().ok()
}

/// The address that an argument names: `s3://…`, `--option=s3://…`, or a path in the mirror.
fn named(arg: &OsString, root: Option<&std::path::Path>) -> Option<String> {
    let text = arg.to_str()?;
    let value = match text.split_once('=') {
        Some((option, value)) if option.starts_with("--") => value,
        _ => text,
    };
    if Address::is_meant(value) {
        return Some(value.to_owned());
    }
    let below = std::path::Path::new(value).strip_prefix(root?).ok()?.to_str()?;
    (!below.is_empty()).then(|| format!("{}{below}", storage::bucket::SCHEME))
}

fn with_path(arg: &OsString, root: Option<&std::path::Path>, store: &Store) -> Result<OsString> {
    let Some(address) = named(arg, root) else { return Ok(arg.clone()) };
    let path = store.path_of(&Address::parse(&address)?);
    let option =
        arg.to_str().and_then(|text| text.split_once('=')).filter(|(option, _)| option.starts_with("--"));
    let mut replaced = OsString::new();
    if let Some((option, _)) = option {
        replaced.push(format!("{option}="));
    }
    replaced.push(path);
    Ok(replaced)
}

/// What tells this command line from others: relative paths in it are from the working folder.
fn of(args: &[OsString]) -> String {
    let mut hash = Sha256::new();
    for part in args.iter().skip(1) {
        hash.update(part.as_encoded_bytes());
        hash.update([0]);
    }
    hash.update(std::env::current_dir().unwrap_or_default().as_os_str().as_encoded_bytes());
    lm::model::hexadecimal(&hash.finalize())[..32].to_owned()
}

/// Does `work` while its progress is shown.
fn told<T: Send>(
    progress: &mut Terminal,
    name: &str,
    work: &(dyn Fn(Told<'_>) -> storage::Result<T> + Sync),
) -> Result<T> {
    let (done, total, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let tell = |now: u64, all: u64| {
        done.fetch_max(now, Ordering::Relaxed);
        total.store(all, Ordering::Relaxed);
        stop.load(Ordering::Relaxed)
    };
    let mut begun = false;
    let outcome = std::thread::scope(|scope| {
        let worker = scope.spawn(|| work(&tell));
        while !worker.is_finished() {
            std::thread::sleep(LOOK_EVERY);
            let all = total.load(Ordering::Relaxed);
            if all > 0 && !begun {
                progress.begin(name, Some(all), "bytes");
                begun = true;
            }
            if begun {
                progress.advance(done.load(Ordering::Relaxed), "");
            }
            stop.store(progress.stop_requested(), Ordering::Relaxed);
        }
        worker.join()
    });
    if begun {
        progress.end("");
    }
    match outcome {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Error::network(format!("{name} ended unexpectedly"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_where_paths_are() {
        let root = PathBuf::from("/cache/s3/aws");
        let of = |arg: &str| named(&OsString::from(arg), Some(&root));
        assert_eq!(of("s3://lake/a").as_deref(), Some("s3://lake/a"));
        assert_eq!(of("--out=s3://lake/a").as_deref(), Some("s3://lake/a"));
        assert_eq!(of("/cache/s3/aws/lake/run").as_deref(), Some("s3://lake/run"));
        assert_eq!(of("--out=/cache/s3/aws/lake/run").as_deref(), Some("s3://lake/run"));
        for not in ["--out", "runs/a", "/cache/s3/aws", "look at s3://lake", "x=s3://lake"] {
            assert_eq!(of(not), None, "{not}");
        }
    }

    #[test]
    fn command_lines_are_told_apart() {
        let line = |args: &[&str]| of(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(line(&["sae", "a", "b"]), line(&["/bin/sae", "a", "b"]));
        assert_ne!(line(&["sae", "a", "b"]), line(&["sae", "ab"]));
    }
}
