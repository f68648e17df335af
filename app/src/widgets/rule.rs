//! Rules of tokens as chips. What `sae explain` writes, `on one of the tokens ‹a› ‹b›`, is data in a sentence: the tokens are
//! what tells two features apart, so they are drawn and the words around them are kept short.

use egui::{Color32, FontId, Label, RichText, Ui, text::LayoutJob, text::TextFormat};

use crate::theme::{palette, tokens::size};

/// A piece of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// A short word between chips: `after`, `in`.
    Word(String),
    /// A token.
    Chip(String),
}

/// The pieces of a rule: its tokens in ‹›, and of the words around them the ones that matter. None where `text` has no token in ‹›.
fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('‹') {
        let after = &rest[start + '‹'.len_utf8()..];
        // Bytes of a token are shown in such signs themselves: ‹‹e2›‹82››.
        let mut depth = 1;
        let end = after.char_indices().find_map(|(at, c)| {
            match c {
                '‹' => depth += 1,
                '›' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(at)
        })?;
        found.extend(word(&rest[..start]).map(Piece::Word));
        found.push(Piece::Chip(after[..end].to_owned()));
        rest = &after[end + '›'.len_utf8()..];
    }
    found.extend(word(rest).map(Piece::Word));
    found.iter().any(|piece| matches!(piece, Piece::Chip(_))).then_some(found)
}

/// What stays of the words between two tokens.
fn word(words: &str) -> Option<String> {
    let plain = words.trim_matches(|c: char| c.is_whitespace() || matches!(c, ',' | ':' | ';' | '.'));
    let idle = ["on", "one", "of", "the", "tokens", "token", "a", "an", "or", "texts", "domain", "domains"];
    let kept: Vec<&str> =
        plain.split_whitespace().filter(|word| !idle.contains(&word.to_lowercase().as_str())).collect();
    (!kept.is_empty()).then(|| kept.join(" "))
}

/// Draws a rule as chips that are cut at a whole chip, with how many more there are; other texts as they are, cut where the room ends.
/// The whole text is shown on hover.
pub fn show(ui: &mut Ui, text: &str, points: f32) {
    let p = palette(ui);
    let Some(pieces) = pieces(text) else {
        ui.add(Label::new(RichText::new(text).size(points).color(p.weak)).truncate()).on_hover_text(text);
        return;
    };
    let room = ui.available_width();
    // From all pieces to one: the first that fits.
    let job = (1..=pieces.len()).rev().map(|n| job(&pieces, n, p.text, p.weak, p.control_hover, points));
    let mut fitting = None;
    for job in job {
        let galley = ui.fonts_mut(|fonts| fonts.layout_job(job.clone()));
        let fits = galley.size().x <= room;
        fitting = Some(job);
        if fits {
            break;
        }
    }
    if let Some(job) = fitting {
        let label = ui.add(Label::new(job).truncate());
        label.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, text));
        label.on_hover_text(text);
    }
}

/// The first `n` pieces, and how many chips are left out.
fn job(pieces: &[Piece], n: usize, chip: Color32, word: Color32, ground: Color32, points: f32) -> LayoutJob {
    let mut job = LayoutJob::default();
    job.wrap.max_width = f32::INFINITY;
    for (i, piece) in pieces[..n].iter().enumerate() {
        let gap = if i == 0 { 2.0 } else { 7.0 };
        match piece {
            Piece::Word(text) => job.append(
                text,
                gap,
                TextFormat { font_id: FontId::proportional(points), color: word, ..TextFormat::default() },
            ),
            Piece::Chip(text) => job.append(
                &super::text::in_list(text),
                gap,
                TextFormat {
                    font_id: FontId::monospace(points.min(size::MONO)),
                    color: chip,
                    background: ground,
                    expand_bg: 2.0,
                    ..TextFormat::default()
                },
            ),
        }
    }
    let left = pieces[n..].iter().filter(|piece| matches!(piece, Piece::Chip(_))).count();
    if left > 0 {
        let format =
            TextFormat { font_id: FontId::proportional(points), color: word, ..TextFormat::default() };
        job.append(&format!("+{left}"), 7.0, format);
    }
    job
}

/// The tokens of a rule in a row, or a text as it is, in at most `most` characters; cut at a whole token.
pub fn short(text: &str, most: usize) -> String {
    let Some(pieces) = pieces(text) else { return cut(text, most) };
    let mut shown = String::new();
    for piece in pieces {
        let next = match &piece {
            Piece::Word(word) => word.clone(),
            Piece::Chip(token) => token.trim_matches([' ', '·']).to_owned(),
        };
        let gap = if shown.is_empty() { "" } else { " " };
        if !shown.is_empty() && shown.chars().count() + gap.len() + next.chars().count() > most {
            return cut(&(shown + " …"), most.max(3));
        }
        shown += gap;
        shown += &next;
    }
    cut(&shown, most)
}

fn cut(text: &str, most: usize) -> String {
    let mut short: String = text.chars().take(most).collect();
    if text.chars().count() > most {
        short.pop();
        short.push('…');
    }
    short
}

/// A name in at most `most` characters, cut in the middle: names of runs begin alike and differ at the end.
pub fn middle(name: &str, most: usize) -> String {
    let all: Vec<char> = name.chars().collect();
    if all.len() <= most || most < 3 {
        return name.to_owned();
    }
    let head = (most - 1) / 3;
    let tail = most - 1 - head;
    all[..head].iter().chain(&['…']).chain(&all[all.len() - tail..]).collect()
}

/// `blocks.3.hook_mlp_in` as `3.mlp_in`: hooks differ in what a cut in the middle takes out.
fn short_hook(name: &str) -> Option<String> {
    let (layer, site) = name.strip_prefix("blocks.")?.split_once(".hook_")?;
    layer.parse::<u32>().ok().map(|layer| format!("{layer}.{site}"))
}

/// The longest of a name, cut in the middle, that has room. The share of the room does not say it alone: the letters of the end may be
/// wider than those that are left out, and then the end, by which names differ, would be cut off.
fn fitting(whole: &str, room: f32, width: impl Fn(&str) -> f32 + Copy) -> String {
    let all = width(whole);
    if all <= room {
        return whole.to_owned();
    }
    if let Some(short) = short_hook(whole) {
        return fitting(&short, room, width);
    }
    let guess = (whole.chars().count() as f32 * room / all) as usize;
    let shorter = (3..=guess).rev().map(|most| middle(whole, most));
    shorter.into_iter().find(|short| width(short) <= room).unwrap_or_else(|| middle(whole, 3))
}

/// Draws a name `points` large, cut in the middle where it has no room; the whole is shown on hover.
pub fn name(ui: &mut Ui, whole: &str, points: f32, color: Color32) {
    let room = ui.available_width();
    let ctx = ui.ctx().clone();
    let width = |text: &str| {
        let font = FontId::proportional(points);
        ctx.fonts_mut(|fonts| fonts.layout_no_wrap(text.to_owned(), font, Color32::PLACEHOLDER)).size().x
    };
    let short = fitting(whole, room, width);
    if short == whole {
        ui.add(Label::new(RichText::new(whole).size(points).color(color)));
        return;
    }
    let label = ui.add(Label::new(RichText::new(short).size(points).color(color)).truncate());
    label.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, whole));
    label.on_hover_text(whole);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_cut_keeps_its_end() {
        // The end is twice as wide as the beginning.
        let width = |text: &str| text.chars().map(|c| if "seed-1".contains(c) { 12.0 } else { 6.0 }).sum();
        let name = "runs/of/topk/seed-17";
        for room in [60.0, 90.0, 140.0] {
            let short = fitting(name, room, width);
            assert!(
                width(&short) <= room && short.ends_with("-17") && short.contains('…'),
                "{room}: {short}"
            );
        }
        assert_eq!(fitting(name, 500.0, width), name);
    }

    #[test]
    fn a_hook_that_is_cut_keeps_its_layer() {
        let width = |text: &str| text.chars().count() as f32;
        assert_eq!(fitting("blocks.3.hook_mlp_in", 12.0, width), "3.mlp_in");
        assert_eq!(fitting("blocks.3.hook_mlp_in", 20.0, width), "blocks.3.hook_mlp_in");
        assert_eq!(fitting("blocks.of.hook_wood", 9.0, width), "bl…k_wood");
    }

    #[test]
    fn the_tokens_of_a_rule_are_its_chips() {
        let chip = |text: &str| Piece::Chip(text.to_owned());
        let word = |text: &str| Piece::Word(text.to_owned());
        assert_eq!(
            pieces("on one of the tokens ‹ synonyms›, ‹ opposite›"),
            Some(vec![chip(" synonyms"), chip(" opposite")])
        );
        assert_eq!(
            pieces("after the token ‹the›, in code"),
            Some(vec![word("after"), chip("the"), word("in code")])
        );
        assert_eq!(pieces("on the token ‹‹e2›‹82››"), Some(vec![chip("‹e2›‹82›")]));
        assert_eq!((pieces("lakes and rivers"), pieces("cut ‹off")), (None, None));
        assert_eq!(short("on one of the tokens ‹ synonyms›, ‹ opposite›", 40), "synonyms opposite");
        assert_eq!(short("on one of the tokens ‹ synonyms›, ‹ opposite›", 12), "synonyms …");
        assert_eq!(short("lakes and rivers", 8), "lakes a…");
    }

    #[test]
    fn names_are_cut_in_the_middle() {
        assert_eq!(middle("short", 9), "short");
        assert_eq!(middle("cw/work/10-random-seed-1", 12), "cw/…m-seed-1");
        assert_eq!(middle("cw/work/10-random-seed-1", 12).chars().count(), 12);
    }
}
