//! The program `sae`, started as a user types it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A test that waits longer than this for the program waits in vain.
const PATIENCE: Duration = Duration::from_secs(300);

/// The program that `cargo test` built next to this test.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.ancestors().nth(2).expect("a test is in target/PROFILE/deps");
    let program = folder.join(format!("sae{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "{} is missing: run `cargo test` for the whole workspace", program.display());
    program
}

/// Runs `sae LINE` in `folder` until it ends. Words are divided by blanks.
pub fn sae(folder: &Path, line: &str) -> Ended {
    start(folder, line).end()
}

/// As [`sae`], with these variables of the environment.
pub fn sae_with(folder: &Path, line: &str, variables: &[(&str, &str)]) -> Ended {
    start_with(folder, line, variables).end()
}

/// As [`sae`], with a limit of private writable memory in KiB, as `ulimit -d` sets it.
pub fn sae_within(folder: &Path, line: &str, kib: u64) -> Ended {
    let words: Vec<String> = line.split_whitespace().map(|word| format!("'{word}'")).collect();
    let script = format!("ulimit -d {kib} && exec '{}' {}", program().display(), words.join(" "));
    started(line, Command::new("sh").args(["-c", &script]).current_dir(folder)).end()
}

/// Starts `sae LINE` in `folder`.
pub fn start(folder: &Path, line: &str) -> Started {
    start_with(folder, line, &[])
}

/// As [`start`], with these variables of the environment.
pub fn start_with(folder: &Path, line: &str, variables: &[(&str, &str)]) -> Started {
    let mut command = Command::new(program());
    started(line, command.args(line.split_whitespace()).envs(variables.iter().copied()).current_dir(folder))
}

fn started(line: &str, command: &mut Command) -> Started {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("sae {line}: {e}"));
    Started { line: line.to_owned(), child: Some(child) }
}

/// The program at work. Dropped, it is killed.
#[derive(Debug)]
pub struct Started {
    line: String,
    /// `None` once it has ended.
    child: Option<Child>,
}

impl Started {
    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it runs until `end` takes it")
    }

    /// Waits until `there` is true or the program has ended.
    pub fn wait_until(&mut self, mut there: impl FnMut() -> bool) {
        let began = Instant::now();
        while !there() && self.child().try_wait().expect("its state").is_none() {
            assert!(began.elapsed() < PATIENCE, "`sae {}`: nothing happened in {PATIENCE:?}", self.line);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGKILL, unless it has ended already: [`Ended::killed`] tells.
    pub fn kill(mut self) -> Ended {
        // It may just have ended.
        let _ = self.child().kill();
        self.end()
    }

    /// Ctrl-C.
    pub fn interrupt(mut self) -> Ended {
        let line = format!("kill -INT {}", self.child().id());
        // It may just have ended: not waited for, its number is still its own.
        let _ = Command::new("sh").args(["-c", &line]).stderr(Stdio::null()).status();
        self.end()
    }

    /// Waits for the end.
    pub fn end(mut self) -> Ended {
        let child = self.child.take().expect("it runs");
        let output = child.wait_with_output().unwrap_or_else(|e| panic!("sae {}: {e}", self.line));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended = Ended {
            line: self.line.clone(),
            status: output.status,
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        assert!(!ended.stderr.contains("panicked at"), "a panic: {ended}");
        ended
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The program after its end. It did not panic.
#[derive(Debug)]
pub struct Ended {
    line: String,
    status: ExitStatus,
    /// The result.
    pub stdout: String,
    /// Progress and errors.
    pub stderr: String,
}

impl Ended {
    /// It must have succeeded.
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    /// Standard output as one JSON object.
    pub fn json(&self) -> Value {
        let value = serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON, {e}: {self}"));
        assert!(matches!(value, Value::Object(_)), "no JSON object: {self}");
        value
    }

    /// Exit status; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether a signal ended it.
    pub fn killed(&self) -> bool {
        self.code().is_none()
    }

    /// It must have failed with exit status `code` and said each of `parts` on standard error.
    pub fn refused(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code(), Some(code), "{self}");
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not said: {self}");
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, status, stdout, stderr } = self;
        write!(f, "`sae {line}` ended with {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}
