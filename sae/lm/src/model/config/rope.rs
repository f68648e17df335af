//! Rotary position embedding: how fast each pair of numbers turns.

use serde::Serialize;

use super::fields::Fields;
use crate::Result;

/// Rotary position embedding of one block.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RopeConfig {
    /// Base of the angles.
    pub theta: f64,
    /// How many numbers of a head are rotated.
    pub dims: usize,
    /// True if a pair is (2i, 2i + 1) instead of (i, dims/2 + i) (DeepSeek).
    pub interleaved: bool,
    /// What was done to reach longer contexts.
    pub scaling: Scaling,
}

/// How a rotary embedding was stretched to longer contexts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Not at all.
    None,
    /// Every rate divided by the factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Llama 3.1: slow rates divided, fast ones kept, smooth between.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Rates with fewer turns than this in the original context are divided.
        low: f64,
        /// Rates with more are kept.
        high: f64,
        /// The original context.
        original: f64,
    },
    /// LongRoPE (Ding et al. 2024, arXiv:2402.13753): every rate divided by a number of its own, and a factor
    /// on cosines and sines. These are the numbers for contexts up to the original one.
    Divided {
        /// A divisor for every rate, `[dims / 2]`.
        divisors: Vec<f64>,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
    },
    /// Whole heads turn, at the rates of the whole head; after the first share of them the rates are 0 (Gemma 4).
    Proportional {
        /// The share of the rates that are not 0.
        share: f64,
        /// What the rates are divided by.
        factor: f64,
    },
    /// YaRN (Peng et al. 2023, arXiv:2309.00071): a linear ramp between the two, over dimensions, and a
    /// factor on cosines and sines.
    Yarn {
        /// The factor.
        factor: f64,
        /// Dimensions with more turns than this in the original context are kept.
        beta_fast: f64,
        /// Dimensions with fewer are divided.
        beta_slow: f64,
        /// The original context.
        original: f64,
        /// Whether the ramp begins and ends at whole dimensions.
        truncate: bool,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
    },
}

fn mscale(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

impl RopeConfig {
    /// Radians a position, `[dims / 2]`.
    pub fn rates(&self) -> Vec<f64> {
        let half = self.dims / 2;
        let plain = |i: usize| self.theta.powf(-2.0 * i as f64 / self.dims as f64);
        let rate = |i: usize| match &self.scaling {
            Scaling::None => plain(i),
            Scaling::Linear { factor } => plain(i) / factor,
            Scaling::Proportional { share, factor } => match i < (share * self.dims as f64 / 2.0) as usize {
                true => plain(i) / factor,
                false => 0.0,
            },
            Scaling::Divided { divisors, .. } => plain(i) / divisors.get(i).copied().unwrap_or(1.0),
            &Scaling::Llama3 { factor, low, high, original } => {
                let turns = original * plain(i) / std::f64::consts::TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                plain(i) * (kept + (1.0 - kept) / factor)
            }
            &Scaling::Yarn { factor, .. } => {
                let (first, last) = self.ramp();
                let divided = ((i as f64 - first) / (last - first)).clamp(0.0, 1.0);
                plain(i) * (1.0 - divided + divided / factor)
            }
        };
        (0..half).map(rate).collect()
    }

    /// Where YaRN's ramp over dimensions begins and ends.
    fn ramp(&self) -> (f64, f64) {
        let Scaling::Yarn { beta_fast, beta_slow, original, truncate, .. } = self.scaling else {
            return (0.0, 1.0);
        };
        let dimension = |turns: f64| {
            self.dims as f64 * (original / (turns * std::f64::consts::TAU)).ln() / (2.0 * self.theta.ln())
        };
        let (first, last) = (dimension(beta_fast), dimension(beta_slow));
        let (first, last) = if truncate { (first.floor(), last.ceil()) } else { (first, last) };
        let (first, last) = (first.max(0.0), last.min(self.dims as f64 - 1.0));
        (first, if first == last { last + 0.001 } else { last })
    }

    /// What cosines and sines are multiplied by.
    pub fn attention_factor(&self) -> f64 {
        match self.scaling {
            Scaling::Yarn { attention_factor, .. } | Scaling::Divided { attention_factor, .. } => {
                attention_factor
            }
            _ => 1.0,
        }
    }
}

/// The configuration's fields about the rotary embedding, in the form of transformers 5 (`rope_parameters`)
/// or 4 (`rope_theta`, `rope_scaling`).
pub(super) struct RopeFields<'a> {
    all: Fields<'a>,
    own: Option<Fields<'a>>,
}

impl<'a> RopeFields<'a> {
    /// `kind` is a layer's type where `rope_parameters` has an entry for each type.
    ///
    /// # Errors
    /// `rope_parameters` or `rope_scaling` that is not an object.
    pub fn new(all: Fields<'a>, kind: Option<&'a str>) -> Result<Self> {
        let own = match all.object(&["rope_parameters", "rope_scaling"])? {
            Some(parameters) => match kind.map(|kind| parameters.object(&[kind])).transpose()?.flatten() {
                Some(of_kind) => Some(of_kind),
                None => Some(parameters),
            },
            None => None,
        };
        Ok(Self { all, own })
    }

    /// Whether the configuration has any.
    pub fn is_given(&self) -> bool {
        self.own.is_some()
    }

    /// A number of the entry, None where it has none of that name.
    ///
    /// # Errors
    /// A value that is not a finite number.
    pub fn number(&self, name: &'a str) -> Result<Option<f64>> {
        self.own.map_or(Ok(None), |own| own.number(&[name]))
    }

    fn needed(&self, name: &'a str) -> Result<f64> {
        self.number(name)?.filter(|v| *v > 0.0).ok_or_else(|| {
            self.all.error(format!("its rotary embedding has no positive {name}, which its type asks for"))
        })
    }

    /// Base: the entry's own, else `rope_theta`, else `default`.
    ///
    /// # Errors
    /// A base that is not a number above 1.
    pub fn theta(&self, names: &[&'a str], default: f64) -> Result<f64> {
        let theta = match self.number("rope_theta")? {
            Some(theta) => theta,
            None => self.all.number(names)?.unwrap_or(default),
        };
        match theta > 1.0 {
            true => Ok(theta),
            false => Err(self.all.error(format!("rope_theta is {theta}; expected more than 1"))),
        }
    }

    /// DeepSeek's correction of the attention scale: mscale² where `mscale_all_dim` is set.
    ///
    /// # Errors
    /// `mscale_all_dim` or `factor` that is not a number.
    pub fn scale_correction(&self) -> Result<f64> {
        match (self.number("mscale_all_dim")?.filter(|m| *m != 0.0), self.number("factor")?) {
            (Some(all), Some(factor)) => Ok(mscale(factor, all).powi(2)),
            _ => Ok(1.0),
        }
    }

    /// How positions beyond the first training are rotated.
    ///
    /// # Errors
    /// A type that is not read, and which are; a number or list that its type needs and the entry lacks.
    pub fn scaling(&self) -> Result<Scaling> {
        let kind = self.own.map_or(Ok(None), |own| own.text(&["rope_type", "type"]))?;
        match kind.unwrap_or("default") {
            // Of Qwen's models that see pictures: three positions, which are one where there are none.
            "default" | "mrope" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear { factor: self.needed("factor")? }),
            "llama3" => Ok(Scaling::Llama3 {
                factor: self.needed("factor")?,
                low: self.needed("low_freq_factor")?,
                high: self.needed("high_freq_factor")?,
                original: self.original()?,
            }),
            // Phi-3's first names for LongRoPE.
            "yarn" | "su" | "longrope" if self.has("short_factor") => self.longrope(),
            "longrope" | "su" => Err(self.all.error("its rotary embedding has no list short_factor")),
            "yarn" => self.yarn(),
            "proportional" => Ok(Scaling::Proportional {
                share: self.number("partial_rotary_factor")?.unwrap_or(1.0).clamp(0.0, 1.0),
                factor: self.number("factor")?.filter(|factor| *factor > 0.0).unwrap_or(1.0),
            }),
            other => Err(self.all.error(format!(
                "rope_scaling has the type `{other}`; this version reads default, linear, llama3, longrope, proportional and yarn"
            ))),
        }
    }

    /// The context up to which a model is computed, where a different rule holds after it.
    ///
    /// # Errors
    /// Lists of factors that are not numbers; no original context length where a different rule follows it.
    pub fn first_context(&self) -> Result<Option<usize>> {
        let queries_scaled = self.number("llama_4_scaling_beta")?.is_some_and(|beta| beta != 0.0);
        let long =
            self.has("short_factor") && self.numbers("short_factor")? != self.numbers("long_factor")?;
        Ok(if long || queries_scaled { Some(self.original()? as usize) } else { None })
    }

    fn has(&self, name: &'a str) -> bool {
        self.own.is_some_and(|own| own.get(&[name]).is_some())
    }

    fn numbers(&self, name: &'a str) -> Result<Vec<f64>> {
        let list = self.own.map_or(Ok(None), |own| own.list(name))?;
        let list = list.ok_or_else(|| self.all.error(format!("its rotary embedding has no list {name}")))?;
        let number = |value: &serde_json::Value| value.as_f64().filter(|n| *n > 0.0 && n.is_finite());
        let wrong = || {
            self.all
                .error(format!("{name} of its rotary embedding has something other than positive numbers"))
        };
        list.iter().map(|value| number(value).ok_or_else(wrong)).collect()
    }

    fn longrope(&self) -> Result<Scaling> {
        let divisors = self.numbers("short_factor")?;
        let attention_factor = match (self.number("attention_factor")?, self.number("factor")?) {
            (Some(given), _) => given,
            (None, factor) => {
                let original = self.original()?;
                let context = self.all.number(&["max_position_embeddings"])?.unwrap_or(original);
                let factor = factor.unwrap_or(context / original);
                if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() }
            }
        };
        Ok(Scaling::Divided { divisors, attention_factor })
    }

    /// The context before stretching.
    fn original(&self) -> Result<f64> {
        let name = "original_max_position_embeddings";
        match self
            .number(name)?
            .or(self.all.number(&[name])?)
            .or(self.all.number(&["max_position_embeddings"])?)
        {
            Some(n) if n > 0.0 => Ok(n),
            _ => Err(self.all.error(format!("its rotary embedding has no {name}"))),
        }
    }

    fn yarn(&self) -> Result<Scaling> {
        let original = self.original()?;
        let factor = match self.number("factor")? {
            Some(factor) => factor,
            None => self.all.number(&["max_position_embeddings"])?.unwrap_or(original) / original,
        };
        let implied = match (self.number("mscale")?, self.number("mscale_all_dim")?) {
            (Some(m), Some(all)) if m != 0.0 && all != 0.0 => mscale(factor, m) / mscale(factor, all),
            _ => mscale(factor, 1.0),
        };
        // transformers takes 0 for "not given".
        let or = |value: Option<f64>, default: f64| value.filter(|v| *v != 0.0).unwrap_or(default);
        Ok(Scaling::Yarn {
            factor,
            beta_fast: or(self.number("beta_fast")?, 32.0),
            beta_slow: or(self.number("beta_slow")?, 1.0),
            original,
            truncate: self.own.map_or(Ok(true), |own| own.flag("truncate", true))?,
            attention_factor: self.number("attention_factor")?.unwrap_or(implied),
        })
    }
}
