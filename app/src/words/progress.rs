//! The lines by which `sae` says how far it is: `train: 50 %, 30 s left, 12.3 k tokens/s  loss 5.24`.

use super::format;

/// One such line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProgressLine {
    /// What is being done.
    pub stage: String,
    /// How much of it is done, 0 to 1; none where nobody knows how much there is.
    pub share: Option<f32>,
    /// Time left, as the program says it.
    pub left: Option<String>,
    /// The rest: the rate and what goes with it.
    pub rest: String,
}

impl ProgressLine {
    /// Reads a line; one that is not of this kind is all stage.
    pub fn parse(line: &str) -> Self {
        let line = line.trim();
        let Some((stage, rest)) = line.split_once(": ") else {
            return Self { stage: line.trim_end_matches(['…', ' ']).to_owned(), ..Self::default() };
        };
        let mut parsed = Self { stage: stage.to_owned(), rest: rest.to_owned(), ..Self::default() };
        if let Some((share, after)) = rest.split_once(" %")
            && let Ok(share) = share.trim().parse::<f32>()
        {
            parsed.share = Some((share / 100.0).clamp(0.0, 1.0));
            let mut parts: Vec<&str> =
                after.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
            if let Some(at) = parts.iter().position(|part| part.ends_with(" left")) {
                parsed.left = Some(parts.remove(at).to_owned());
            }
            parsed.rest = parts.join(", ");
        }
        parsed
    }

    /// With what is known better than the last line says: `done` of `total`.
    #[must_use]
    pub fn at_least(mut self, done: u64, total: u64) -> Self {
        if total > 0 {
            let share = (done as f32 / total as f32).clamp(0.0, 1.0);
            self.share = Some(self.share.map_or(share, |said| said.max(share)));
        }
        self
    }

    /// In one line: `50 % · 30 s left · 12.3 k tokens/s`.
    pub fn words(&self) -> String {
        let share = self.share.map(|share| format::percent(f64::from(share)));
        let rest = Some(self.rest.clone()).filter(|rest| !rest.is_empty());
        let parts: Vec<String> = [share, self.left.clone(), rest].into_iter().flatten().collect();
        parts.join(" · ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_program_are_read() {
        let line = ProgressLine::parse("train: 50 %, 3 min 05 s left, 12.3 k tokens/s  loss 5.24");
        assert_eq!((line.stage.as_str(), line.share), ("train", Some(0.5)));
        assert_eq!(line.left.as_deref(), Some("3 min 05 s left"));
        assert_eq!(line.rest, "12.3 k tokens/s  loss 5.24");
        assert_eq!(line.words(), "50.0 % · 3 min 05 s left · 12.3 k tokens/s  loss 5.24");
        // The run's own record is newer than a line of ten seconds ago.
        assert_eq!(line.clone().at_least(650, 782).share, Some(650.0 / 782.0));
        assert_eq!(line.at_least(1, 782).share, Some(0.5));
        assert_eq!(ProgressLine::parse("index …").stage, "index");
        let unknown = ProgressLine::parse("harvest: 12.3 k, 9 documents/s  ");
        assert_eq!((unknown.share, unknown.rest.as_str()), (None, "12.3 k, 9 documents/s"));
        assert_eq!(ProgressLine::parse(""), ProgressLine::default());
    }
}
