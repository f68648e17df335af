//! What colours the points of a map: a number by rank, the score of an explanation, or the kind that a feature belongs to.

use std::sync::Arc;

use egui::Color32;

use crate::data::{Columns, Explanations, Kinds, Number, Points};
use crate::theme::tokens::Palette;
use crate::views::features::COLOURS;

/// Kinds that have a colour of their own; the features of all others are grey.
pub const COLOURED: usize = 8;

/// What points are coloured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColourBy {
    /// A number of the feature.
    Number(Number),
    /// The score of its best explanation.
    Score,
    /// The expert that it lives in.
    Expert,
    /// The domain of most of its strongest examples.
    Domain,
}

impl ColourBy {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        COLOURS.into_iter().map(Self::Number).chain([Self::Score, Self::Expert, Self::Domain])
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number(number) => number.name(),
            Self::Score => "score of its explanation",
            Self::Expert => "expert it lives in",
            Self::Domain => "domain of its examples",
        }
    }

    /// Whether features are of kinds, and not more or less.
    pub fn is_of_kinds(self) -> bool {
        matches!(self, Self::Expert | Self::Domain)
    }

    /// A value as people read it.
    pub fn text(self, value: f32) -> String {
        match self {
            Self::Number(number) => number.text(f64::from(value)),
            Self::Score | Self::Expert | Self::Domain => format!("{value:.2}"),
        }
    }
}

/// From what colours are made.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The features that have a place.
    pub points: &'a Points,
    /// Their numbers.
    pub columns: &'a Columns,
    /// Their explanations.
    pub explanations: Option<&'a Explanations>,
    /// Their kinds.
    pub kinds: Option<&'a Kinds>,
    /// The features that the table shows; all when `None`.
    pub shown: Option<&'a [u32]>,
}

/// The colours of points, and what they stand for.
#[derive(Debug, Default)]
pub struct Colours {
    /// One for each point.
    pub of: Arc<Vec<Color32>>,
    /// The least, the middle and the largest value.
    pub ends: Option<[f32; 3]>,
    /// Points without a value, and those that the table leaves out.
    pub grey: usize,
}

/// The colour of each point: grey when the table leaves it out or nothing is known of it.
pub fn colours(source: Source<'_>, by: ColourBy, palette: &Palette) -> Colours {
    let Source { points, columns, explanations, kinds, shown } = source;
    let mut passes = vec![shown.is_none(); columns.len()];
    for feature in shown.unwrap_or(&[]) {
        if let Some(passes) = passes.get_mut(*feature as usize) {
            *passes = true;
        }
    }
    let passes = |feature: u32| passes.get(feature as usize) == Some(&true);
    let value = |feature: u32| match by {
        ColourBy::Number(number) => Some(columns.get(number, feature)).filter(|v| v.is_finite()),
        ColourBy::Score => explanations?.score(feature),
        ColourBy::Expert | ColourBy::Domain => None,
    };
    // By rank: neither a few giants nor many dwarfs take all the colours.
    let mut sorted: Vec<f32> = points.features.iter().filter_map(|f| value(*f)).collect();
    sorted.sort_by(f32::total_cmp);
    let coloured = |feature: u32| {
        if by.is_of_kinds() {
            return kinds?.of(feature).filter(|kind| *kind < COLOURED).map(|kind| palette.curve(kind));
        }
        let value = value(feature)?;
        Some(palette.ramp(sorted.partition_point(|v| *v < value) as f32 / sorted.len() as f32))
    };
    let colour = |f: &u32| passes(*f).then(|| coloured(*f)).flatten();
    let all: Vec<Option<Color32>> = points.features.iter().map(colour).collect();
    let grey = all.iter().filter(|colour| colour.is_none()).count();
    let of = Arc::new(all.into_iter().map(|colour| colour.unwrap_or(palette.line_strong)).collect());
    let ends = sorted.last().map(|high| [sorted[0], sorted[sorted.len() / 2], *high]);
    Colours { of, ends, grey }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::tokens;

    #[test]
    fn what_the_table_leaves_out_is_grey() {
        let points = Points { features: vec![0, 2], ..Points::default() };
        let (count, density) = (vec![1; 3], vec![0.1, 0.2, 0.3]);
        let numbers = crate::data::FeatureColumns { count, density, ..Default::default() };
        let columns = Columns { numbers, ..Columns::default() };
        let p = tokens::of(egui::Theme::Dark);
        let by = ColourBy::Number(Number::Density);
        let source =
            Source { points: &points, columns: &columns, explanations: None, kinds: None, shown: None };
        let Colours { of: all, ends, grey } = colours(source, by, p);
        assert_eq!((ends, grey), (Some([0.1, 0.3, 0.3]), 0));
        assert!(all[0] != all[1] && !all.contains(&p.line_strong));
        let some = colours(Source { shown: Some(&[2, 1]), ..source }, by, p);
        assert_eq!((&some.of[..], some.grey), (&[p.line_strong, all[1]][..], 1));
        // Without kinds nothing is known of any.
        assert_eq!(colours(source, ColourBy::Expert, p).grey, 2);
        assert_eq!(colours(source, ColourBy::Score, p).ends, None);
    }
}
