//! Pictures from PNG and JPEG files.

use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageReader, Limits};

use crate::interop::activations::guarded;
use crate::{Error, Result};

/// What a file is that cannot be decoded.
const DAMAGED: &str = "is not a PNG or JPEG file, or a damaged one";
/// Bytes that a decoded picture may have, and the most that its decoder may use.
const MOST_BYTES: u64 = 1 << 30;
/// Bytes of pixels that a byte of a file can stand for at most: deflate makes 1032 of one.
const MOST_FOLD: u64 = 1100;

/// A picture, `[height, width, channels]`, 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picture {
    pub width: usize,
    pub height: usize,
    /// 1: grey, 3: red, green, blue.
    pub channels: usize,
    pub pixels: Vec<f32>,
}

/// The PNG and JPEG files of `paths`, folders searched through, in order of name.
///
/// # Errors
/// Paths that cannot be read, none with a picture.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => collect(path, &mut found)?,
            Ok(_) => found.push(path.clone()),
            Err(error) => return Err(Error::io(path, error)),
        }
    }
    if found.is_empty() {
        let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
        return Err(Error::request(format!("no .png, .jpg or .jpeg file in {}", names.join(", "))));
    }
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>().map_err(|e| Error::io(folder, e))?;
    paths.sort();
    for path in paths {
        let extension = path.extension().map_or_else(String::new, |e| e.to_string_lossy().to_lowercase());
        if path.is_dir() {
            collect(&path, found)?;
        } else if ["png", "jpg", "jpeg"].contains(&extension.as_str()) {
            found.push(path);
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<ImageReader<std::io::BufReader<std::fs::File>>> {
    let reader = ImageReader::open(path).map_err(|e| Error::io(path, e))?;
    let mut reader = reader.with_guessed_format().map_err(|e| Error::io(path, e))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    Ok(reader)
}

/// Width and height, from the header alone.
///
/// # Errors
/// A file that is not a picture, a size that its bytes cannot hold.
pub(super) fn size(path: &Path) -> Result<(usize, usize)> {
    let reader = open(path)?;
    let (width, height) = guarded(path, DAMAGED, || reader.into_dimensions())?;
    let bytes = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    // Three bytes per pixel, more in PNGs of 16 bits.
    let pixels = u64::from(width) * u64::from(height) * 3;
    if pixels > MOST_BYTES || pixels / MOST_FOLD > bytes {
        let problem =
            format!("says that it is {width} × {height} pixels, which a file of {bytes} bytes cannot hold");
        return Err(Error::format(path, problem));
    }
    Ok((width as usize, height as usize))
}

impl Picture {
    /// Decodes a file.
    ///
    /// # Errors
    /// As [`size`], and damaged pixels.
    pub fn open(path: &Path, colour: bool) -> Result<Self> {
        size(path)?;
        let reader = open(path)?;
        let decoded = guarded(path, DAMAGED, || reader.decode())?;
        Ok(Self::of(&decoded, colour))
    }

    fn of(decoded: &DynamicImage, colour: bool) -> Self {
        let (width, height) = (decoded.width() as usize, decoded.height() as usize);
        let rgb = decoded.to_rgb32f().into_raw();
        if colour {
            return Self { width, height, channels: 3, pixels: rgb };
        }
        let grey = |p: &[f32; 3]| 0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2];
        Self { width, height, channels: 1, pixels: rgb.as_chunks::<3>().0.iter().map(grey).collect() }
    }

    /// Appends the patch at (`x`, `y`).
    pub fn patch(&self, x: usize, y: usize, patch: usize, out: &mut Vec<f32>) {
        let row = patch * self.channels;
        for line in y..y + patch {
            let start = (line * self.width + x) * self.channels;
            out.extend_from_slice(&self.pixels[start..start + row]);
        }
    }
}
