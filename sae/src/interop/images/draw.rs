//! Where patches are taken.

use std::ops::Range;

use kernels::chance::{Purpose, below, generator, uniform};

use super::picture::Picture;

/// Tries for a patch that is not flat.
const TRIES: usize = 20;

/// How patches are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Pixels of a side.
    pub patch: usize,
    /// Patches whose standard deviation (of pixels in 0 to 1) is less are left out.
    pub flat: f32,
    /// Height of the held-out band, over that of the picture.
    pub held_out_share: f64,
    pub seed: u64,
}

/// Patches of one picture, drawn but not held out, then held out.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Drawn {
    pub kept: Vec<(usize, usize)>,
    pub held_out: Vec<(usize, usize)>,
    /// Tries that were flat.
    pub flat: usize,
}

/// `total` patches shared out by the number of places each picture has; the rest that division leaves goes to
/// the first.
pub(super) fn shares(sizes: &[(usize, usize)], patch: usize, total: usize) -> Vec<usize> {
    let places = |&(w, h): &(usize, usize)| {
        (w + 1).saturating_sub(patch) as u128 * (h + 1).saturating_sub(patch) as u128
    };
    let all: u128 = sizes.iter().map(places).sum();
    let mut shares: Vec<usize> = sizes
        .iter()
        .map(|size| (places(size) * total as u128).checked_div(all).unwrap_or(0) as usize)
        .collect();
    let mut rest = total - shares.iter().sum::<usize>();
    for (share, _) in shares.iter_mut().zip(sizes).filter(|(_, size)| places(size) > 0) {
        if rest == 0 {
            break;
        }
        (*share, rest) = (*share + 1, rest - 1);
    }
    shares
}

/// The rows of picture number `number` that are held out; none where it is not high enough for both.
fn band(rules: Rules, number: u64, height: usize) -> Range<usize> {
    let rows = ((rules.held_out_share * height as f64).round() as usize).max(rules.patch);
    if rules.held_out_share == 0.0 || height < rows + rules.patch {
        return 0..0;
    }
    let mut rng = generator(rules.seed, Purpose::Bands, number, 0);
    // At least one side has room for a patch.
    let top = below(height - rows + 1, &mut rng);
    let (above, below) = (top, height - rows - top);
    let top = if above.max(below) >= rules.patch { top } else { 0 };
    top..top + rows
}

/// Up to `count` places of picture number `number`. The same for the same seed, however often it is asked.
pub(super) fn draw(picture: &Picture, number: u64, count: usize, rules: Rules) -> Drawn {
    let (patch, mut drawn) = (rules.patch, Drawn::default());
    if picture.width < patch || picture.height < patch {
        return drawn;
    }
    let band = band(rules, number, picture.height);
    // Upper edges: of patches above the band, then below it; inside it.
    let above = (band.start + 1).saturating_sub(patch);
    let under = (picture.height + 1).saturating_sub(patch + band.end);
    let inside = if band.is_empty() { 0 } else { band.len() + 1 - patch };
    let mut rng = generator(rules.seed, Purpose::Patches, number, 0);
    let mut buffer = Vec::new();
    for _ in 0..count * TRIES {
        if drawn.kept.len() + drawn.held_out.len() == count {
            break;
        }
        let held_out = inside > 0 && uniform(&mut rng) < rules.held_out_share;
        let x = below(picture.width - patch + 1, &mut rng);
        let y = if held_out {
            band.start + below(inside, &mut rng)
        } else {
            let y = below(above + under, &mut rng);
            if y < above { y } else { y - above + band.end }
        };
        buffer.clear();
        picture.patch(x, y, patch, &mut buffer);
        match deviation(&buffer) < rules.flat {
            true => drawn.flat += 1,
            false if held_out => drawn.held_out.push((x, y)),
            false => drawn.kept.push((x, y)),
        }
    }
    drawn
}

fn deviation(x: &[f32]) -> f32 {
    let n = x.len() as f32;
    let mean = x.iter().sum::<f32>() / n;
    (x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize) -> Picture {
        let pixels = (0..width * height).map(|i| (i * 7919 % 251) as f32 / 250.0).collect();
        Picture { width, height, channels: 1, pixels }
    }

    const RULES: Rules = Rules { patch: 5, flat: 0.01, held_out_share: 0.2, seed: 3 };

    #[test]
    fn no_patch_that_is_trained_on_touches_the_band() {
        for number in 0..40 {
            let picture = picture(30, 11 + number as usize);
            let drawn = draw(&picture, number, 300, RULES);
            let band = band(RULES, number, picture.height);
            assert_eq!(drawn.kept.len() + drawn.held_out.len(), 300);
            assert!((30..110).contains(&drawn.held_out.len()), "{}", drawn.held_out.len());
            for (x, y) in drawn.kept.iter().chain(&drawn.held_out) {
                assert!(x + 5 <= 30 && y + 5 <= picture.height);
            }
            assert!(drawn.kept.iter().all(|(_, y)| y + 5 <= band.start || *y >= band.end));
            assert!(drawn.held_out.iter().all(|(_, y)| *y >= band.start && y + 5 <= band.end));
            assert_eq!(drawn, draw(&picture, number, 300, RULES));
        }
    }

    #[test]
    fn every_place_can_be_drawn() {
        let drawn = draw(&picture(8, 20), 1, 3000, RULES);
        let band = band(RULES, 1, 20);
        let mut edges: Vec<usize> = drawn.kept.iter().map(|(_, y)| *y).collect();
        edges.sort_unstable();
        edges.dedup();
        let expected: Vec<usize> = (0..=15).filter(|y| y + 5 <= band.start || *y >= band.end).collect();
        assert_eq!(edges, expected);
    }

    #[test]
    fn flat_patches_are_left_out_and_low_pictures_are_not_divided() {
        let grey = Picture { width: 40, height: 40, channels: 1, pixels: vec![0.5; 1600] };
        let drawn = draw(&grey, 0, 10, RULES);
        assert_eq!((drawn.kept.len(), drawn.held_out.len(), drawn.flat), (0, 0, 200));
        let low = draw(&picture(40, 9), 0, 50, RULES);
        assert_eq!((low.kept.len(), low.held_out.len()), (50, 0));
        assert_eq!(draw(&picture(4, 40), 0, 50, RULES), Drawn::default());
    }

    #[test]
    fn patches_are_shared_out_by_place() {
        assert_eq!(shares(&[(14, 14), (24, 14), (3, 99)], 5, 301), [101, 200, 0]);
        assert_eq!(shares(&[(3, 3)], 5, 10), [0]);
    }
}
