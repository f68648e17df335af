//! Heads × source tokens: what attention moved to a reading, as a map and as a list.

use egui::{Ui, vec2};

use super::matrix::Matrix;
use super::{bars, facts, format};
use crate::prompt::heads::{HeadParts, Parts};
use crate::theme::{palette, space};

/// Rows of the map: heads that move most.
const ROWS: usize = 12;
/// Lines of the list.
const LISTED: usize = 10;

/// A head and the token that it moved something from: layer, head, token.
pub type Moved = (usize, usize, usize);

/// Draws the parts of a reading; gives what was clicked. `token` names a token of the text.
pub fn show(ui: &mut Ui, parts: &Parts, token: &dyn Fn(usize) -> String) -> Option<Moved> {
    sum(ui, parts);
    let mut heads: Vec<&HeadParts> = parts.heads.iter().collect();
    let size = |head: &HeadParts| head.sources.iter().map(|value| value.abs()).sum::<f32>();
    heads.sort_by(|a, b| size(b).total_cmp(&size(a)));
    let all = heads.len();
    heads.truncate(ROWS);
    heads.sort_by_key(|head| std::cmp::Reverse((head.layer, head.head)));
    let mut asked = None;
    if !heads.is_empty() {
        ui.add_space(space::S);
        if all > heads.len() {
            facts::caption(ui, format!("the {} of {all} heads that move most, by source token", heads.len()));
        } else {
            facts::caption(ui, "heads by source token");
        }
        asked = map(ui, &heads, parts.token, token);
    }
    let strongest = parts.strongest(LISTED);
    let most = strongest.first().map_or(1.0, |first| first.3.abs());
    for (layer, head, source, value) in strongest {
        let name = format!("{layer}.{head} from {}", token(source));
        if bars::signed_line(ui, &name, value, most).clicked() {
            asked = Some((layer, head, source));
        }
    }
    asked
}

/// What the parts add up to, in one line for each kind.
fn sum(ui: &mut Ui, parts: &Parts) {
    let number = |x: f32| format::signed(f64::from(x));
    let mut rows = vec![
        ("reads".to_owned(), number(parts.whole)),
        ("heads".to_owned(), number(parts.heads.iter().map(HeadParts::sum).sum())),
    ];
    if let Some(largest) = parts.mlps.iter().max_by(|a, b| a.value.abs().total_cmp(&b.value.abs())) {
        let all: f32 = parts.mlps.iter().map(|mlp| mlp.value).sum();
        rows.push(("MLPs".to_owned(), number(all)));
        rows.push((format!("most of MLP {}", largest.layer), number(largest.value)));
    }
    rows.extend(parts.embedding.map(|embedding| ("embedding".to_owned(), number(embedding))));
    rows.push(("biases".to_owned(), number(parts.biases)));
    facts::facts(
        ui,
        "parts of the reading",
        rows.iter().map(|(name, value)| (name.as_str(), value.as_str())),
    );
}

fn map(ui: &mut Ui, heads: &[&HeadParts], last: usize, token: &dyn Fn(usize) -> String) -> Option<Moved> {
    let p = palette(ui);
    let values = heads.iter().flat_map(|head| &head.sources);
    let most = values.fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
    let name = format!("{} heads by {} source tokens", heads.len(), last + 1);
    let matrix = Matrix {
        name: &name,
        rows: heads.len(),
        columns: last + 1,
        row_name: &|row| format!("{}.{}", heads[row].layer, heads[row].head),
        // Its number, with which its name begins.
        column_name: &|source| token(source).split(' ').next().unwrap_or_default().to_owned(),
        colour: &|row, source| Some(p.signed(heads[row].sources[source] / most)),
        hatched: &|_, _| false,
        row: None,
        names: 40.0,
        cell: (vec2(5.0, 14.0), vec2(26.0, 16.0)),
        height: 16.0 * ROWS as f32,
    };
    let answer = matrix.show(ui);
    if let Some((row, source)) = answer.pointed {
        let HeadParts { layer, head, sources } = heads[row];
        answer.response.on_hover_text_at_pointer(format!(
            "head {layer}.{head} from {}\n{}",
            token(source),
            format::signed(f64::from(sources[source]))
        ));
    }
    answer.clicked.map(|(row, source)| (heads[row].layer, heads[row].head, source))
}
