//! Figures as PNG: what the product draws as SVG, in points, for places that take no SVG.
//!
//! ```
//! let svg = r#"<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><text x="2" y="15">Walden</text></svg>"#;
//! let picture = sae::picture::png(svg, 2.0, "an example")?;
//! assert_eq!((picture.width, picture.height), (80, 40));
//! # Ok::<(), sae::Error>(())
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{FontResolver, Options, Tree};

use crate::{Error, Result};

/// Points on a side at most: a longer picture is refused by programs that show pictures.
const LONGEST: f32 = 32_000.0;

/// A picture in points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The file, PNG with 8 bits per channel.
    pub png: Vec<u8>,
    /// Points across.
    pub width: u32,
    /// Points down.
    pub height: u32,
    /// Letters that no font of this machine has: they are drawn as boxes.
    pub without_font: String,
}

/// A text for an SVG: without what XML keeps for itself, and what it has no sign for.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push('·'),
            c => out.push(c),
        }
    }
    out
}

/// Draws `svg` with `scale` points per unit. `software` stands in the file, before the points, as who made it.
///
/// Words are set in the fonts that the SVG names where the machine has them, else in Ubuntu Light, which the program holds: a machine
/// without any font, such as a server, draws all Latin, Greek and Cyrillic letters.
///
/// # Errors
/// Text that is not SVG; a picture of more than 32,000 points on a side.
pub fn png(svg: &str, scale: f32, software: &str) -> Result<Picture> {
    let missing = Arc::new(Mutex::new(BTreeSet::new()));
    let tree =
        Tree::from_str(svg, &options(&missing)).map_err(|e| Error::request(format!("not a figure: {e}")))?;
    let size = tree.size();
    let (width, height) = ((size.width() * scale).ceil(), (size.height() * scale).ceil());
    let too_large = || {
        Error::request(format!("a picture of {width} × {height} points; {LONGEST} on a side is the most"))
            .with_remedy("show fewer examples, or write SVG")
    };
    if width.max(height) > LONGEST {
        return Err(too_large());
    }
    let mut points = Pixmap::new(width as u32, height as u32).ok_or_else(too_large)?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut points.as_mut());
    let without_font = missing.lock().unwrap_or_else(PoisonError::into_inner).iter().collect();
    Ok(Picture {
        png: encoded(&points, software)?,
        width: points.width(),
        height: points.height(),
        without_font,
    })
}

/// The fonts, and who notes the letters that none of them has.
fn options(missing: &Arc<Mutex<BTreeSet<char>>>) -> Options<'static> {
    let mut options = Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
    let own = fonts.faces().find_map(|face| face.families.first()).map(|(name, _)| name.clone());
    let own = own.unwrap_or_default();
    fonts.load_system_fonts();
    for set in [
        resvg::usvg::fontdb::Database::set_sans_serif_family,
        resvg::usvg::fontdb::Database::set_serif_family,
        resvg::usvg::fontdb::Database::set_monospace_family,
    ] {
        set(fonts, &own);
    }
    options.font_family = own;
    let (fallback, missing) = (FontResolver::default_fallback_selector(), Arc::clone(missing));
    options.font_resolver.select_fallback = Box::new(move |letter, used, fonts| {
        let found = fallback(letter, used, fonts);
        if found.is_none() {
            missing.lock().unwrap_or_else(PoisonError::into_inner).insert(letter);
        }
        found
    });
    options
}

fn encoded(points: &Pixmap, software: &str) -> Result<Vec<u8>> {
    let wrong = |e: png::EncodingError| Error::request(format!("the picture was not encoded: {e}"));
    let plain: Vec<u8> = points
        .pixels()
        .iter()
        .flat_map(|p| {
            let c = p.demultiply();
            [c.red(), c.green(), c.blue(), c.alpha()]
        })
        .collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, points.width(), points.height());
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.add_text_chunk("Software".to_owned(), software.to_owned()).map_err(wrong)?;
    let mut writer = encoder.write_header().map_err(wrong)?;
    writer.write_image_data(&plain).map_err(wrong)?;
    writer.finish().map_err(wrong)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &[u8]) -> (Vec<u8>, u32, u32) {
        let picture = image::load_from_memory(file).unwrap().to_rgba8();
        (picture.as_raw().clone(), picture.width(), picture.height())
    }

    #[test]
    fn what_is_drawn_stands_where_the_figure_has_it_by_a_reader_of_its_own() {
        let svg = r##"<svg xmlns="http://www.w3.org/2000/svg" width="4" height="2">
            <rect width="4" height="2" fill="#ffffff"/><rect x="1" width="1" height="1" fill="#ff0000"/></svg>"##;
        let picture = png(svg, 2.0, "a test").unwrap();
        let (points, width, height) = read(&picture.png);
        assert_eq!((width, height), (8, 4));
        let at = |x: usize, y: usize| &points[(y * 8 + x) * 4..][..4];
        assert_eq!(at(2, 0), [255, 0, 0, 255]);
        assert_eq!(at(3, 1), [255, 0, 0, 255]);
        assert_eq!(at(4, 0), [255, 255, 255, 255]);
        assert_eq!(at(2, 2), [255, 255, 255, 255]);
        let head = String::from_utf8_lossy(&picture.png[..100]).into_owned();
        assert!(head.contains("Software\0a test"), "who made it stands before the points");
    }

    #[test]
    fn letters_are_drawn_whatever_fonts_the_machine_has() {
        let svg = |text: &str| {
            format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="80" height="20" font-family="'No Such Font', sans-serif">
                <text x="2" y="15">{text}</text></svg>"#
            )
        };
        let ink = |text: &str| {
            let picture = png(&svg(text), 1.0, "a test").unwrap();
            (read(&picture.png).0.chunks(4).filter(|p| p[3] > 128).count(), picture.without_font)
        };
        let (none, _) = ink("");
        let (letters, without) = ink("Walden é Ж");
        assert_eq!((none, without.as_str()), (0, ""));
        assert!(letters > 60, "{letters}");
        // Nobody has a font for a private letter, and it is named.
        assert_eq!(ink("\u{f8f3}").1, "\u{f8f3}");
    }

    #[test]
    fn what_cannot_be_a_picture_is_refused() {
        assert!(png("<html/>", 1.0, "").unwrap_err().to_string().contains("not a figure"));
        let long = r#"<svg xmlns="http://www.w3.org/2000/svg" width="9" height="40000"/>"#;
        assert!(png(long, 1.0, "").unwrap_err().to_string().contains("32000 on a side"));
    }
}
