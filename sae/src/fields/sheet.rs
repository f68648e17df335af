//! All fields as one picture: a square of pixels for each, grey where it is 0, black and white where it is largest.

use crate::{Error, Result};

/// Points of the picture per pixel of a field.
const ZOOM: usize = 4;
/// Points between fields.
const GAP: usize = 3;
/// Grey of 0.
const MIDDLE: u8 = 128;
/// Grey of what is between fields.
const BETWEEN: u8 = 40;

/// The field `[side²]` in 256 greys: 128 where it is 0, 1 and 255 where it is largest.
pub fn greys(field: &[f32]) -> impl Iterator<Item = u8> {
    let largest = field.iter().fold(0.0_f32, |a, w| a.max(w.abs()));
    let share = move |value: f32| if largest > 0.0 { value / largest } else { 0.0 };
    field.iter().map(move |value| (f32::from(MIDDLE) + 127.0 * share(*value)).round() as u8)
}

/// The fields `[n, side²]` as PNG, from left to right and downwards.
pub(super) fn png(fields: &[&[f32]], side: usize) -> Result<Vec<u8>> {
    let across = (fields.len() as f64).sqrt().ceil().max(1.0) as usize;
    let down = fields.len().div_ceil(across).max(1);
    let pitch = side * ZOOM + GAP;
    let (width, height) = (across * pitch + GAP, down * pitch + GAP);
    let mut points = vec![BETWEEN; width * height];
    for (i, field) in fields.iter().enumerate() {
        let field: Vec<u8> = greys(field).collect();
        let (left, top) = (GAP + i % across * pitch, GAP + i / across * pitch);
        for (y, row) in points.chunks_exact_mut(width).skip(top).take(side * ZOOM).enumerate() {
            for (x, point) in row[left..left + side * ZOOM].iter_mut().enumerate() {
                *point = field[y / ZOOM * side + x / ZOOM];
            }
        }
    }
    let problem =
        |e: png::EncodingError| Error::request(format!("the picture of fields cannot be made: {e}"));
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(problem)?;
    writer.write_image_data(&points).map_err(problem)?;
    writer.finish().map_err(problem)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read back by the `image` crate.
    #[test]
    fn fields_lie_in_rows_each_on_its_own_scale() {
        let (a, b, c) = ([0.0, 2.0, -2.0, 1.0], [0.0; 4], [-1e-3, 1e-3, 0.0, 0.0]);
        let file = png(&[&a, &b, &c], 2).unwrap();
        let picture = image::load_from_memory(&file).unwrap().into_luma8();
        assert_eq!(picture.dimensions(), (2 * 11 + 3, 2 * 11 + 3));
        let at = |x, y| picture.get_pixel(x, y).0[0];
        assert_eq!([at(0, 0), at(3, 3), at(7, 3), at(3, 7), at(10, 10)], [40, 128, 255, 1, 192]);
        assert_eq!([at(14, 3), at(24, 20), at(3, 14), at(7, 14)], [128, 40, 1, 255]);
    }
}
