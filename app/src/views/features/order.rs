//! Which features the table shows, and in which order. Computed on a worker from whole columns.

use std::cmp::Ordering;

use crate::data::{Columns, TokenLists, Vocabulary};

/// Columns by which the table can be sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// Number of the feature.
    #[default]
    Feature,
    /// Its label; unlabelled ones last.
    Label,
    /// Share of tokens it fires on.
    Density,
    /// Tokens it fired on.
    Count,
    /// Mean activation where it fires.
    Mean,
    /// Largest activation.
    Max,
    /// Text of the token it fires on most.
    Token,
}

/// What the person asked the table for.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Text to be found in the label or in one of the tokens; a number finds that feature too.
    pub text: String,
    /// Smallest density, 0..=1.
    pub min_density: f32,
    /// Largest density, 0..=1.
    pub max_density: f32,
    /// Whether features that never fired are left out.
    pub hide_dead: bool,
    /// Sorted by …
    pub key: Key,
    /// … largest first?
    pub descending: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            text: String::new(),
            min_density: 0.0,
            max_density: 1.0,
            hide_dead: false,
            key: Key::Feature,
            descending: false,
        }
    }
}

impl Query {
    /// Whether every feature passes.
    pub fn is_open(&self) -> bool {
        self.text.trim().is_empty() && self.min_density <= 0.0 && self.max_density >= 1.0 && !self.hide_dead
    }
}

/// The features that pass `query`, in its order. Equal ones stay in the order of their numbers; numbers that are not
/// finite come last either way.
pub fn order(
    query: &Query,
    columns: &Columns,
    tokens: Option<&TokenLists>,
    vocabulary: Option<&Vocabulary>,
) -> Vec<u32> {
    let search = Search::new(query.text.trim(), tokens, vocabulary);
    let mut rows: Vec<u32> = (0..columns.len() as u32)
        .filter(|f| {
            let density = columns.density[*f as usize];
            !(query.hide_dead && columns.dead(*f))
                && density >= query.min_density
                && density <= query.max_density
                && search.as_ref().is_none_or(|s| s.finds(*f))
        })
        .collect();
    sort(&mut rows, query, columns, tokens, vocabulary);
    rows
}

fn sort(
    rows: &mut [u32],
    query: &Query,
    columns: &Columns,
    tokens: Option<&TokenLists>,
    vocabulary: Option<&Vocabulary>,
) {
    let down = query.descending;
    let by_number = |rows: &mut [u32], values: &[f32]| {
        rows.sort_by(|a, b| numbers(values[*a as usize], values[*b as usize], down));
    };
    match query.key {
        Key::Feature if down => rows.reverse(),
        Key::Feature => {}
        Key::Density => by_number(rows, &columns.density),
        Key::Mean => by_number(rows, &columns.mean),
        Key::Max => by_number(rows, &columns.max),
        Key::Count => {
            rows.sort_by(|a, b| directed(columns.count[*a as usize].cmp(&columns.count[*b as usize]), down));
        }
        Key::Label => {
            let label = |f: u32| tokens.and_then(|t| t.label(f)).unwrap_or_default().to_lowercase();
            rows.sort_by_cached_key(|f| label(*f));
            if down {
                rows.reverse();
            }
            // Whatever the direction, the labelled ones are what the person wants to see.
            rows.sort_by_key(|f| tokens.and_then(|t| t.label(*f)).is_none());
        }
        Key::Token => {
            let first = |f: u32| {
                let token = tokens.and_then(|t| t.fires_on.get(f).first());
                token
                    .and_then(|t| vocabulary.and_then(|v| v.get(*t)))
                    .unwrap_or_default()
                    .trim()
                    .to_lowercase()
            };
            rows.sort_by_cached_key(|f| first(*f));
            if down {
                rows.reverse();
            }
            rows.sort_by_key(|f| tokens.is_none_or(|t| t.fires_on.get(*f).is_empty()));
        }
    }
}

fn directed(order: Ordering, down: bool) -> Ordering {
    if down { order.reverse() } else { order }
}

fn numbers(a: f32, b: f32, down: bool) -> Ordering {
    match (a.is_finite(), b.is_finite()) {
        (true, true) => directed(a.total_cmp(&b), down),
        (a, b) => b.cmp(&a),
    }
}

/// What is searched for, prepared once.
struct Search<'a> {
    number: Option<u32>,
    needle: String,
    wanted: Vec<bool>,
    tokens: Option<&'a TokenLists>,
}

impl<'a> Search<'a> {
    fn new(text: &str, tokens: Option<&'a TokenLists>, vocabulary: Option<&Vocabulary>) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let wanted = vocabulary.map(|v| v.containing(text)).unwrap_or_default();
        Some(Self { number: text.parse().ok(), needle: text.to_lowercase(), wanted, tokens })
    }

    fn finds(&self, feature: u32) -> bool {
        let wanted = |list: &[u32]| list.iter().any(|t| self.wanted.get(*t as usize) == Some(&true));
        self.number == Some(feature)
            || self.tokens.is_some_and(|t| {
                t.label(feature).is_some_and(|l| l.to_lowercase().contains(&self.needle))
                    || wanted(t.fires_on.get(feature))
                    || wanted(t.top_logits.get(feature))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> (Columns, TokenLists, Vocabulary) {
        let vocabulary = Vocabulary::from_texts([" the", "Forest", " forest", "zebra"]);
        let mut tokens = TokenLists::default();
        for fires in [vec![0, 1], vec![3], vec![2], vec![]] {
            tokens.fires_on.push(fires);
            tokens.top_logits.push([]);
        }
        tokens.labels = vec![(1, "Animals".into())];
        let columns = Columns {
            tokens: 100,
            count: vec![50, 10, 10, 0],
            density: vec![0.5, 0.1, 0.1, 0.0],
            mean: vec![1.0, f32::NAN, 3.0, 2.0],
            max: vec![2.0, 4.0, 3.0, 0.0],
        };
        (columns, tokens, vocabulary)
    }

    #[allow(clippy::needless_pass_by_value)]
    fn ask(query: Query) -> Vec<u32> {
        let (columns, tokens, vocabulary) = table();
        order(&query, &columns, Some(&tokens), Some(&vocabulary))
    }

    #[test]
    fn sorts_by_every_column_with_equal_ones_in_order() {
        let by = |key, descending| ask(Query { key, descending, ..Query::default() });
        assert_eq!(by(Key::Feature, false), [0, 1, 2, 3]);
        assert_eq!(by(Key::Feature, true), [3, 2, 1, 0]);
        assert_eq!(by(Key::Density, true), [0, 1, 2, 3]);
        assert_eq!(by(Key::Density, false), [3, 1, 2, 0]);
        assert_eq!(by(Key::Count, true), [0, 1, 2, 3]);
        assert_eq!(by(Key::Max, true), [1, 2, 0, 3]);
        assert_eq!(by(Key::Mean, true), [2, 3, 0, 1], "what is no number comes last");
        assert_eq!(by(Key::Mean, false), [0, 3, 2, 1], "… either way");
        assert_eq!(by(Key::Label, false)[0], 1);
        assert_eq!(by(Key::Label, true)[0], 1, "labelled ones first either way");
        assert_eq!(by(Key::Token, false), [2, 0, 1, 3]);
    }

    #[test]
    fn filters_by_text_number_density_and_life() {
        let find = |text: &str| ask(Query { text: text.into(), ..Query::default() });
        assert_eq!(find("forest"), [0, 2]);
        assert_eq!(find("ANIM"), [1]);
        assert_eq!(find("3"), [3]);
        assert_eq!(find("nothing"), [0; 0]);
        assert_eq!(ask(Query { hide_dead: true, ..Query::default() }), [0, 1, 2]);
        assert_eq!(ask(Query { min_density: 0.2, ..Query::default() }), [0]);
        assert_eq!(ask(Query { max_density: 0.2, min_density: 0.01, ..Query::default() }), [1, 2]);
    }

    #[test]
    fn works_before_tokens_are_loaded() {
        let (columns, ..) = table();
        let query = Query { key: Key::Token, ..Query::default() };
        assert_eq!(order(&query, &columns, None, None), [0, 1, 2, 3]);
    }
}
