//! The real program on a real (virtual) display, driven with the mouse. Needs Xvfb, xdotool and ImageMagick's `import`;
//! where they are missing the tests are reported as skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
        assert!(start.elapsed() < Duration::from_secs(120), "waited 120 s for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A server on a display number that nobody uses; it finds one itself.
fn display() -> (String, Running) {
    use std::io::BufRead as _;
    // Without -noreset the server starts over when the last of its clients leaves, and a window that comes at that
    // moment is lost: every xdotool is such a client.
    let screen = ["-displayfd", "1", "-screen", "0", "1360x860x24", "-nolisten", "tcp", "-noreset"];
    let mut server =
        Command::new("Xvfb").args(screen).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (format!(":{}", line.trim()), Running(server))
}

/// How many colours a picture of the whole screen has, and its mean brightness in 0..=1.
fn picture(display: &str, file: &Path) -> Option<(u32, f64)> {
    let file = file.to_str()?;
    run(display, "import", &["-window", "root", file])?;
    let found = run(display, "identify", &["-format", "%k %[fx:mean]", file])?;
    let (colours, mean) = found.split_once(' ')?;
    Some((colours.parse().ok()?, mean.parse().ok()?))
}

/// The program on a display of its own, with settings of its own.
struct Desk {
    display: String,
    home: tempfile::TempDir,
    program: Running,
    _server: Running,
    _alone: MutexGuard<'static, ()>,
}

/// One at a time: each window is drawn without a graphics card, and a person at three slow windows would be slow, too.
static ALONE: Mutex<()> = Mutex::new(());

impl Desk {
    /// `None`, and a word about it, where programs are missing.
    fn open(folder: &Path) -> Option<Self> {
        let missing: Vec<&str> =
            ["Xvfb", "xdotool", "import", "identify"].into_iter().filter(|p| !has(p)).collect();
        if !missing.is_empty() {
            let why = format!("{} not installed (Debian: xvfb xdotool imagemagick)", missing.join(", "));
            fixtures::skip("the program on a real display", &why);
            return None;
        }
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let home = tempfile::tempdir().unwrap();
        let (display, server) = display();
        wait("the display", || run(&display, "xdotool", &["getdisplaygeometry"]));
        let program = Command::new(env!("CARGO_BIN_EXE_sae-app"))
            .arg(folder)
            .env("DISPLAY", &display)
            .env("XDG_CONFIG_HOME", home.path())
            .env("XDG_RUNTIME_DIR", home.path())
            .env_remove("WAYLAND_DISPLAY")
            // No portal either: a dialog of the desktop would be drawn by a different program.
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stderr(std::fs::File::create(home.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut desk = Self { display, home, program: Running(program), _server: server, _alone: alone };
        let window = wait("a window with the folder's name", || {
            desk.check_that_it_runs();
            desk.xdotool(&["search", "--name", "^sample .* SAE Workbench$"])
        });
        // There is no window manager to do it.
        desk.xdotool(&["windowfocus", "--sync", window.lines().next().unwrap()]);
        Some(desk)
    }

    /// A program that ended will never show what is waited for; its last words are the reason.
    fn check_that_it_runs(&mut self) {
        if let Some(status) = self.program.0.try_wait().unwrap() {
            let words = std::fs::read_to_string(self.home.path().join("stderr")).unwrap_or_default();
            panic!("the program ended with {status}: {words}");
        }
    }

    fn xdotool(&self, args: &[&str]) -> Option<String> {
        run(&self.display, "xdotool", args)
    }

    fn picture(&self) -> Option<(u32, f64)> {
        picture(&self.display, &self.home.path().join("picture.png"))
    }

    fn settings(&self) -> Option<String> {
        std::fs::read_to_string(self.home.path().join("sae-workbench/window.json")).ok()
    }
}

#[test]
fn the_program_shows_a_folder_and_reacts_to_the_mouse() {
    let Some(desk) = Desk::open(&root()) else { return };
    let (_, dark) = wait("a picture", || desk.picture().filter(|(colours, _)| *colours > 100));
    assert!(dark < 0.3, "the dark look has a mean brightness of {dark}");
    // The button at the right end of the bar: dark or light.
    desk.xdotool(&["mousemove", "--sync", "1338", "18", "click", "1"]).unwrap();
    wait("the light look", || desk.picture().filter(|(_, mean)| *mean > 0.7));
    // What was chosen is remembered.
    wait("the settings", || desk.settings()?.contains("\"light\"").then_some(()));
}

#[test]
fn a_person_at_the_keyboard_finds_a_feature_and_bookmarks_it() {
    let copied = fixtures::copy(&root());
    let folder = copied.path();
    let Some(desk) = Desk::open(&folder) else { return };
    wait("a picture", || desk.picture().filter(|(colours, _)| *colours > 100));
    // The palette, a feature's number, and the next feature.
    wait("feature 9", || {
        desk.xdotool(&["key", "--clearmodifiers", "ctrl+p", "sleep", "0.5", "type", "--delay", "60", "9"])?;
        desk.xdotool(&["sleep", "0.5", "key", "Return", "sleep", "1"])?;
        desk.settings()?.contains("\"feature\": 9").then_some(())
    });
    desk.xdotool(&["key", "n"]).unwrap();
    // The next one of the table, which begins with what is explained best.
    let listed = common::facts::listed();
    let next = listed[listed.iter().position(|feature| *feature == 9).unwrap() + 1];
    wait("the next feature", || desk.settings()?.contains(&format!("\"feature\": {next}")).then_some(()));
    desk.xdotool(&["key", "b"]).unwrap();
    let run = folder.join("topk");
    wait("the bookmark", || {
        storage::notes::read(&run).ok()?.iter().any(|n| n.feature == next && n.bookmarked).then_some(())
    });
    // Back, as in a browser.
    desk.xdotool(&["key", "alt+Left"]).unwrap();
    desk.xdotool(&["key", "ctrl+q"]).unwrap();
    wait("what is remembered at the end", || desk.settings()?.contains("\"feature\": 9").then_some(()));
}

/// Opens what is typed into the palette until the settings, which keep the tabs, have all of `parts`.
fn go(desk: &Desk, typed: &str, parts: &[&str]) {
    wait(&format!("{typed}: {parts:?}"), || {
        desk.xdotool(&["key", "--clearmodifiers", "ctrl+p", "sleep", "0.4", "type", "--delay", "25", typed])?;
        desk.xdotool(&["sleep", "0.4", "key", "Return", "sleep", "0.8"])?;
        has_all(desk, parts)
    });
}

fn has_all(desk: &Desk, parts: &[&str]) -> Option<()> {
    let settings = desk.settings()?;
    parts.iter().all(|part| settings.contains(part)).then_some(())
}

/// Clicks places from the list, again and again, until the settings have all of `parts`.
fn click_until(desk: &Desk, places: &[(u32, u32)], parts: &[&str]) {
    let mut places = places.iter().cycle();
    wait(&format!("a click that gives {parts:?}"), || {
        let (x, y) = places.next()?;
        desk.xdotool(&["mousemove", "--sync", &x.to_string(), &y.to_string(), "click", "1", "sleep", "0.5"])?;
        has_all(desk, parts)
    });
}

#[test]
fn a_person_goes_from_a_document_to_experts_and_to_a_comparison() {
    let copied = fixtures::copy(&root());
    let folder = copied.path();
    let Some(desk) = Desk::open(&folder) else { return };
    wait("a picture", || desk.picture().filter(|(colours, _)| *colours > 100));
    let data = folder.join("data");
    let data = data.display();

    // A document, and a word of it with the mouse: somewhere in the text there is one.
    go(&desk, &format!("{data}#document=0"), &["\"document\": 0"]);
    let before = desk.picture();
    let words: Vec<(u32, u32)> = (0..40).map(|i| (640 + i % 8 * 40, 190 + i / 8 * 22)).collect();
    click_until(&desk, &words, &["\"token\": {"]);
    wait("the token's panel", || desk.picture().filter(|_| desk.picture() != before));
    // From token to token.
    let chosen = |settings: &str| {
        settings.split("\"token\": ").nth(2).map(|rest| rest.chars().take(3).collect::<String>())
    };
    let first = desk.settings().and_then(|s| chosen(&s));
    desk.xdotool(&["key", "Right"]).unwrap();
    wait("the next token", || {
        desk.settings().and_then(|s| chosen(&s)).filter(|now| Some(now) != first.as_ref())
    });

    // The experts, one of them, and its neighbour by key.
    go(&desk, &format!("{data}#experts"), &["\"experts\": {"]);
    go(&desk, &format!("{data}#expert=1:3"), &["\"layer\": 1", "\"expert\": 3"]);
    desk.xdotool(&["key", "n"]).unwrap();
    wait("the next expert", || has_all(&desk, &["\"layer\": 1", "\"expert\": 4"]));
    // And back.
    desk.xdotool(&["key", "alt+Left"]).unwrap();
    desk.xdotool(&["key", "ctrl+Page_Up", "key", "ctrl+Page_Down"]).unwrap();

    // Two matched dictionaries, and a pair of features with the mouse.
    go(&desk, &format!("{}#matching=small", folder.join("topk").display()), &["\"matching\": {"]);
    let before = wait("the comparison", || desk.picture().filter(|(colours, _)| *colours > 100));
    desk.xdotool(&["mousemove", "--sync", "500", "300", "click", "1"]).unwrap();
    wait("the pair's pages", || desk.picture().filter(|now| *now != before));
    // Everything that was visited is there when the program ends and begins anew.
    desk.xdotool(&["key", "ctrl+q"]).unwrap();
    wait("what is remembered", || {
        has_all(&desk, &["\"token\": {", "\"experts\": {", "\"expert\": {", "\"matching\": {"])
    });
}

/// What another program gets from the clipboard.
fn clipboard(desk: &Desk) -> Option<String> {
    run(&desk.display, "xclip", &["-selection", "clipboard", "-o"])
}

/// Puts `text` on the clipboard, as another program does. The one that offers it lives on until something else is copied.
fn offer(desk: &Desk, text: &str) {
    use std::io::Write as _;
    let mut command = Command::new("xclip");
    command.args(["-selection", "clipboard", "-i"]).env("DISPLAY", &desk.display);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait().unwrap();
    wait("the clipboard", || clipboard(desk).filter(|found| found == text));
}

#[test]
fn copying_pasting_searching_and_saving_reach_other_programs() {
    if !has("xclip") {
        return fixtures::skip("the clipboard of a real display", "xclip not installed (Debian: xclip)");
    }
    let copied = fixtures::copy(&root());
    let folder = copied.path();
    let Some(desk) = Desk::open(&folder) else { return };
    wait("a picture", || desk.picture().filter(|(colours, _)| *colours > 100));
    // A place that another program offers is pasted into the palette.
    let run = folder.join("topk");
    offer(&desk, &format!("{}#feature=9", run.display()));
    wait("feature 9, pasted", || {
        desk.xdotool(&[
            "key",
            "--clearmodifiers",
            "ctrl+p",
            "sleep",
            "0.5",
            "key",
            "ctrl+v",
            "sleep",
            "0.5",
        ])?;
        desk.xdotool(&["key", "Return", "sleep", "1"])?;
        has_all(&desk, &["\"feature\": 9"])
    });
    // Its address is copied, and another program gets it.
    offer(&desk, "something else");
    wait("the address of a different feature", || {
        desk.xdotool(&["key", "n", "sleep", "0.5", "key", "ctrl+shift+c", "sleep", "0.5"])?;
        clipboard(&desk).filter(|text| text.contains("#feature=") && !text.ends_with("#feature=9"))
    });
    // The pane in front is saved where the window proposes it, as there is no dialog.
    let picture = || {
        let folders = [run.clone(), folder.clone()];
        folders.iter().map(|f| f.join("sae-workbench.png")).find(|file| file.exists())
    };
    let file = wait("a saved picture", || {
        desk.xdotool(&["key", "ctrl+shift+s", "sleep", "1.5", "key", "Return", "sleep", "1"])?;
        picture()
    });
    assert!(std::fs::read(file).unwrap().starts_with(b"\x89PNG"));
    // A feature is searched for by the token that it fires on, and opened with the keyboard.
    let token = common::facts::explained().token.trim().to_owned();
    go(&desk, &format!("{}#features", run.display()), &["\"features\": {"]);
    wait("a feature that fires on the token", || {
        desk.xdotool(&["key", "slash", "sleep", "0.3", "key", "ctrl+a", "type", "--delay", "40", &token])?;
        desk.xdotool(&["sleep", "1", "key", "Tab", "sleep", "0.2", "key", "Escape", "sleep", "0.2"])?;
        desk.xdotool(&["key", "Home", "sleep", "0.3", "key", "Return", "sleep", "1"])?;
        let settings = desk.settings()?;
        let at = |feature: u32| settings.contains(&format!("\"feature\": {feature}"));
        let index = storage::Run::open(&run).ok()?.token_features().ok()??;
        let vocabulary = common::facts::vocabulary();
        let words = storage::token_features::spell(&token, &vocabulary.iter().map(String::as_str)).ok()?;
        let found = storage::token_features::firing_on(&index, &words).ok()?;
        found.iter().any(|one| at(one.feature)).then_some(())
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
