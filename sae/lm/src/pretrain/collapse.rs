//! Whether routers collapse: a few experts get nearly all tokens and the others learn nothing; or modules that are
//! switched one by one are always on or never.

use std::collections::{BTreeMap, BTreeSet};

use super::Kind;

/// Steps that are counted together.
const STEPS: u64 = 100;

/// Counts, over the steps of a window, how often experts of each layer are used.
#[derive(Debug)]
pub(super) struct Collapse {
    kind: Kind,
    /// Experts per token.
    k: usize,
    used: BTreeMap<usize, Vec<u64>>,
    tokens: u64,
    steps: u64,
    /// Layers, and of modules that are switched the module.
    said: BTreeSet<(usize, usize)>,
}

impl Collapse {
    pub fn new(kind: Kind, k: usize) -> Self {
        Self { kind, k, used: BTreeMap::new(), tokens: 0, steps: 0, said: BTreeSet::new() }
    }

    /// Adds the counts of step `step` with its `tokens`, layer by layer. At the end of a window it gives what is to be
    /// said about layers (or modules) that have collapsed, each once in a run. The first steps, while the rate grows,
    /// are not judged.
    pub fn add(&mut self, used: &[(usize, Vec<u64>)], tokens: u64, step: u64, warm_up: u64) -> Vec<String> {
        if step < warm_up {
            return Vec::new();
        }
        for (layer, used) in used {
            let sums = self.used.entry(*layer).or_insert_with(|| vec![0; used.len()]);
            sums.iter_mut().zip(used).for_each(|(sum, n)| *sum += n);
        }
        self.steps += 1;
        self.tokens += tokens;
        if self.steps < STEPS {
            return Vec::new();
        }
        let tokens = std::mem::take(&mut self.tokens);
        self.steps = 0;
        let mut said = Vec::new();
        for (layer, used) in std::mem::take(&mut self.used) {
            if self.kind == Kind::Modular {
                said.extend(self.stuck(layer, &used, tokens, step));
                continue;
            }
            let effective = effective(&used);
            // Half as many again as must be, or an eighth of what could be, whichever leaves more room.
            let least = self.k as f64 + (used.len() as f64 - self.k as f64) / 8.0;
            if effective < least && self.said.insert((layer, 0)) {
                said.push(self.remark(layer, effective, &used, step));
            }
        }
        said
    }

    /// What is to be said of modules that no token switched on, or that none left off.
    fn stuck(&mut self, layer: usize, used: &[u64], tokens: u64, step: u64) -> Vec<String> {
        let mut said = Vec::new();
        for (module, on) in used.iter().enumerate().filter(|(_, on)| **on == 0 || **on == tokens) {
            if !self.said.insert((layer, module)) {
                continue;
            }
            let (what, then) = match *on {
                0 => ("off", "no gradient reaches it any more"),
                _ => ("on", "it switches nothing"),
            };
            said.push(format!(
                "module {module} of layer {layer} was {what} for every token of the {STEPS} steps up to {}, so {then}; \
                 raise temperature_scale, or lower learning_rate",
                step + 1
            ));
        }
        said
    }

    fn remark(&self, layer: usize, effective: f64, used: &[u64], step: u64) -> String {
        let never = used.iter().filter(|n| **n == 0).count();
        let (what, remedy) = match self.kind {
            Kind::MonetVertical | Kind::MonetHorizontal => {
                ("halves of experts", "raise uniformity, or lower learning_rate")
            }
            Kind::MoeX => {
                ("experts", "begin with a dense model (start), raise balance, or lower learning_rate")
            }
            Kind::EvoMoe => ("experts", "raise balance, or gate.dense_share and gate.steps"),
            Kind::TopK | Kind::Dense | Kind::Modular => ("experts", "raise balance, or lower learning_rate"),
        };
        format!(
            "the router of layer {layer} has collapsed: in the {STEPS} steps up to {} it used {effective:.1} of {} {what} \
             in effect, and {never} not at all; {remedy}",
            step + 1,
            used.len()
        )
    }
}

/// exp of the entropy of the shares.
fn effective(used: &[u64]) -> f64 {
    let total = used.iter().sum::<u64>() as f64;
    let part = |n: &u64| {
        let p = *n as f64 / total;
        if p > 0.0 { -p * p.ln() } else { 0.0 }
    };
    used.iter().map(part).sum::<f64>().exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_that_uses_two_of_sixteen_is_reported_once_and_a_balanced_one_is_not() {
        let mut watch = Collapse::new(Kind::TopK, 2);
        let mut bad = vec![0; 16];
        (bad[3], bad[9]) = (60, 40);
        let used = [(0, vec![7; 16]), (2, bad)];
        let said: Vec<(u64, Vec<String>)> = (0..350)
            .map(|step| (step, watch.add(&used, 100, step, 20)))
            .filter(|(_, s)| !s.is_empty())
            .collect();
        let [(step, remarks)] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!(*step, 119, "the warm-up is not judged");
        let [remark] = remarks.as_slice() else { panic!("{remarks:?}") };
        assert!(
            remark.contains("layer 2")
                && remark.contains("2.0 of 16 experts")
                && remark.contains("14 not at all")
        );
        assert!(remark.contains("raise balance"), "{remark}");
    }

    #[test]
    fn a_module_that_is_never_or_always_on_is_reported_once_and_others_are_not() {
        let mut watch = Collapse::new(Kind::Modular, 1);
        // Of 50 tokens a step; module 3 wakes up once in 300 steps.
        let used = |step: u64| [(1, vec![50, 0, 49, u64::from(step == 150)])];
        let said: Vec<String> = (0..300).flat_map(|step| watch.add(&used(step), 50, step, 0)).collect();
        let starts: Vec<&str> = said.iter().map(|s| &s[..s.find(" for every").unwrap()]).collect();
        // Module 3 is off in the first and in the third hundred; once is enough.
        assert_eq!(
            starts,
            ["module 0 of layer 1 was on", "module 1 of layer 1 was off", "module 3 of layer 1 was off"]
        );
        assert!(
            said.iter().all(|s| s.contains("steps up to 100") && s.contains("temperature_scale")),
            "{said:?}"
        );
    }
}
