//! How a dataset's routing is printed.

use serde_json::json;
use storage::experts::{BalanceRow, InformationRow};

use super::number;
use crate::Output;
use sae::experts::{RouterAgreement, Summary};

/// Three lines per layer, then the figures that are not known.
pub fn summary(s: Summary) -> Output {
    let mut lines: Vec<(String, String)> = Vec::new();
    for balance in s.layers() {
        lines.push((format!("layer {}", balance.layer), even(balance)));
        lines.push((String::new(), router(balance)));
        if let Some(information) = s.more.information.iter().find(|row| row.layer == balance.layer) {
            lines.push((String::new(), special(information)));
        }
    }
    lines.extend(s.gaps.iter().map(|gap| ("not known".to_owned(), gap.clone())));
    lines.push(("tables".to_owned(), s.folder.display().to_string()));
    let mut output = Output::of(s);
    lines.iter().for_each(|(name, value)| output.row(name, value));
    output
}

/// How even the load is.
pub fn even(b: &BalanceRow) -> String {
    let count = |n: Option<u32>| n.map_or_else(|| "–".to_owned(), |n| n.to_string());
    format!(
        "{} experts, {} per token: effective {}, load entropy {}, CV {}, max violation {}, Gini {}, dead {}, cold {}",
        b.experts,
        count(b.k),
        number(b.effective_experts, 1),
        number(b.load_entropy, 3),
        number(b.cv, 3),
        number(b.max_violation, 2),
        number(b.gini, 3),
        count(b.dead),
        count(b.cold),
    )
}

fn router(b: &BalanceRow) -> String {
    let density = match b.activation_density {
        Some(density) if density < 1.0 => format!(", activation density {density:.3}"),
        _ => String::new(),
    };
    format!(
        "router entropy {}, weight margin {}, top-1 margin {}, load-balance loss {} (1 = balanced), z-loss {}{density}",
        number(b.router_entropy, 3),
        number(b.weight_margin, 3),
        number(b.top1_margin, 3),
        number(b.balance_loss, 3),
        number(b.z_loss, 3),
    )
}

/// How specialised experts are.
pub fn special(i: &InformationRow) -> String {
    format!(
        "expert and domain: {} of {} bits ({} by chance), {} specialised (2× rule); expert and token: {} (top-k), {} (top-1) over {} types",
        number(i.mutual_information, 4),
        number(i.domain_entropy, 4),
        number(i.mutual_information_by_chance, 4),
        i.specialised.map_or_else(|| "–".to_owned(), |n| n.to_string()),
        number(i.vocabulary_top_k, 3),
        number(i.vocabulary_top_1, 3),
        i.types.map_or_else(|| "–".to_owned(), |n| n.to_string()),
    )
}

/// One line per layer.
pub fn against(found: &RouterAgreement) -> Output {
    let mut output = Output::new(json!({ "tokens": found.tokens, "layers": found.layers }));
    for l in &found.layers {
        output.row(
            &format!("layer {}", l.layer),
            format!(
                "shared: {} of the {} experts per token ({:.3} by chance), the strongest expert {}; CV {} and {}",
                number(l.top_k, 4),
                l.k,
                l.by_chance,
                number(l.top_1, 4),
                number(l.cv, 3),
                number(l.cv_against, 3)
            ),
        );
    }
    output
}
