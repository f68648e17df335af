//! The system's libraries that a window opens when it starts. A desktop has them; a bare server does not, and what then comes from
//! the libraries below is the name of a file that nobody knows how to get.

use std::path::{Path, PathBuf};

/// A library: its file, Debian's package, and whether starting without it would end in a panic of a crate.
struct Library {
    file: &'static str,
    package: &'static str,
    panics: bool,
}

const fn library(file: &'static str, package: &'static str) -> Library {
    Library { file, package, panics: false }
}

/// Tried in a bare Debian 12, one after the other: with these the window opens on an X display.
const X11: [Library; 8] = [
    library("libX11.so.6", "libx11-6"),
    library("libX11-xcb.so.1", "libx11-xcb1"),
    library("libXcursor.so.1", "libxcursor1"),
    library("libXi.so.6", "libxi6"),
    Library { file: "libxkbcommon.so.0", package: "libxkbcommon0", panics: true },
    Library { file: "libxkbcommon-x11.so.0", package: "libxkbcommon-x11-0", panics: true },
    library("libEGL.so.1", "libegl1"),
    library("libGL.so.1", "libgl1"),
];

const WAYLAND: [Library; 4] = [
    library("libwayland-client.so.0", "libwayland-client0"),
    library("libxkbcommon.so.0", "libxkbcommon0"),
    library("libEGL.so.1", "libegl1"),
    library("libGL.so.1", "libgl1"),
];

/// Where the loader looks.
struct Loader {
    folders: Vec<PathBuf>,
    /// The cache of all libraries that are installed.
    cache: Vec<u8>,
}

impl Loader {
    /// This system's; `None` where there is no cache to ask (NixOS, musl), so that nothing is known.
    fn of_system() -> Option<Self> {
        let paths = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let folders = std::env::split_paths(&paths).collect();
        Some(Self { folders, cache: std::fs::read("/etc/ld.so.cache").ok()? })
    }

    fn finds(&self, file: &str) -> bool {
        let name = [file.as_bytes(), b"\0"].concat();
        self.cache.windows(name.len()).any(|part| part == name)
            || self.folders.iter().any(|folder: &PathBuf| Path::new(folder).join(file).exists())
    }
}

/// What to install, if libraries for a display are missing that this program cannot start without.
pub fn needed_to_start(x11: bool) -> Option<String> {
    let missing = missing(x11, Loader::of_system().as_ref());
    missing.iter().any(|library| library.panics).then(|| advice(&missing))
}

/// What to install, if any library for a display is missing.
pub fn needed(x11: bool) -> Option<String> {
    let missing = missing(x11, Loader::of_system().as_ref());
    (!missing.is_empty()).then(|| advice(&missing))
}

fn missing(x11: bool, loader: Option<&Loader>) -> Vec<&'static Library> {
    let Some(loader) = loader.filter(|_| cfg!(target_os = "linux")) else { return Vec::new() };
    let all: &[Library] = if x11 { &X11 } else { &WAYLAND };
    all.iter().filter(|library| !loader.finds(library.file)).collect()
}

fn advice(missing: &[&Library]) -> String {
    let of = |name: fn(&Library) -> &'static str| {
        missing.iter().map(|library| name(library)).collect::<Vec<_>>().join(" ")
    };
    format!(
        "the window needs {}, not installed here; on Debian and Ubuntu: apt-get install {}",
        of(|library| library.file),
        of(|library| library.package)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let folder = tempfile::tempdir().unwrap();
        let mut loader = Loader { folders: vec![folder.path().to_owned()], cache: Vec::new() };
        assert_eq!(missing(true, Some(&loader)).len(), X11.len());
        loader.cache =
            X11[..5].iter().flat_map(|library| [library.file.as_bytes(), b"\0"].concat()).collect();
        std::fs::write(folder.path().join("libEGL.so.1"), "").unwrap();
        let text = advice(&missing(true, Some(&loader)));
        assert_eq!(
            text,
            "the window needs libxkbcommon-x11.so.0 libGL.so.1, not installed here; on Debian and Ubuntu: apt-get install \
             libxkbcommon-x11-0 libgl1"
        );
        assert!(missing(true, None).is_empty(), "no advice where nothing is known");
    }
}
