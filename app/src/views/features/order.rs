//! Which features the table shows, and in which order. Computed on a worker from whole columns.

use std::collections::HashMap;
use std::sync::Arc;

use super::spread::Spread;
use crate::data::firing::{FiringFeature, worth};
use crate::data::{Columns, Explanations, Firing, Notes, Number, TokenLists, Vocabulary};

/// Columns by which the table can be sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Key {
    /// How well it answers the search; without one how well it is explained, then how often it fires.
    #[default]
    Best,
    /// Number of the feature.
    Feature,
    /// Its label, or where it has none its best explanation; features with neither last.
    Label,
    /// The score of its best explanation.
    Score,
    /// One of its numbers.
    Number(Number),
    /// Text of the token it fires on most.
    Token,
    /// Text of the token it promotes most.
    Promoted,
}

/// A column's values that pass, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Which column.
    pub number: Number,
    /// Smallest value.
    pub from: f32,
    /// Largest value.
    pub to: f32,
}

/// Features that somebody said something about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoteFilter {
    /// All of them.
    #[default]
    All,
    /// Bookmarked ones.
    Bookmarked,
    /// Those with a label, the index's or a person's.
    Labelled,
    /// Those with an explanation.
    Explained,
    /// Those with a note.
    Noted,
}

impl NoteFilter {
    /// All choices.
    pub const ALL: [Self; 5] = [Self::All, Self::Bookmarked, Self::Labelled, Self::Explained, Self::Noted];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "All features",
            Self::Bookmarked => "Bookmarked",
            Self::Labelled => "With a label",
            Self::Explained => "With an explanation",
            Self::Noted => "With a note",
        }
    }
}

/// What the person asked the table for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Text to be found in the label, an explanation, the note or one of the tokens; a number finds that
    /// feature too. `fires:`, `promotes:`, `label:`, `explained:` and `note:` look in one place only.
    pub text: String,
    /// Ranges of columns, at most one per column; NaN is in none.
    pub ranges: Vec<Range>,
    /// Whether features that never fired are left out.
    pub hide_dead: bool,
    /// Bookmarked ones, …
    pub only: NoteFilter,
    /// Features that were chosen elsewhere, ascending.
    pub within: Option<Arc<Vec<u32>>>,
    /// Sorted by …
    pub key: Key,
    /// … largest first?
    pub descending: bool,
}

impl Query {
    /// Whether every feature passes.
    pub fn is_open(&self) -> bool {
        self.text.trim().is_empty()
            && self.ranges.is_empty()
            && !self.hide_dead
            && self.only == NoteFilter::All
            && self.within.is_none()
    }

    /// The range that `number` is kept to.
    pub fn range(&self, number: Number) -> Option<Range> {
        self.ranges.iter().find(|range| range.number == number).copied()
    }

    /// Keeps `number` to a range, or lets it free.
    pub fn set_range(&mut self, number: Number, range: Option<(f32, f32)>) {
        self.ranges.retain(|range| range.number != number);
        self.ranges.extend(range.map(|(from, to)| Range { number, from, to }));
    }
}

/// From what the order is made; what is not loaded yet is left out.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The numbers.
    pub columns: &'a Columns,
    /// Tokens and labels.
    pub tokens: Option<&'a TokenLists>,
    /// What people said.
    pub notes: &'a Notes,
    /// What rules and other tools said.
    pub explanations: Option<&'a Explanations>,
    /// Texts of tokens.
    pub vocabulary: Option<&'a Vocabulary>,
    /// What fires on the text that is searched for.
    pub firing: Option<&'a Firing>,
}

impl Source<'_> {
    /// What `feature` is called: by a person, else by the index.
    pub fn label(&self, feature: u32) -> Option<&str> {
        self.notes.label(feature).or_else(|| self.tokens.and_then(|t| t.label(feature)))
    }

    /// The score of its best explanation: F1, or where it has none its largest score.
    pub fn score(&self, feature: u32) -> Option<f32> {
        self.explanations?.score(feature)
    }

    /// By what features are sorted where nobody said: by score where there are explanations, else by density.
    pub fn of_itself(&self) -> Key {
        match self.explanations {
            Some(explanations) if !explanations.is_empty() => Key::Score,
            _ => Key::Number(Number::Density),
        }
    }

    /// The best explanation of `feature`.
    pub fn explanation(&self, feature: u32) -> Option<&str> {
        self.explanations?.best(feature)
    }
}

/// The answer to a query.
#[derive(Clone, Debug, Default)]
pub struct TableOrder {
    /// The features that pass, in order.
    pub rows: Arc<Vec<u32>>,
    /// For each spread, how many of `rows` are in each of its bins.
    pub counts: Vec<Vec<u32>>,
    /// Why each of `rows` is there; empty without a search.
    pub why: Vec<MatchReason>,
}

/// Why a search found a feature, the best answer first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MatchReason {
    /// Its number was typed.
    Number,
    /// It fires on so many of so many occurrences of the text.
    FiresOn {
        /// The word of the text that is counted.
        word: usize,
        /// Occurrences on which it fires.
        count: u64,
        /// All indexed occurrences.
        occurrences: u64,
        /// Mean activation there.
        mean: f64,
    },
    /// The text is part of one of the tokens that it fires on most.
    FiresOnPart,
    /// Its label.
    Label,
    /// An explanation.
    Explanation,
    /// Its note.
    Note,
    /// One of the tokens that it promotes most.
    Promotes,
}

impl MatchReason {
    fn tier(self) -> u8 {
        match self {
            Self::Number => 0,
            Self::FiresOn { .. } => 1,
            Self::FiresOnPart => 2,
            Self::Label => 3,
            Self::Explanation => 4,
            Self::Note => 5,
            Self::Promotes => 6,
        }
    }
}

/// The features that pass `query`, in its order. Equal ones stay in the order of their numbers; numbers that
/// are not finite come last either way.
pub fn order(query: &Query, source: Source<'_>, spreads: &[Spread]) -> TableOrder {
    let columns = source.columns;
    let search = Search::new(query.text.trim(), source);
    let said = |feature: u32| match query.only {
        NoteFilter::All => true,
        NoteFilter::Bookmarked => source.notes.bookmarked(feature),
        NoteFilter::Labelled => source.label(feature).is_some(),
        NoteFilter::Explained => source.explanation(feature).is_some(),
        NoteFilter::Noted => source.notes.get(feature).is_some_and(|note| !note.text.is_empty()),
    };
    let passes = |f: &u32| {
        !(query.hide_dead && columns.dead(*f))
            && query.ranges.iter().all(|r| (r.from..=r.to).contains(&columns.get(r.number, *f)))
            && query.within.as_ref().is_none_or(|within| within.binary_search(f).is_ok())
            && said(*f)
    };
    let passing = (0..columns.len() as u32).filter(passes);
    let (mut rows, found): (Vec<u32>, HashMap<u32, MatchReason>) = match &search {
        None => (passing.collect(), HashMap::new()),
        Some(search) => {
            let found: HashMap<u32, MatchReason> =
                passing.filter_map(|f| Some((f, search.finds(f)?))).collect();
            let mut rows: Vec<u32> = found.keys().copied().collect();
            rows.sort_unstable();
            (rows, found)
        }
    };
    let all = rows.len() == columns.len();
    let count = |spread: &Spread| if all { spread.counts.clone() } else { spread.count(&rows) };
    let counts = spreads.iter().map(count).collect();
    if query.key == Key::Best && search.is_some() {
        best_first(&mut rows, &found, source);
    } else {
        sort(&mut rows, query, source);
    }
    let why = if found.is_empty() { Vec::new() } else { rows.iter().map(|f| found[f]).collect() };
    TableOrder { rows: Arc::new(rows), counts, why }
}

/// What fires on the text first, by how well it answers; then what is called so, then what promotes it.
fn best_first(rows: &mut [u32], found: &HashMap<u32, MatchReason>, source: Source<'_>) {
    let worth = |f: u32| {
        let firing = source.firing.and_then(|firing| firing.of(f));
        firing.map_or(0.0, |one| worth(one, &source.columns.numbers.density))
    };
    let tier = |f: &u32| found.get(f).map_or(u8::MAX, |why| why.tier());
    rows.sort_by(|a, b| tier(a).cmp(&tier(b)).then(worth(*b).total_cmp(&worth(*a))).then(a.cmp(b)));
}

/// Sorts by a key of 32 bits, followed by the feature's number: a million in a few hundredths of a second.
fn sort(rows: &mut [u32], query: &Query, source: Source<'_>) {
    let down = query.descending;
    match query.key {
        Key::Feature if down => rows.reverse(),
        Key::Feature => {}
        Key::Best => of_itself(rows, source),
        Key::Score => by_key(rows, down, |f| source.score(f).map(ordered)),
        Key::Number(Number::Count) => {
            // Counts beyond what a key holds do not happen: there are no more tokens than documents have
            // positions.
            let count =
                |f: u32| u32::try_from(source.columns.numbers.count[f as usize]).unwrap_or(u32::MAX - 1);
            by_key(rows, down, |f| Some(count(f).min(LAST - 1)));
        }
        Key::Number(number) => {
            let value = |f: u32| source.columns.get(number, f);
            by_key(rows, down, |f| Some(value(f)).filter(|v| v.is_finite()).map(ordered));
        }
        Key::Label => {
            // Whatever the direction, those with words are what the person wants to see.
            let shown = |f: u32| source.label(f).or_else(|| source.explanation(f));
            let labels: Vec<(u32, String)> =
                rows.iter().filter_map(|f| Some((*f, shown(*f)?.to_lowercase()))).collect();
            let ranks = ranks(labels.iter().map(|(_, label)| label.as_str()));
            let of = |f: u32| labels.binary_search_by_key(&f, |(feature, _)| *feature).ok().map(|i| ranks[i]);
            by_key(rows, down, of);
        }
        Key::Token => by_token(rows, down, source, |tokens, f| tokens.fires_on.get(f)),
        Key::Promoted => by_token(rows, down, source, |tokens, f| tokens.top_logits.get(f)),
    }
}

/// Without a question: those with the best explanations first, of the others those that fire most, the dead last.
fn of_itself(rows: &mut [u32], source: Source<'_>) {
    let falling =
        |value: Option<f32>| value.filter(|v| v.is_finite()).map_or(LAST, |v| LAST - 1 - ordered(v));
    let density = |f: u32| falling(source.columns.numbers.density.get(f as usize).copied());
    let score = |f: u32| falling(source.score(f));
    // Few are explained where there are many: the others need a key of 32 bits only.
    let (mut explained, mut others): (Vec<u32>, Vec<u32>) = rows.iter().partition(|f| score(**f) != LAST);
    explained.sort_unstable_by_key(|f| (score(*f), density(*f), *f));
    by_key(&mut others, false, |f| Some(density(f)));
    for (row, sorted) in rows.iter_mut().zip(explained.into_iter().chain(others)) {
        *row = sorted;
    }
}

/// The key of what has none: it comes last either way.
const LAST: u32 = u32::MAX;

/// Sorts ascending `rows` by `key`; equal ones stay in the order of their numbers.
fn by_key(rows: &mut [u32], down: bool, key: impl Fn(u32) -> Option<u32>) {
    let directed = |key: u32| if down { LAST - 1 - key } else { key };
    let mut keys: Vec<u64> =
        rows.iter().map(|f| u64::from(key(*f).map_or(LAST, directed)) << 32 | u64::from(*f)).collect();
    keys.sort_unstable();
    for (row, key) in rows.iter_mut().zip(keys) {
        *row = key as u32;
    }
}

/// A number that is as large among others as `value` is among finite numbers, and less than [`LAST`].
fn ordered(value: f32) -> u32 {
    // Two zeros are one number.
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The place of each text among all different ones.
fn ranks<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<u32> {
    let texts: Vec<&str> = texts.collect();
    let mut sorted = texts.clone();
    sorted.sort_unstable();
    sorted.dedup();
    texts.iter().map(|text| sorted.partition_point(|other| other < text) as u32).collect()
}

/// Sorts by the text of the first token of a list, without the spaces around it and whatever the case.
fn by_token(
    rows: &mut [u32],
    down: bool,
    source: Source<'_>,
    list: impl for<'a> Fn(&'a TokenLists, u32) -> &'a [u32],
) {
    let Some(tokens) = source.tokens else { return by_key(rows, down, |_| None) };
    let texts: Vec<String> = source.vocabulary.map_or_else(Vec::new, |vocabulary| {
        let text = |token: u32| vocabulary.get(token).unwrap_or_default().trim().to_lowercase();
        (0..vocabulary.len() as u32).map(text).collect()
    });
    // A token whose text is not known is sorted as an empty one; a feature without tokens has none.
    let ranks = ranks(std::iter::once("").chain(texts.iter().map(String::as_str)));
    let rank = |token: u32| ranks.get(token as usize + 1).copied().unwrap_or(ranks[0]);
    by_key(rows, down, |f| list(tokens, f).first().map(|token| rank(*token)));
}

/// Where a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Anywhere,
    FiresOn,
    Promotes,
    Label,
    Explained,
    Note,
}

const PREFIXES: [(&str, Place); 5] = [
    ("fires:", Place::FiresOn),
    ("promotes:", Place::Promotes),
    ("label:", Place::Label),
    ("explained:", Place::Explained),
    ("note:", Place::Note),
];

/// What is searched for, prepared once.
struct Search<'a> {
    place: Place,
    number: Option<u32>,
    needle: String,
    wanted: Vec<bool>,
    source: Source<'a>,
}

impl<'a> Search<'a> {
    fn new(text: &str, source: Source<'a>) -> Option<Self> {
        let prefix =
            PREFIXES.into_iter().find_map(|(prefix, place)| Some((text.strip_prefix(prefix)?, place)));
        let (text, place) = prefix.unwrap_or((text, Place::Anywhere));
        // Behind a prefix a space counts: it begins a word.
        let text = if place == Place::Anywhere { text.trim() } else { text };
        if text.is_empty() {
            return None;
        }
        let wanted = source.vocabulary.map(|v| v.containing(text)).unwrap_or_default();
        let number = if place == Place::Anywhere { text.parse().ok() } else { None };
        Some(Self { place, number, needle: text.trim().to_lowercase(), wanted, source })
    }

    /// Why `feature` is found; none where it is not.
    fn finds(&self, feature: u32) -> Option<MatchReason> {
        let looks = |place| self.place == Place::Anywhere || self.place == place;
        let wanted = |list: &[u32]| list.iter().any(|t| self.wanted.get(*t as usize) == Some(&true));
        let has = |text: &str| text.to_lowercase().contains(&self.needle);
        let tokens = self.source.tokens;
        let said = |e: &Explanations| e.of(feature).iter().any(|said| has(&said.explanation.text));
        if self.number == Some(feature) {
            return Some(MatchReason::Number);
        }
        if looks(Place::FiresOn) {
            if let Some(one) = self.source.firing.and_then(|firing| firing.of(feature)) {
                let FiringFeature { word, count, occurrences, mean, .. } = *one;
                return Some(MatchReason::FiresOn { word, count, occurrences, mean });
            }
            if tokens.is_some_and(|t| wanted(t.fires_on.get(feature))) {
                return Some(MatchReason::FiresOnPart);
            }
        }
        let noted = || self.source.notes.get(feature).is_some_and(|note| has(&note.text));
        if looks(Place::Label) && self.source.label(feature).is_some_and(has) {
            Some(MatchReason::Label)
        } else if looks(Place::Explained) && self.source.explanations.is_some_and(said) {
            Some(MatchReason::Explanation)
        } else if looks(Place::Note) && noted() {
            Some(MatchReason::Note)
        } else if looks(Place::Promotes) && tokens.is_some_and(|t| wanted(t.top_logits.get(feature))) {
            Some(MatchReason::Promotes)
        } else {
            None
        }
    }
}

/// The text whose tokens a search asks about; none where it looks elsewhere. After `fires:` a space counts.
pub fn fired_on(text: &str) -> Option<String> {
    let text = text.trim_end();
    match PREFIXES
        .into_iter()
        .find_map(|(prefix, place)| Some((text.trim_start().strip_prefix(prefix)?, place)))
    {
        Some((rest, Place::FiresOn)) if rest.starts_with(' ') && !rest.trim().is_empty() => {
            Some(format!("\"{rest}\""))
        }
        Some((rest, Place::FiresOn)) if !rest.is_empty() => Some(rest.to_owned()),
        Some(_) => None,
        None => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::FeatureColumns;
    use crate::data::Kept as _;
    use crate::data::explanations::Explanation;
    use crate::data::notes::{Change, Edit};

    fn table() -> (Columns, TokenLists, Vocabulary, Notes) {
        let vocabulary = Vocabulary::from_texts([" the", "Forest", " forest", "zebra"]);
        let mut tokens = TokenLists::default();
        for (fires, promotes) in
            [(vec![0, 1], vec![]), (vec![3], vec![2]), (vec![2], vec![]), (vec![], vec![])]
        {
            tokens.fires_on.push(fires);
            tokens.top_logits.push(promotes);
        }
        tokens.labels = vec![(1, "Animals".into())];
        let numbers = FeatureColumns {
            count: vec![50, 10, 10, 0],
            density: vec![0.5, 0.1, 0.1, 0.0],
            mean: vec![1.0, f32::NAN, 3.0, 2.0],
            max: vec![2.0, 4.0, 3.0, 0.0],
            bias: vec![0.0, -1.0, -2.0, 1.0],
            ..FeatureColumns::default()
        };
        let columns = Columns { tokens: 100, numbers, ..Columns::default() };
        let mut notes = Notes::default();
        for (feature, change) in [
            (2, Change::Label("Woods".into())),
            (2, Change::Text("see Thoreau".into())),
            (3, Change::Bookmarked(true)),
        ] {
            notes.apply(&Edit { feature, change });
        }
        (columns, tokens, vocabulary, notes)
    }

    /// Of features 1, which has a label, and 3, which has none.
    fn explanations() -> Explanations {
        let said = |feature, text: &str| Explanation { feature, text: text.into(), ..Explanation::default() };
        Explanations::new(vec![(
            "rules".into(),
            vec![said(1, "on Beasts"), said(3, "after ‹x›"), said(3, "Second")],
        )])
    }

    #[allow(clippy::needless_pass_by_value)]
    fn ask(query: Query) -> Vec<u32> {
        let (columns, tokens, vocabulary, notes) = table();
        let source = Source {
            columns: &columns,
            tokens: Some(&tokens),
            notes: &notes,
            explanations: Some(&explanations()),
            vocabulary: Some(&vocabulary),
            firing: None,
        };
        order(&query, source, &[]).rows.to_vec()
    }

    #[test]
    fn sorts_by_every_column_with_equal_ones_in_order() {
        let by = |key, descending| ask(Query { key, descending, ..Query::default() });
        let number = |number, descending| by(Key::Number(number), descending);
        assert_eq!(by(Key::Feature, false), [0, 1, 2, 3]);
        assert_eq!(by(Key::Feature, true), [3, 2, 1, 0]);
        assert_eq!(number(Number::Density, true), [0, 1, 2, 3]);
        assert_eq!(number(Number::Density, false), [3, 1, 2, 0]);
        assert_eq!(number(Number::Count, true), [0, 1, 2, 3]);
        assert_eq!(number(Number::Max, true), [1, 2, 0, 3]);
        assert_eq!(
            number(Number::Mean, true),
            [2, 0, 1, 3],
            "what is not a number, or of a dead feature, comes last"
        );
        assert_eq!(number(Number::Mean, false), [0, 2, 1, 3], "… either way");
        assert_eq!(number(Number::Bias, false), [2, 1, 0, 3]);
        assert_eq!(
            by(Key::Label, false),
            [3, 1, 2, 0],
            "“after”, “Animals”, “Woods”: an explanation where there is no label"
        );
        assert_eq!(by(Key::Label, true), [2, 1, 3, 0], "those with words first either way");
        assert_eq!(by(Key::Token, false), [2, 0, 1, 3]);
        assert_eq!(by(Key::Token, true), [1, 0, 2, 3]);
        assert_eq!(by(Key::Promoted, false), [1, 0, 2, 3]);
    }

    #[test]
    fn filters_by_text_number_ranges_and_life() {
        let find = |text: &str| ask(Query { text: text.into(), ..Query::default() });
        assert_eq!(find("forest"), [0, 2, 1], "those that fire on it before the one that promotes it");
        assert_eq!(find("fires:forest"), [0, 2]);
        assert_eq!(find("fires: forest"), [2], "with the space before it");
        assert_eq!(find("promotes:forest"), [1]);
        assert_eq!(find("ANIM"), [1]);
        assert_eq!(find("label:woods"), [2]);
        assert_eq!(find("beasts"), [1], "an explanation is found even where a label is shown");
        assert_eq!(find("explained:after"), [3]);
        assert_eq!(find("second"), [3], "not only the best");
        assert_eq!(find("label:after"), [0; 0]);
        assert_eq!(find("note:woods"), [0; 0]);
        assert_eq!(find("thoreau"), [2]);
        assert_eq!(find("3"), [3]);
        assert_eq!(find("nothing"), [0; 0]);
        assert_eq!(ask(Query { hide_dead: true, ..Query::default() }), [0, 1, 2]);
        let range =
            |number, from, to| ask(Query { ranges: vec![Range { number, from, to }], ..Query::default() });
        assert_eq!(range(Number::Density, 0.2, 1.0), [0]);
        assert_eq!(range(Number::Density, 0.01, 0.2), [1, 2]);
        assert_eq!(range(Number::Mean, 0.0, 9.0), [0, 2], "what is not a number is in no range");
        let only = |only| ask(Query { only, ..Query::default() });
        assert_eq!(only(NoteFilter::Bookmarked), [3]);
        assert_eq!(only(NoteFilter::Labelled), [1, 2]);
        assert_eq!(only(NoteFilter::Explained), [1, 3]);
        assert_eq!(only(NoteFilter::Noted), [2]);
        assert_eq!(ask(Query { within: Some(Arc::new(vec![1, 3])), ..Query::default() }), [1, 3]);
    }

    #[test]
    fn what_fires_on_the_text_comes_first_and_says_how_often() {
        let (columns, tokens, vocabulary, notes) = table();
        let one = |feature, count| FiringFeature { feature, word: 0, count, occurrences: 10, mean: 1.0 };
        // Feature 0 fires on half of all tokens: that it fires on half of these says nothing.
        let firing = Firing::new(vec![one(0, 5), one(2, 3), one(3, 0)]);
        let explanations = explanations();
        let source = Source {
            columns: &columns,
            tokens: Some(&tokens),
            notes: &notes,
            explanations: Some(&explanations),
            vocabulary: Some(&vocabulary),
            firing: Some(&firing),
        };
        let query = Query { text: "forest".into(), ..Query::default() };
        let answer = order(&query, source, &[]);
        assert_eq!(*answer.rows, [2, 0, 3, 1]);
        assert_eq!(answer.why[0], MatchReason::FiresOn { word: 0, count: 3, occurrences: 10, mean: 1.0 });
        assert_eq!(answer.why[3], MatchReason::Promotes);
        // An order that was asked for stays, and so do the reasons.
        let by_density = Query { key: Key::Number(Number::Density), descending: true, ..query };
        let answer = order(&by_density, source, &[]);
        assert_eq!(*answer.rows, [0, 1, 2, 3]);
        assert_eq!(answer.why[1], MatchReason::Promotes);
        assert!(order(&Query::default(), source, &[]).why.is_empty());
    }

    #[test]
    fn only_a_search_for_tokens_asks_what_fires_on_them() {
        assert_eq!(fired_on(" court "), Some("court".into()));
        assert_eq!(fired_on("fires: court"), Some("\" court\"".into()));
        assert_eq!(fired_on("fires:court"), Some("court".into()));
        assert_eq!((fired_on("label:court"), fired_on("fires:"), fired_on(" ")), (None, None, None));
    }

    /// What there is when nothing but the numbers has been read.
    fn bare<'a>(columns: &'a Columns, notes: &'a Notes) -> Source<'a> {
        Source { columns, tokens: None, notes, explanations: None, vocabulary: None, firing: None }
    }

    #[test]
    fn works_before_tokens_are_loaded() {
        let (columns, ..) = table();
        let notes = Notes::default();
        let source = bare(&columns, &notes);
        let query = Query { key: Key::Token, ..Query::default() };
        assert_eq!(*order(&query, source, &[]).rows, [0, 1, 2, 3]);
    }

    #[test]
    fn what_passes_is_counted_in_the_bins_of_all() {
        let (columns, ..) = table();
        let notes = Notes::default();
        let source = bare(&columns, &notes);
        let spreads = super::super::spread::all(&columns);
        let all = order(&Query::default(), source, &spreads);
        assert!(spreads.iter().zip(&all.counts).all(|(spread, counts)| spread.counts == *counts));
        let few = order(
            &Query { ranges: vec![Range { number: Number::Max, from: 3.5, to: 9.0 }], ..Query::default() },
            source,
            &spreads,
        );
        assert_eq!(*few.rows, [1]);
        assert!(few.counts.iter().all(|counts| counts.iter().sum::<u32>() <= 1));
    }
}
