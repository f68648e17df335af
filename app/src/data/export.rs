//! What the window shows, as files for other programs: CSV of the table, JSON and CSV of a feature's page.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::features::ExampleRow;
use super::heads::AttributionRow;
use super::history::FeatureHistory;
use super::{Columns, Example, Explanations, FeaturePage, Notes, TokenLists, Vocabulary};

/// What the table of features is written from.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// The numbers.
    pub columns: &'a Columns,
    /// Tokens and labels of the index.
    pub tokens: Option<&'a TokenLists>,
    /// What people said.
    pub notes: &'a Notes,
    /// What rules and other tools said.
    pub explanations: Option<&'a Explanations>,
    /// Texts of tokens.
    pub vocabulary: Option<&'a Vocabulary>,
}

/// The features `rows` in that order, one line each. Lists of tokens are JSON arrays.
pub fn features_csv(rows: &[u32], table: &Table<'_>) -> String {
    let mut out = String::from(
        "feature,label,explanation,note,bookmarked,count,density,mean,max,bias,encoder_norm,decoder_norm,encoder_decoder_cosine,born,settled,moved,fires_on,top_logits\n",
    );
    let columns = table.columns;
    for feature in rows {
        let i = *feature as usize;
        let note = table.notes.get(*feature);
        let label = table.notes.label(*feature).or_else(|| table.tokens.and_then(|t| t.label(*feature)));
        let number = |values: &[f32]| values.get(i).map(ToString::to_string).unwrap_or_default();
        // What a feature never came to has no number.
        let finite = |values: &[f32]| {
            if values.get(i).is_some_and(|value| value.is_finite()) { number(values) } else { String::new() }
        };
        let list =
            |tokens: &[u32]| Value::from_iter(tokens.iter().map(|t| text(table.vocabulary, *t))).to_string();
        let fields = [
            feature.to_string(),
            label.unwrap_or_default().to_owned(),
            table.explanations.and_then(|e| e.best(*feature)).unwrap_or_default().to_owned(),
            note.map(|n| n.text.clone()).unwrap_or_default(),
            note.is_some_and(|n| n.bookmarked).to_string(),
            columns.numbers.count[i].to_string(),
            number(&columns.numbers.density),
            number(&columns.numbers.mean),
            number(&columns.numbers.max),
            number(&columns.numbers.bias),
            number(&columns.numbers.encoder_norm),
            number(&columns.numbers.decoder_norm),
            number(&columns.numbers.encoder_decoder_cosine),
            finite(&columns.events.born),
            finite(&columns.events.settled),
            finite(&columns.events.moved),
            table.tokens.map(|t| list(t.fires_on.get(*feature))).unwrap_or_default(),
            table.tokens.map(|t| list(t.top_logits.get(*feature))).unwrap_or_default(),
        ];
        line(&mut out, &fields);
    }
    out
}

/// A feature's page: everything the index says of it, with the tokens' texts.
pub fn page_json(
    run: &str,
    page: &FeaturePage,
    notes: &Notes,
    explanations: &Explanations,
    vocabulary: &Vocabulary,
) -> String {
    let row = &page.row;
    let show = |token: u32| vocabulary.show(token).into_owned();
    let logits = |list: &[(u32, f32)]| -> Value {
        list.iter()
            .map(|(token, logit)| json!({"token": token, "text": show(*token), "logit": logit}))
            .collect()
    };
    let note = notes.get(row.feature);
    let value = json!({
        "run": run,
        "feature": row.feature,
        "label": notes.label(row.feature).or(row.label.as_deref()),
        "note": note.map(|n| n.text.as_str()).filter(|t| !t.is_empty()),
        "bookmarked": note.is_some_and(|n| n.bookmarked),
        "explanations": explanations.of(row.feature).iter().map(|said| json!({
            "text": said.explanation.text,
            "method": said.explanation.method,
            "by": said.explanation.by,
            "source": explanations.sources.get(said.source),
            "scores": said.explanation.scores.iter().map(|s| json!({"kind": s.kind, "value": s.value})).collect::<Value>(),
        })).collect::<Value>(),
        "count": row.count,
        "density": row.density,
        "mean": row.mean,
        "max": row.max,
        "bias": row.bias,
        "encoder_norm": row.encoder_norm,
        "decoder_norm": row.decoder_norm,
        "encoder_decoder_cosine": row.encoder_decoder_cosine,
        "histogram": row.histogram,
        "fires_on": row.fires_on.iter().map(|(t, n)| json!({"token": t, "text": show(*t), "count": n})).collect::<Value>(),
        "top_logits": logits(&row.top_logits),
        "bottom_logits": logits(&row.bottom_logits),
        "logit_histogram": row.logit_histogram,
        "neighbours": row.neighbours.iter().map(|(f, c)| json!({"feature": f, "cosine": c})).collect::<Value>(),
        "history": page.history.as_ref().map(history_json),
        "coactive": row.coactive.iter().map(|(f, n, l)| json!({"feature": f, "count": n, "lift": l})).collect::<Value>(),
        "examples": page.examples.iter().map(|Example { row: e, sources }| json!({
            "interval": e.interval,
            "document": e.document,
            "position": e.position,
            "value": e.value,
            "start": e.start,
            "tokens": e.tokens,
            "texts": e.tokens.iter().map(|t| show(*t)).collect::<Vec<_>>(),
            "values": e.values,
            "sources": sources.as_ref().map(|s| sources_json(s, vocabulary)),
        })).collect::<Value>(),
        "heads": page.heads.as_ref().map(|h| json!({"norms": h.norms, "shares": h.shares})),
    });
    format!("{value:#}\n")
}

/// Where an example comes from.
fn sources_json(sources: &AttributionRow, vocabulary: &Vocabulary) -> Value {
    let token = |(position, token, value): (u32, u32, f32)| json!({"position": position, "token": token, "text": vocabulary.show(token), "value": value});
    json!({
        "start": sources.start,
        "pre_activation": sources.pre_activation,
        "constant": sources.constant,
        "bos": sources.bos,
        "rest": sources.rest,
        "tokens": sources.listed().map(token).collect::<Value>(),
        "heads": sources.heads,
    })
}

fn history_json(history: &FeatureHistory) -> Value {
    json!({
        "born": history.events.born,
        "died": history.events.died,
        "revivals": history.events.revivals,
        "settled": history.events.settled,
        "dead_after": history.dead_after,
        "same_cosine": history.same_cosine,
        "snapshots": history.snapshots.iter().map(|m| json!({
            "tokens": m.tokens,
            "rate": m.rate(),
            "dead": m.dead,
            "moved": m.moved,
            "cosine_final": m.cosine_final,
        })).collect::<Value>(),
    })
}

/// A feature's examples, one line each.
pub fn examples_csv(page: &FeaturePage, vocabulary: &Vocabulary) -> String {
    let mut out = String::from("feature,interval,document,position,value,token,text\n");
    for Example { row: example, .. } in &page.examples {
        let token = example.marked().map(|i| vocabulary.show(example.tokens[i]).into_owned());
        let fields = [
            page.row.feature.to_string(),
            example.interval.to_string(),
            example.document.to_string(),
            example.position.to_string(),
            example.value.to_string(),
            token.unwrap_or_default(),
            plain(example, vocabulary),
        ];
        line(&mut out, &fields);
    }
    out
}

/// An example's text.
pub fn plain(example: &ExampleRow, vocabulary: &Vocabulary) -> String {
    example.tokens.iter().map(|token| vocabulary.show(*token)).collect()
}

/// An example's text with the activation after every token that has one: ` forest⟨14.68⟩`.
pub fn with_values(example: &ExampleRow, vocabulary: &Vocabulary) -> String {
    let mut out = String::new();
    for (i, token) in example.tokens.iter().enumerate() {
        out += &vocabulary.show(*token);
        match example.values.get(i) {
            // Writing to a string does not fail.
            Some(value) if *value != 0.0 => drop(write!(out, "⟨{value:.2}⟩")),
            _ => {}
        }
    }
    out
}

fn text(vocabulary: Option<&Vocabulary>, token: u32) -> String {
    vocabulary.map_or_else(|| token.to_string(), |v| v.show(token).into_owned())
}

/// One line of CSV (RFC 4180).
pub(crate) fn line(out: &mut String, fields: &[String]) {
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        if field.contains([',', '"', '\n', '\r']) {
            out.push('"');
            out.push_str(&field.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(field);
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Kept as _;
    use crate::data::explanations::{Explanation, Score};
    use crate::data::features::{FeatureColumns, FeatureRow};
    use crate::data::notes::{Change, Edit};

    #[test]
    fn lines_have_as_many_fields_as_the_head_whatever_is_in_them() {
        let mut tokens = TokenLists::default();
        tokens.fires_on.push([0, 1]);
        tokens.top_logits.push([]);
        let mut notes = Notes::default();
        notes.apply(&Edit { feature: 0, change: Change::Label("a \"b\", c\nd".into()) });
        let vocabulary = Vocabulary::from_texts([",", "\""]);
        let numbers = FeatureColumns { count: vec![3], density: vec![0.5], ..FeatureColumns::default() };
        let columns = Columns { numbers, ..Columns::default() };
        let table = Table {
            columns: &columns,
            tokens: Some(&tokens),
            notes: &notes,
            explanations: None,
            vocabulary: Some(&vocabulary),
        };
        let csv = features_csv(&[0], &table);
        assert!(csv.contains("0,\"a \"\"b\"\", c\nd\",,,false,3,0.5,"), "{csv}");
        assert!(csv.ends_with(",\"[\"\",\"\",\"\"\\\"\"\"\"]\",[]\n"), "{csv}");
    }

    #[test]
    fn a_page_is_json_that_says_the_texts() {
        let page = FeaturePage {
            row: FeatureRow { feature: 4, top_logits: vec![(1, 0.5)], ..FeatureRow::default() },
            examples: vec![Example {
                row: ExampleRow {
                    position: 11,
                    start: 10,
                    tokens: vec![0, 1],
                    values: vec![0.0, 2.5],
                    value: 2.5,
                    ..ExampleRow::default()
                },
                sources: Some(AttributionRow {
                    sources: vec![11],
                    tokens: vec![1],
                    values: vec![0.5],
                    bos: Some(0.25),
                    ..AttributionRow::default()
                }),
            }],
            ..FeaturePage::default()
        };
        let vocabulary = Vocabulary::from_texts(["a", " b"]);
        let scores = vec![Score { kind: "f1".into(), value: 0.5 }];
        let said = Explanation { feature: 4, text: "on b".into(), scores, ..Explanation::default() };
        let explanations = Explanations::new(vec![("rules".into(), vec![said])]);
        let read: Value =
            serde_json::from_str(&page_json("run", &page, &Notes::default(), &explanations, &vocabulary))
                .unwrap();
        assert_eq!(read["top_logits"][0]["text"], " b");
        assert_eq!(read["explanations"][0]["source"], "rules");
        assert_eq!(read["explanations"][0]["scores"], json!([{"kind": "f1", "value": 0.5}]));
        assert_eq!(read["examples"][0]["texts"], json!(["a", " b"]));
        let sources = &read["examples"][0]["sources"];
        assert_eq!((&sources["bos"], &sources["tokens"][0]["text"]), (&json!(0.25), &json!(" b")));
        assert_eq!(read["heads"], Value::Null);
        assert_eq!(with_values(&page.examples[0].row, &vocabulary), "a b⟨2.50⟩");
        assert_eq!(examples_csv(&page, &vocabulary).lines().nth(1), Some("4,0,0,11,2.5, b,a b"));
    }
}
