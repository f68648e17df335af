//! The trainer's process, and the thread that waits for it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Stage;
use crate::data::{self, Status};
use crate::load::Problem;

/// Between two looks at the process.
const PAUSE: Duration = Duration::from_millis(100);
/// How many bytes at the end of its output are looked at.
const TAIL: u64 = 4096;
/// How long an answer is at most.
const ANSWER: u64 = 8 << 20;

/// What the thread tells the window.
#[derive(Debug)]
pub struct Shared {
    stage: Mutex<Stage>,
    last_line: Mutex<String>,
    /// What it printed at its end.
    answer: Mutex<Option<String>>,
    interrupt: AtomicBool,
}

impl Shared {
    pub fn stage(&self) -> Stage {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn last_line(&self) -> String {
        self.last_line.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn answer(&self) -> Option<String> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn pause(&self) {
        if self.stage() == Stage::Running {
            self.set(Stage::Pausing);
            self.interrupt.store(true, Ordering::Release);
        }
    }

    fn new(stage: Stage) -> Self {
        Self {
            stage: Mutex::new(stage),
            last_line: Mutex::default(),
            answer: Mutex::default(),
            interrupt: AtomicBool::new(false),
        }
    }

    fn set(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }
}

/// Starts the process on a thread of its own: even a program on a sleeping disk holds up no frame. `trains` is the folder of the run
/// that it trains, whose record says whether it stopped whole.
pub fn start(
    program: PathBuf,
    arguments: Vec<OsString>,
    trains: Option<PathBuf>,
    ctx: &egui::Context,
) -> Arc<Shared> {
    let shared = Arc::new(Shared::new(Stage::Running));
    let (mine, ctx) = (Arc::clone(&shared), ctx.clone());
    let thread = std::thread::Builder::new().name("sae-process".to_owned()).spawn(move || {
        let stage = run(&program, &arguments, trains.as_deref(), &mine, &ctx).unwrap_or_else(Stage::Failed);
        mine.set(stage);
        ctx.request_repaint();
    });
    if let Err(error) = thread {
        shared.set(Stage::Failed(Problem::new(format!("Cannot start a thread for `sae`: {error}."))));
    }
    shared
}

/// Interrupts a process that trains the run in `out`, and waits until it has let go of the folder.
pub fn pause_other(process: u32, out: &Path, ctx: &egui::Context) -> Arc<Shared> {
    let shared = Arc::new(Shared::new(Stage::Pausing));
    let (mine, out, ctx) = (Arc::clone(&shared), out.to_owned(), ctx.clone());
    let thread = std::thread::Builder::new().name("sae-training".to_owned()).spawn(move || {
        let stage = match interrupt(process) {
            Ok(()) => {
                while data::run::trainer(&out) == Some(process) {
                    std::thread::sleep(PAUSE);
                }
                Stage::Paused
            }
            Err(why) => Stage::Failed(Problem::new(format!("It could not be paused: {why}."))),
        };
        mine.set(stage);
        ctx.request_repaint();
    });
    if let Err(error) = thread {
        shared.set(Stage::Failed(Problem::new(format!("Cannot start a thread to pause it: {error}."))));
    }
    shared
}

fn run(
    program: &Path,
    arguments: &[OsString],
    trains: Option<&Path>,
    shared: &Shared,
    ctx: &egui::Context,
) -> Result<Stage, Problem> {
    let output = Output::create()?;
    let mut command = Command::new(program);
    command.args(arguments).arg("--json").stdin(Stdio::null());
    command.stdout(output.writer("json")?).stderr(output.writer("log")?);
    own_group(&mut command);
    let mut child = command.spawn().map_err(|error| {
        Problem::new(format!("Cannot start `{}`: {error}.", program.display())).with_remedy(
            "Put the program `sae` next to `sae-app`, or name it as \"program\" in the window's settings.",
        )
    })?;
    let status = wait(&mut child, &output, shared, ctx)?;
    *shared.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(output.answer());
    Ok(stage(status, &output, trains, shared))
}

/// Waits for the end; passes on what the process says, and interrupts it when asked to.
fn wait(
    child: &mut Child,
    output: &Output,
    shared: &Shared,
    ctx: &egui::Context,
) -> Result<ExitStatus, Problem> {
    loop {
        let ended = child.try_wait();
        let line = output.last_line("log");
        let mut shown = shared.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown != line {
            *shown = line;
            ctx.request_repaint();
        }
        drop(shown);
        match ended {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(error) => return Err(Problem::new(format!("The process cannot be followed: {error}."))),
        }
        if shared.interrupt.swap(false, Ordering::AcqRel)
            && let Err(why) = interrupt(child.id())
        {
            shared.set(Stage::Running);
            *shared.last_line.lock().unwrap_or_else(PoisonError::into_inner) = why;
        }
        std::thread::sleep(PAUSE);
    }
}

/// What an end means: the run's own record says whether it was stopped whole, the program's answer why it
/// failed.
fn stage(status: ExitStatus, output: &Output, trains: Option<&Path>, shared: &Shared) -> Stage {
    if status.success() {
        return Stage::Finished;
    }
    let answer: Option<serde_json::Value> = serde_json::from_str(&output.answer()).ok();
    let field = |name: &str| answer.as_ref().and_then(|answer| answer.get(name)?.as_str());
    let error = field("error");
    // Of other work nothing is left that could be continued: to be interrupted is its end.
    let cancelled = shared.stage() == Stage::Pausing;
    let stopped = trains
        .map_or(cancelled, |out| data::run::read_info(out).is_ok_and(|info| info.status == Status::Stopped));
    match (error, status.code()) {
        (_, None) if trains.is_none() && cancelled => Stage::Paused,
        (Some(_), Some(1)) if stopped => Stage::Paused,
        (Some(error), _) => Stage::Failed(data::in_sentences(error, field("remedy"))),
        (None, Some(code)) => {
            let line = output.last_line("log");
            Stage::Failed(Problem::new(format!("`sae` ended with status {code}. {line}").trim_end()))
        }
        (None, None) => {
            let remedy = if trains.is_some_and(|out| out.join("checkpoints").exists()) {
                "Resume continues from the newest checkpoint."
            } else {
                "Start it again."
            };
            let what = if trains.is_some() { "The training was killed." } else { "`sae` was killed." };
            Stage::Failed(Problem::new(what).with_remedy(remedy))
        }
    }
}

/// A process group of its own: Ctrl-C in the terminal that the window was started from is not meant for the
/// training.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0);
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

/// As Ctrl-C does. By the shell: the standard library sends no signals but the one that kills.
#[cfg(unix)]
fn interrupt(process: u32) -> Result<(), String> {
    let line = format!("kill -INT {process}");
    let done = Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("process {process} cannot be interrupted")),
        Err(error) => Err(format!("`sh` cannot be started to interrupt process {process}: {error}")),
    }
}

#[cfg(not(unix))]
fn interrupt(process: u32) -> Result<(), String> {
    Err(format!("this system has no interrupts; press Ctrl-C where process {process} shows its output"))
}

/// Files that the process writes into. A pipe would break when the window ends.
struct Output {
    folder: PathBuf,
}

impl Output {
    fn create() -> Result<Self, Problem> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sae-workbench-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| unwritable(&folder, &e))?;
        Ok(Self { folder })
    }

    fn writer(&self, name: &str) -> Result<File, Problem> {
        let path = self.folder.join(name);
        File::create(&path).map_err(|e| unwritable(&path, &e))
    }

    /// What it answered, whole; nothing where that cannot be read.
    fn answer(&self) -> String {
        let file = File::open(self.folder.join("json"));
        let mut text = Vec::new();
        let read = file.and_then(|file| file.take(ANSWER).read_to_end(&mut text));
        read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&text).into_owned())
    }

    /// The end of what was written; nothing where that cannot be read.
    fn read(&self, name: &str) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(self.folder.join(name))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
            let mut bytes = Vec::new();
            file.take(TAIL).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    fn last_line(&self, name: &str) -> String {
        self.read(name)
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default()
            .trim()
            .to_owned()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Best effort: it is the system's folder for what may go.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(format!("Cannot write {}: {error}.", path.display()))
        .with_remedy("Make room on the disk, or set TMPDIR to a different folder.")
}
