//! `s3://…`, `https://…` and their kin in place of a path, for every command: arguments are replaced by the paths of mirrors before the command runs, and what it made
//! or changed in them is uploaded afterwards.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::{ArgMatches, CommandFactory as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use storage::bucket::{Address, Mirror, Settings, Store, Told};

use super::progress::{Terminal, count};
use super::{Output, Program};
use sae::{Error, Progress as _, Result};

/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Arguments that are words where they are not paths: what looks like an address in them is none.
const WORDS: [&str; 6] = ["text", "url", "rule", "target", "label", "by"];

/// The mirrors that a command line names.
pub struct Mirrors {
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
        let arguments = Arguments::of(args);
        let mut addresses: Vec<Address> = Vec::new();
        for text in args.iter().skip(1).filter_map(|arg| arguments.named(arg)) {
            let address = Address::parse(&text)?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let Some(first) = addresses.first() else { return Ok(None) };
        arguments.refuse_unwritten()?;
        let mark = Store::of(first)?.finished(&of(args));
        let args = args.iter().map(|arg| arguments.with_path(arg)).collect::<Result<_>>()?;
        let mut mirrors = Self { opened: Vec::new(), args, mark };
        for address in &addresses {
            let store: &Arc<Store> = &Store::of(address)?;
            let opened = told(progress, "opening", &|told| store.open(address, told))?;
            if opened.left_behind() > 0 && !mirrors.mark.exists() {
                let then = match address.scheme.is_written() {
                    true => "a command that changes something there uploads them",
                    false => "they are used in place of those",
                };
                let left = opened.left_behind();
                progress.remark(&format!(
                    "{address}: {left} files were made or changed here and are not there; {then}"
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
            let is_changed = mirror.has_changed()?;
            changed |= is_changed && mirror.address.scheme.is_written();
            if is_changed && !mirror.address.scheme.is_written() {
                progress.remark(&format!(
                    "{}: addresses of this kind are only read; what this command made of it is kept on this machine, in {}",
                    mirror.address,
                    mirror.path.display()
                ));
            }
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
        for mirror in self.opened.iter().filter(|mirror| mirror.address.scheme.is_written()) {
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

/// Where the environment's S3 store has its mirror, as commands name it that a person copies from a message.
fn root() -> Option<PathBuf> {
    let root = Settings::of(&Address::parse("s3://any").ok()?).ok()?.root();
    root.canonicalize().ok()
}

/// What a command line may name.
#[derive(Default)]
struct Arguments {
    /// The mirror of the environment's S3 store.
    root: Option<PathBuf>,
    /// Values that are words.
    words: BTreeSet<OsString>,
    /// Values of `--out`.
    out: Vec<OsString>,
}

impl Arguments {
    fn of(args: &[OsString]) -> Self {
        let mut found = Self { root: root(), ..Self::default() };
        // What cannot be parsed was reported before.
        if let Ok(matches) = Program::command().try_get_matches_from(args) {
            found.collect(&Program::command(), &matches);
        }
        found
    }

    fn collect(&mut self, command: &clap::Command, matches: &ArgMatches) {
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            let values = || matches.try_get_raw(id).ok().flatten().into_iter().flatten().map(OsString::from);
            let is_path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
            if WORDS.contains(&id) && !is_path {
                self.words.extend(values());
            }
            if id == "out" {
                self.out.extend(values());
            }
        }
        if let Some((name, matches)) = matches.subcommand()
            && let Some(command) = command.find_subcommand(name)
        {
            self.collect(command, matches);
        }
    }

    /// The address that an argument names: itself, `--option=ADDRESS`, or a path in the mirror.
    fn named(&self, arg: &OsString) -> Option<String> {
        let text = arg.to_str()?;
        let value = match text.split_once('=') {
            Some((option, value)) if option.starts_with("--") => value,
            _ => text,
        };
        if self.words.contains(std::ffi::OsStr::new(value)) {
            return None;
        }
        if Address::is_meant(value) {
            return Some(value.to_owned());
        }
        let below = Path::new(value).strip_prefix(self.root.as_ref()?).ok()?.to_str()?;
        (!below.is_empty()).then(|| format!("{}{below}", storage::bucket::SCHEME))
    }

    fn with_path(&self, arg: &OsString) -> Result<OsString> {
        let Some(address) = self.named(arg) else { return Ok(arg.clone()) };
        let address = Address::parse(&address)?;
        let path = Store::of(&address)?.path_of(&address);
        let option =
            arg.to_str().and_then(|text| text.split_once('=')).filter(|(option, _)| option.starts_with("--"));
        let mut replaced = OsString::new();
        if let Some((option, _)) = option {
            replaced.push(format!("{option}="));
        }
        replaced.push(path);
        Ok(replaced)
    }

    /// Nothing is computed for a place where nothing is written.
    fn refuse_unwritten(&self) -> Result<()> {
        for out in self.out.iter().filter_map(|out| self.named(out)) {
            if !Address::parse(&out)?.scheme.is_written() {
                return Err(Error::request(format!(
                    "--out {out}: addresses of this kind are only read; give a folder of this machine, or s3://BUCKET/PREFIX"
                )));
            }
        }
        Ok(())
    }
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
        let arguments = Arguments { root: Some("/cache/s3/aws".into()), ..Arguments::default() };
        let of = |arg: &str| arguments.named(&OsString::from(arg));
        assert_eq!(of("s3://lake/a").as_deref(), Some("s3://lake/a"));
        assert_eq!(of("https://host/a").as_deref(), Some("https://host/a"));
        assert_eq!(of("--out=s3://lake/a").as_deref(), Some("s3://lake/a"));
        assert_eq!(of("/cache/s3/aws/lake/run").as_deref(), Some("s3://lake/run"));
        assert_eq!(of("--out=/cache/s3/aws/lake/run").as_deref(), Some("s3://lake/run"));
        for not in ["--out", "runs/a", "/cache/s3/aws", "look at s3://lake", "x=s3://lake"] {
            assert_eq!(of(not), None, "{not}");
        }
    }

    #[test]
    fn words_are_no_addresses() {
        let named = |line: &[&str]| -> Vec<String> {
            let line: Vec<OsString> = line.iter().map(OsString::from).collect();
            let arguments = Arguments::of(&line);
            line.iter().filter_map(|arg| arguments.named(arg)).collect()
        };
        assert_eq!(named(&["sae", "prompt", "gs://b/run", "--text", "https://example.org"]), ["gs://b/run"]);
        assert_eq!(
            named(&["sae", "explain", "az://c/run", "--url", "http://127.0.0.1:8080"]),
            ["az://c/run"]
        );
        assert_eq!(named(&["sae", "explain", "az://c/run", "--url=http://127.0.0.1:8080"]), ["az://c/run"]);
        let harvest = [
            "sae",
            "harvest",
            "--text",
            "https://h/text",
            "--hook",
            "blocks.0.hook_resid_post",
            "--out",
            "x",
        ];
        assert_eq!(named(&harvest), ["https://h/text"]);
    }

    #[test]
    fn what_is_only_read_is_not_written() {
        let refused = |out: &str| {
            let line = ["sae", "harvest", "--text", "t", "--hook", "blocks.0.hook_resid_post", "--out", out];
            Arguments::of(&line.map(OsString::from)).refuse_unwritten().is_err()
        };
        for (out, is_refused) in [
            ("https://h/data", true),
            ("gs://b/data", true),
            ("az://c/data", true),
            ("s3://b/data", false),
            ("data", false),
        ] {
            assert_eq!(refused(out), is_refused, "{out}");
        }
    }

    #[test]
    fn command_lines_are_told_apart() {
        let line = |args: &[&str]| of(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(line(&["sae", "a", "b"]), line(&["/bin/sae", "a", "b"]));
        assert_ne!(line(&["sae", "a", "b"]), line(&["sae", "ab"]));
    }
}
