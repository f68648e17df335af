//! The numbers that every feature has: what their columns are called, what they mean, how they are written.

use super::format;

/// A number that every feature has: by it the table can be sorted and filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// Layer of a cross-layer transcoder.
    Layer,
    /// Share of tokens it fires on.
    Density,
    /// Tokens it fired on.
    Count,
    /// Mean activation where it fires.
    Mean,
    /// Largest activation.
    Max,
    /// Encoder bias.
    Bias,
    /// Norm of the encoder's column.
    EncoderNorm,
    /// Norm of the decoder's row.
    DecoderNorm,
    /// Cosine of the two.
    Cosine,
    /// Tokens of training by which it had fired.
    Born,
    /// Tokens of training from which on its direction is its final one.
    Settled,
    /// Sum of its movements in training.
    Moved,
}

impl Number {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::Layer,
        Self::Density,
        Self::Count,
        Self::Mean,
        Self::Max,
        Self::Cosine,
        Self::Bias,
        Self::EncoderNorm,
        Self::DecoderNorm,
        Self::Born,
        Self::Settled,
        Self::Moved,
    ];

    /// Head of its column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Density => "density",
            Self::Count => "tokens",
            Self::Mean => "mean",
            Self::Max => "max",
            Self::Bias => "bias",
            Self::EncoderNorm => "encoder norm",
            Self::DecoderNorm => "decoder norm",
            Self::Cosine => "enc · dec",
            Self::Born => "born",
            Self::Settled => "settled",
            Self::Moved => "moved",
        }
    }

    /// What it is.
    pub fn about(self) -> &'static str {
        match self {
            Self::Layer => "Layer whose MLP's input it reads, in a cross-layer transcoder",
            Self::Density => "Share of tokens it fires on; the bar is logarithmic",
            Self::Count => "Tokens it fired on",
            Self::Mean => "Mean activation where it fires",
            Self::Max => "Largest activation",
            Self::Bias => "Bias of its encoder",
            Self::EncoderNorm => "Norm of its encoder column",
            Self::DecoderNorm => "Norm of its decoder row",
            Self::Cosine => "Cosine of its encoder column and its decoder row",
            Self::Born => {
                "Tokens of training by which it had fired first; – where it never did or the run has no history"
            }
            Self::Settled => {
                "Tokens of training at which its direction settled: from there on its cosine with the final one is 0.9 or more"
            }
            Self::Moved => {
                "Sum over the snapshots of training of 1 − cosine of its decoder row with the one before"
            }
        }
    }

    /// Whether it runs over decades, and only for features that fire.
    pub fn is_logarithmic(self) -> bool {
        matches!(self, Self::Density | Self::Count | Self::Mean | Self::Max | Self::Born)
    }

    /// Whether the table shows it at first.
    pub fn is_shown_at_first(self) -> bool {
        matches!(self, Self::Density | Self::Count | Self::Mean | Self::Max)
    }

    /// As people read it.
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Density => format::percent(value),
            Self::Layer if value.is_finite() => format!("{value:.0}"),
            Self::Count => format::count(value.max(0.0).round() as u64),
            Self::Born | Self::Settled if value.is_finite() => format::count(value.max(0.0).round() as u64),
            _ => format::value(value),
        }
    }
}
