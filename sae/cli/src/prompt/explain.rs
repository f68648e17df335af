//! `sae prompt … --explain`: a prediction by few features.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{Output, Session};
use sae::Result;
use sae::prompt::{Measure, Prompter, Reading, Rest, SubsetValue, SufficientOptions, SufficientSet};

/// What of a prediction is kept.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kept {
    /// The token's probability
    Probability,
    /// Its logit, less the mean of all logits
    Logit,
}

/// What takes the place of the codes that go.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Place {
    /// Nothing
    Zero,
    /// The feature's mean over all tokens of the index
    Mean,
}

/// The prediction that is explained.
#[derive(Debug, Args)]
pub struct ExplainOptions {
    /// Find few features that keep the prediction of this token (by its text or as #NUMBER) after the last token, or after
    /// POSITION, when all other features are gone
    #[arg(long, value_name = "TOKEN[@POSITION]")]
    explain: Option<String>,
    /// With --explain: keep the prediction within P % of what it is
    #[arg(long, default_value_t = 10.0, value_name = "P", requires = "explain")]
    within: f64,
    /// With --explain: what is kept
    #[arg(long, value_enum, default_value_t = Kept::Probability, value_name = "WHAT", requires = "explain")]
    keep: Kept,
    /// With --explain: what takes the place of the other features
    #[arg(long, value_enum, default_value_t = Place::Zero, value_name = "WHAT", requires = "explain")]
    rest: Place,
}

impl ExplainOptions {
    /// The set that is asked for, if one is, compared with `draws` random ones.
    pub fn find(
        &self,
        prompter: &Prompter,
        reading: &Reading,
        draws: u16,
        session: &mut Session,
    ) -> Result<Option<SufficientSet>> {
        let Some(wanted) = &self.explain else { return Ok(None) };
        let (token, position) = super::placed(wanted, prompter, reading)?;
        let options = SufficientOptions {
            token,
            position,
            measure: match self.keep {
                Kept::Probability => Measure::Probability,
                Kept::Logit => Measure::Logit,
            },
            within: self.within / 100.0,
            rest: match self.rest {
                Place::Zero => Rest::Zero,
                Place::Mean => Rest::Mean,
            },
            draws,
            seed: session.seed.unwrap_or_default(),
        };
        prompter.sufficient_set(reading, &options, &mut session.progress).map(Some)
    }
}

/// The set as lines.
pub fn show(output: &mut Output, set: &SufficientSet, prompter: &Prompter, reading: &Reading) {
    let name = match set.measure {
        Measure::Probability => "probability",
        Measure::Logit => "logit less the mean",
    };
    let token = prompter.token_text(set.token);
    let within = 100.0 * set.within;
    output.row(
        "explained",
        format!(
            "{token:?} after token {}, {name} {}; kept within {within} %",
            set.position,
            number(set.clean)
        ),
    );
    let codes = match set.members.len() {
        0 => "no code is needed".to_owned(),
        n => format!("{n} of {} codes ({} features)", set.candidates, set.features()),
    };
    let random = set.random_spread().filter(|_| !set.members.is_empty()).map_or_else(String::new, |s| {
        format!("; random sets of this size {} ({} to {})", number(s.mean), number(s.low), number(s.high))
    });
    output.row("few features", format!("{codes}: {name} {}{random}", number(set.value)));
    output.row("no features", format!("{}: what the dictionary misses, alone", number(set.none)));
    output.row("all features", format!("{}: without what the dictionary misses", number(set.reconstruction)));
    let texts = prompter.texts(&reading.tokens);
    for member in &set.members {
        output.row(
            &format!("needs {} {:?}", member.position, texts[member.position]),
            format!("{} {:.3} ({:+.4})", member.feature, member.activation, member.attribution),
        );
    }
    for point in &set.curve {
        output.row(&format!("with {} codes", point.size), line(point));
    }
}

fn line(point: &SubsetValue) -> String {
    let random = match point.random.len() {
        0 => String::new(),
        n => {
            let mean = point.random.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
            format!(", random {}", number(mean))
        }
    };
    let (best, strongest) = (number(point.attributed), number(point.strongest));
    format!("highest attribution {best}, strongest {strongest}{random}")
}

/// Four digits: probabilities may be tiny.
fn number(x: impl Into<f64>) -> String {
    let x: f64 = x.into();
    if x != 0.0 && x.abs() < 1e-3 { format!("{x:.3e}") } else { format!("{x:.4}") }
}

/// The set for programs.
pub fn json(set: &SufficientSet, prompter: &Prompter, reading: &Reading) -> Value {
    let texts = prompter.texts(&reading.tokens);
    let mut value = json!(set);
    value["token_text"] = json!(prompter.token_text(set.token));
    value["faithfulness"] = json!(set.faithfulness(set.value));
    value["random_spread"] = json!(set.random_spread());
    for (member, of) in value["members"].as_array_mut().into_iter().flatten().zip(&set.members) {
        member["text"] = json!(texts[of.position]);
    }
    for (point, of) in value["curve"].as_array_mut().into_iter().flatten().zip(&set.curve) {
        point["faithfulness"] = json!(set.faithfulness(of.attributed));
    }
    value
}
