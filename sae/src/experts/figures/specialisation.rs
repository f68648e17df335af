//! What experts are specialised in: share of a domain's tokens, Monet's 2× rule, mutual information in bits.

use storage::experts::{InformationRow, SpecialisationRow};

use super::balance::{entropy, total};

/// An expert is specialised in a domain when its share there is at least so many times that in any other
/// (Monet).
pub const SKEW: f64 = 2.0;
/// … and it was chosen there so often: one choice against none is not a finding.
pub const LEAST_COUNT: u64 = 10;

/// What one layer did in one domain.
#[derive(Debug, Clone, Copy)]
pub struct InDomain<'a> {
    /// Its name.
    pub domain: &'a str,
    /// Tokens of the domain, if known: counts from elsewhere may have only slots.
    pub tokens: Option<u64>,
    /// `slots[e]`: choices of expert e.
    pub slots: &'a [u64],
}

impl InDomain<'_> {
    /// Share of the domain's tokens that chose `expert`, or where tokens are not known its share of the
    /// slots, which is the same up to a factor k.
    fn rate(&self, expert: usize, by_tokens: bool) -> f64 {
        let of = if by_tokens { self.tokens.unwrap_or_default() } else { total(self.slots) };
        self.slots[expert] as f64 / of as f64
    }
}

/// One row per expert and domain, and the layer's summary. Domains without any choice are left out: nothing is
/// known of them.
pub fn specialisation(
    layer: u16,
    k: Option<f64>,
    domains: &[InDomain<'_>],
) -> (Vec<SpecialisationRow>, InformationRow) {
    let domains: Vec<InDomain<'_>> = domains.iter().filter(|d| total(d.slots) > 0).copied().collect();
    let experts = domains.first().map_or(0, |d| d.slots.len());
    let by_tokens = domains.iter().all(|d| d.tokens.is_some_and(|t| t > 0));
    let mut rows = Vec::with_capacity(experts * domains.len());
    let mut specialised = 0;
    for expert in 0..experts {
        let rates: Vec<f64> = domains.iter().map(|d| d.rate(expert, by_tokens)).collect();
        let sum: f64 = rates.iter().sum();
        let home = home(&rates).filter(|&d| domains[d].slots[expert] >= LEAST_COUNT);
        specialised += u32::from(home.is_some());
        rows.extend(domains.iter().enumerate().map(|(d, of)| SpecialisationRow {
            layer,
            expert: expert as u32,
            domain: of.domain.to_owned(),
            count: of.slots[expert],
            tokens: of.tokens,
            share_of_domain: by_tokens.then(|| rates[d]),
            baseline: k.map(|k| k / experts as f64),
            share_of_expert: (sum > 0.0).then(|| rates[d] / sum),
            specialised: home == Some(d),
        }));
    }
    let information = information(layer, &domains, specialised);
    (rows, information)
}

/// The domain whose rate is at least [`SKEW`] times every other's; `None` with a single domain.
fn home(rates: &[f64]) -> Option<usize> {
    let best = (0..rates.len()).max_by(|&a, &b| rates[a].total_cmp(&rates[b]))?;
    let others = (0..rates.len()).filter(|&d| d != best).map(|d| rates[d]);
    let second = others.fold(None, |most: Option<f64>, rate| Some(most.map_or(rate, |m| m.max(rate))))?;
    (rates[best] > 0.0 && rates[best] >= SKEW * second).then_some(best)
}

fn information(layer: u16, domains: &[InDomain<'_>], specialised: u32) -> InformationRow {
    let mut row = InformationRow { layer, domains: domains.len() as u16, ..InformationRow::default() };
    if domains.len() < 2 {
        return row;
    }
    let of_domains: Vec<u64> = domains.iter().map(|d| total(d.slots)).collect();
    let experts = domains[0].slots.len();
    let of_experts: Vec<u64> = (0..experts).map(|e| domains.iter().map(|d| d.slots[e]).sum()).collect();
    let all = total(&of_domains) as f64;
    let bits = |counts: &mut dyn Iterator<Item = u64>| {
        entropy(&counts.map(|n| n as f64 / all).collect::<Vec<_>>()) / std::f64::consts::LN_2
    };
    let of_domain = bits(&mut of_domains.iter().copied());
    let joint = bits(&mut domains.iter().flat_map(|d| d.slots.iter().copied()));
    // I(E; D) = H(E) + H(D) − H(E, D); rounding must not make it negative.
    let mutual = (bits(&mut of_experts.iter().copied()) + of_domain - joint).max(0.0);
    let used = of_experts.iter().filter(|&&n| n > 0).count() as f64;
    row.mutual_information = Some(mutual);
    row.mutual_information_by_chance =
        Some((used - 1.0) * (domains.len() as f64 - 1.0) / (2.0 * all * std::f64::consts::LN_2));
    row.domain_entropy = Some(of_domain);
    row.specialised = Some(specialised);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(domain: &'a str, tokens: u64, slots: &'a [u64]) -> InDomain<'a> {
        InDomain { domain, tokens: Some(tokens), slots }
    }

    #[test]
    fn one_expert_a_domain_tells_everything() {
        let (rows, info) = specialisation(3, Some(1.0), &[of("a", 50, &[50, 0]), of("b", 50, &[0, 50])]);
        assert!((info.mutual_information.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!((info.domain_entropy, info.specialised, info.domains), (Some(1.0), Some(2), 2));
        assert_eq!((rows[0].share_of_domain, rows[0].baseline), (Some(1.0), Some(0.5)));
        assert!(rows[0].specialised && !rows[1].specialised && rows[3].specialised);
    }

    #[test]
    fn the_same_mix_in_all_domains_tells_nothing() {
        let (_, info) = specialisation(0, Some(2.0), &[of("a", 50, &[30, 70]), of("b", 500, &[300, 700])]);
        assert!(info.mutual_information.unwrap() < 1e-12);
        assert_eq!(info.specialised, Some(0));
        // (2 − 1)(2 − 1) / (2 · 1100 · ln 2)
        assert!((info.mutual_information_by_chance.unwrap() - 0.000_655_77).abs() < 1e-7);
    }

    #[test]
    fn long_domains_do_not_make_specialists() {
        // Ten times the tokens, the same share: counts differ, rates do not.
        let (rows, _) = specialisation(0, Some(1.0), &[of("a", 100, &[10, 90]), of("b", 1000, &[100, 900])]);
        assert!(rows.iter().all(|r| !r.specialised));
        assert!(rows.iter().all(|r| (r.share_of_expert.unwrap() - 0.5).abs() < 1e-12));
        // Twice the share is enough, a little less is not.
        let count = |n| specialisation(0, None, &[of("a", 1000, &[n, 0]), of("b", 1000, &[100, 0])]).1;
        assert_eq!((count(200).specialised, count(199).specialised), (Some(1), Some(0)));
        // Nine choices against none are not a finding.
        let few = specialisation(0, None, &[of("a", 1000, &[9, 0]), of("b", 1000, &[0, 1000])]).1;
        assert_eq!(few.specialised, Some(1), "only expert 1 of domain b");
    }

    #[test]
    fn empty_domains_are_gaps() {
        let (rows, info) = specialisation(0, Some(1.0), &[of("a", 5, &[5, 0]), of("empty", 0, &[0, 0])]);
        assert_eq!((rows.len(), info.domains, info.mutual_information, info.specialised), (2, 1, None, None));
        assert!(rows.iter().all(|r| r.domain == "a" && !r.specialised));
        assert_eq!(specialisation(0, None, &[]).0, []);
    }

    #[test]
    fn slots_alone_give_the_rule_but_no_share_of_tokens() {
        let slots = |domain, slots| InDomain { domain, tokens: None, slots };
        let (rows, info) = specialisation(0, None, &[slots("a", &[80, 20]), slots("b", &[20, 80])]);
        assert_eq!((rows[0].share_of_domain, rows[0].baseline, info.specialised), (None, None, Some(2)));
    }
}
