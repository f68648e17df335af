//! `sae-app`: the window.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use app::args::{Args, HELP, parse};
use app::libraries;
use app::shell::{App, Options};

fn main() -> ExitCode {
    // The allocator's settings for this process belong here, before the first thread is started.

    let wanted = match parse(std::env::args_os().skip(1)) {
        Ok(wanted) => wanted,
        Err(message) => return fail(2, &message),
    };
    match wanted {
        Args::Help => print(HELP),
        Args::Version => print(concat!("sae-app ", env!("CARGO_PKG_VERSION"), "\n")),
        Args::Window(address) => {
            let (folder, place) = address.map_or((None, None), |a| (Some(a.folder), a.place));
            window(Options { folder, place, ..Options::default() })
        }
    }
}

fn window(options: Options) -> ExitCode {
    if cfg!(target_os = "linux") && !has_display() {
        return fail(
            1,
            "there is no display (neither WAYLAND_DISPLAY nor DISPLAY is set): over ssh use `ssh -X`, or make pages for your \
             browser with `sae export RUN --to html`",
        );
    }
    let x11 = !is_set("WAYLAND_DISPLAY") && !is_set("WAYLAND_SOCKET");
    if let Some(advice) = libraries::needed_to_start(x11) {
        return fail(1, &advice);
    }
    let viewport = egui::ViewportBuilder::default()
        .with_title("SAE Workbench")
        .with_app_id("sae-workbench")
        .with_inner_size([1360.0, 860.0])
        .with_min_inner_size([640.0, 420.0]);
    let native = eframe::NativeOptions { viewport, ..eframe::NativeOptions::default() };
    let made = eframe::run_native(
        "SAE Workbench",
        native,
        Box::new(|cc| Ok(Box::new(App::new(&cc.egui_ctx, options)?))),
    );
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &libraries::needed(x11).unwrap_or_else(|| no_window(&error))),
    }
}

/// Why there is no window although its libraries are installed, without the places in other crates' sources that the error may name.
fn no_window(error: &eframe::Error) -> String {
    let text = error.to_string();
    let reason = text.rsplit(".rs:").next().unwrap_or(&text);
    let reason = reason.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':' || c == ' ');
    format!(
        "the window cannot be opened: {} (is the display that DISPLAY or WAYLAND_DISPLAY names there, and does it have OpenGL? \
         On Debian and Ubuntu: apt-get install libgl1-mesa-dri)",
        reason.trim_end_matches('.')
    )
}

fn has_display() -> bool {
    ["WAYLAND_DISPLAY", "WAYLAND_SOCKET", "DISPLAY"].iter().any(|name| is_set(name))
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// A pipe that closes after `--help` is not a failure.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn fail(status: u8, message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "sae-app: {message}");
    ExitCode::from(status)
}
