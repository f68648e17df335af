//! A run's feature index: whole columns for the table, one row with its examples for the page.

/// The numbers of all features, for sorting and filtering; index = feature.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Tokens that were indexed.
    pub tokens: u64,
    /// Tokens each feature fired on.
    pub count: Vec<u64>,
    /// count / tokens.
    pub density: Vec<f32>,
    /// Mean activation where it fired.
    pub mean: Vec<f32>,
    /// Largest activation.
    pub max: Vec<f32>,
}

impl Columns {
    /// Number of features.
    pub fn len(&self) -> usize {
        self.count.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count.is_empty()
    }

    /// Whether `feature` never fired on the indexed tokens.
    pub fn dead(&self, feature: u32) -> bool {
        self.count.get(feature as usize) == Some(&0)
    }
}

/// A list of tokens for each feature, in one piece.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    tokens: Vec<u32>,
    ends: Vec<u32>,
}

impl Lists {
    /// Adds the next feature's tokens.
    pub fn push(&mut self, tokens: impl IntoIterator<Item = u32>) {
        self.tokens.extend(tokens);
        self.ends.push(self.tokens.len() as u32);
    }

    /// The tokens of `feature`; none for one that is not there.
    pub fn get(&self, feature: u32) -> &[u32] {
        let i = feature as usize;
        let Some(end) = self.ends.get(i) else { return &[] };
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        self.tokens.get(start as usize..*end as usize).unwrap_or_default()
    }
}

/// Tokens and labels of all features, for showing and searching.
#[derive(Clone, Debug, Default)]
pub struct TokenLists {
    /// The most frequent tokens that each fires on.
    pub fires_on: Lists,
    /// The tokens that each promotes most.
    pub top_logits: Lists,
    /// Features that have a label, ascending.
    pub labels: Vec<(u32, String)>,
}

impl TokenLists {
    /// What somebody called `feature`.
    pub fn label(&self, feature: u32) -> Option<&str> {
        let at = self.labels.binary_search_by_key(&feature, |(f, _)| *f).ok()?;
        Some(&self.labels[at].1)
    }
}

/// Everything the index says of one feature.
#[derive(Clone, Debug, Default)]
pub struct FeatureRow {
    /// Which.
    pub feature: u32,
    /// Its name, if it has one.
    pub label: Option<String>,
    /// Tokens it fired on.
    pub count: u64,
    /// Share of tokens.
    pub density: f32,
    /// Mean activation where it fired.
    pub mean: f32,
    /// Largest activation.
    pub max: f32,
    /// Encoder bias.
    pub bias: f32,
    /// Norm of the encoder's column.
    pub encoder_norm: f32,
    /// Norm of the decoder's row.
    pub decoder_norm: f32,
    /// Cosine of the two.
    pub encoder_decoder_cosine: f32,
    /// Counts in equal bins over (0, max].
    pub histogram: Vec<u32>,
    /// Tokens it fires on, with how often.
    pub fires_on: Vec<(u32, u32)>,
    /// Tokens it promotes, strongest first.
    pub top_logits: Vec<(u32, f32)>,
    /// Tokens it suppresses, strongest first.
    pub bottom_logits: Vec<(u32, f32)>,
    /// Nearest decoder rows with cosine.
    pub neighbours: Vec<(u32, f32)>,
    /// Features that fire on the same tokens: count and lift.
    pub coactive: Vec<(u32, u32, f32)>,
}

/// A window of text around a token that the feature fires on.
#[derive(Clone, Debug, Default)]
pub struct Example {
    /// 0 = the strongest, 1…5 = fifths of (0, max] from the strongest down, −1 = random.
    pub interval: i8,
    /// Document of the text.
    pub document: u32,
    /// Position of the token that the example is about.
    pub position: u32,
    /// Activation there.
    pub value: f32,
    /// Position of the window's first token.
    pub start: u32,
    /// The window.
    pub tokens: Vec<u32>,
    /// Activation at every token of the window.
    pub values: Vec<f32>,
}

impl Example {
    /// Index in the window of the token that the example is about.
    pub fn marked(&self) -> Option<usize> {
        let at = self.position.checked_sub(self.start)? as usize;
        (at < self.tokens.len()).then_some(at)
    }
}

/// One feature's page.
#[derive(Clone, Debug, Default)]
pub struct FeaturePage {
    /// Its numbers.
    pub row: FeatureRow,
    /// Its examples, by interval and rank.
    pub examples: Vec<Example>,
}
