//! The real program on a real (virtual) display, driven with the mouse. Needs Xvfb, xdotool and ImageMagick's `import`;
//! where they are missing the test says so and does nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::root;

/// Ends what it started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn run(display: &str, program: &str, args: &[&str]) -> Option<String> {
    let done =
        Command::new(program).args(args).env("DISPLAY", display).stderr(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(40), "waited 40 s for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A display number that nobody uses.
fn display() -> String {
    let free = (120..180).find(|n| !Path::new(&format!("/tmp/.X{n}-lock")).exists());
    format!(":{}", free.expect("a free display number"))
}

/// How many colours a picture of the whole screen has, and its mean brightness in 0..=1.
fn picture(display: &str, file: &Path) -> Option<(u32, f64)> {
    let file = file.to_str()?;
    run(display, "import", &["-window", "root", file])?;
    let found = run(display, "identify", &["-format", "%k %[fx:mean]", file])?;
    let (colours, mean) = found.split_once(' ')?;
    Some((colours.parse().ok()?, mean.parse().ok()?))
}

#[test]
fn the_program_shows_a_folder_and_reacts_to_the_mouse() {
    let missing: Vec<&str> =
        ["Xvfb", "xdotool", "import", "identify"].into_iter().filter(|p| !has(p)).collect();
    if !missing.is_empty() {
        println!("SKIPPED: {} not installed (Debian: xvfb xdotool imagemagick)", missing.join(", "));
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let display = display();
    let screen = ["-screen", "0", "1360x860x24", "-nolisten", "tcp"];
    let _server =
        Running(Command::new("Xvfb").arg(&display).args(screen).stderr(Stdio::null()).spawn().unwrap());
    wait("the display", || run(&display, "xdotool", &["getdisplaygeometry"]));
    let _program = Running(
        Command::new(env!("CARGO_BIN_EXE_sae-app"))
            .arg(root())
            .env("DISPLAY", &display)
            .env("XDG_CONFIG_HOME", home.path())
            .env("XDG_RUNTIME_DIR", home.path())
            .env_remove("WAYLAND_DISPLAY")
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    wait("a window with the folder's name", || {
        run(&display, "xdotool", &["search", "--name", "^sample .* SAE Workbench$"])
    });
    let first = home.path().join("first.png");
    let (_, dark) = wait("a picture", || picture(&display, &first).filter(|(colours, _)| *colours > 100));
    assert!(dark < 0.3, "the dark look has a mean brightness of {dark}");
    // The button at the right end of the bar: dark or light.
    run(&display, "xdotool", &["mousemove", "--sync", "1338", "18", "click", "1"]).unwrap();
    let second = home.path().join("second.png");
    wait("the light look", || picture(&display, &second).filter(|(_, mean)| *mean > 0.7));
    // What was chosen is remembered.
    wait("the settings", || {
        let text = std::fs::read_to_string(home.path().join("sae-workbench/window.json")).ok()?;
        text.contains("\"light\"").then_some(())
    });
}

#[test]
fn help_and_version_need_no_display_and_a_window_says_that_it_does() {
    let program = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sae-app"));
        for name in ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"] {
            command.env_remove(name);
        }
        command.args(args).output().unwrap()
    };
    let help = program(&["--help"]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("#feature=123"));
    let version = program(&["--version"]);
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("sae-app {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(program(&["--nonsense"]).status.code(), Some(2));
    if cfg!(target_os = "linux") {
        let window = program(&[]);
        assert_eq!(window.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&window.stderr).contains("there is no display"));
    }
}
