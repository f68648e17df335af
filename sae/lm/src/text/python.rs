//! What chat templates use of Python: methods of texts and tables, JSON as Python writes it, dates.

use minijinja::value::{Value, ValueKind};
use minijinja::{ErrorKind, State};
use storage::clock::Moment;

/// Bytes that cost as much as an instruction, as Jinja for Rust counts.
const FUEL_BYTES: u64 = 64;

/// Python's methods of texts and tables that Jinja for Rust does not have.
///
/// # Errors
/// A method that is not known or arguments that it does not take; more than the template may cost.
pub(super) fn python_method(
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, minijinja::Error> {
    let unknown = || minijinja::Error::new(ErrorKind::UnknownMethod, format!("there is no method {method}"));
    let given = |i: usize| arguments.get(i).and_then(Value::as_str);
    if value.kind() == ValueKind::Map {
        let keys = || value.try_iter().into_iter().flatten();
        return match (method, arguments) {
            ("keys", []) => Ok(keys().collect()),
            ("values", []) => keys().map(|key| value.get_item(&key)).collect(),
            ("items", []) => {
                keys().map(|key| Ok(Value::from(vec![key.clone(), value.get_item(&key)?]))).collect()
            }
            ("get", [key]) => Ok(found(value, key).unwrap_or_else(|| Value::from(()))),
            ("get", [key, other]) => Ok(found(value, key).unwrap_or_else(|| other.clone())),
            _ => Err(unknown()),
        };
    }
    let Some(text) = value.as_str() else { return Err(unknown()) };
    state.consume_fuel(1 + cost(text, method, arguments) / FUEL_BYTES)?;
    let any_of = |i: usize, test: &dyn Fn(&str) -> bool| -> Option<bool> {
        match arguments.get(i)? {
            one if one.as_str().is_some() => one.as_str().map(test),
            several => Some(several.try_iter().ok()?.any(|one| one.as_str().is_some_and(test))),
        }
    };
    let set = given(0).map(|set| set.to_owned());
    let cut = |c: char| set.as_ref().map_or(c.is_whitespace(), |set| set.contains(c));
    let parts = |parts: &mut dyn Iterator<Item = &str>| parts.map(Value::from).collect::<Value>();
    let limit = arguments.get(1).and_then(Value::as_i64).filter(|n| *n >= 0).map(|n| n as usize + 1);
    Ok(match method {
        "strip" => text.trim_matches(cut).into(),
        "lstrip" => text.trim_start_matches(cut).into(),
        "rstrip" => text.trim_end_matches(cut).into(),
        "upper" => text.to_uppercase().into(),
        "lower" => text.to_lowercase().into(),
        "title" | "capitalize" => capitalised(text, method == "title").into(),
        "startswith" => any_of(0, &|part| text.starts_with(part)).ok_or_else(unknown)?.into(),
        "endswith" => any_of(0, &|part| text.ends_with(part)).ok_or_else(unknown)?.into(),
        "removeprefix" => text.strip_prefix(given(0).ok_or_else(unknown)?).unwrap_or(text).into(),
        "removesuffix" => text.strip_suffix(given(0).ok_or_else(unknown)?).unwrap_or(text).into(),
        "split" => match (given(0), limit) {
            (None, _) => parts(&mut text.split_whitespace()),
            (Some(at), None) => parts(&mut text.split(at)),
            (Some(at), Some(limit)) => parts(&mut text.splitn(limit, at)),
        },
        "rsplit" => {
            let at = given(0).ok_or_else(unknown)?;
            let mut all: Vec<&str> = text.rsplitn(limit.unwrap_or(usize::MAX), at).collect();
            all.reverse();
            parts(&mut all.into_iter())
        }
        "splitlines" => parts(&mut text.lines()),
        "replace" => {
            let (from, to) = (given(0).ok_or_else(unknown)?, given(1).ok_or_else(unknown)?);
            match arguments.get(2).and_then(Value::as_i64) {
                Some(times) if times >= 0 => text.replacen(from, to, times as usize).into(),
                _ => text.replace(from, to).into(),
            }
        }
        "find" => {
            let at = text.find(given(0).ok_or_else(unknown)?);
            at.map_or(-1, |at| text[..at].chars().count() as i64).into()
        }
        "count" => text.matches(given(0).ok_or_else(unknown)?).count().into(),
        "isdigit" => (!text.is_empty() && text.chars().all(char::is_numeric)).into(),
        "isspace" => (!text.is_empty() && text.chars().all(char::is_whitespace)).into(),
        "format" => formatted(text, arguments).ok_or_else(unknown)?.into(),
        "join" => {
            let all = arguments.first().ok_or_else(unknown)?.try_iter()?;
            all.map(|part| part.to_string()).collect::<Vec<_>>().join(text).into()
        }
        _ => return Err(unknown()),
    })
}

/// Bytes that a method makes or looks at, about: Jinja counts what it gives, but only afterwards.
fn cost(text: &str, method: &str, arguments: &[Value]) -> u64 {
    let length = |value: &Value| value.as_str().map_or(32, str::len);
    let given = |i: usize| arguments.get(i).and_then(Value::as_str).unwrap_or_default();
    let bytes = match method {
        // A part may be one letter, and has a place of its own in a list.
        "split" | "rsplit" | "splitlines" => text.len().saturating_mul(64),
        "replace" => text.matches(given(0)).count().saturating_mul(given(1).len()),
        "format" => {
            let longest = arguments.iter().map(length).max().unwrap_or_default();
            text.matches('{').count().saturating_mul(longest)
        }
        "join" => {
            let parts = arguments.first().and_then(|all| all.try_iter().ok()).into_iter().flatten();
            parts.map(|part| length(&part) + text.len()).fold(0, usize::saturating_add)
        }
        _ => 0,
    };
    text.len().saturating_add(bytes) as u64
}

/// `text.format(…)` with `{}` and `{0}` in it; None for what else Python knows, such as widths and names.
fn formatted(text: &str, arguments: &[Value]) -> Option<String> {
    let (mut out, mut rest, mut next) = (String::with_capacity(text.len()), text, 0);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
            out.push_str(&brace[..1]);
            rest = after;
            continue;
        }
        let (name, after) = brace.strip_prefix('{')?.split_once('}')?;
        let which = if name.is_empty() { next } else { name.parse().ok()? };
        next += 1;
        out.push_str(&arguments.get(which)?.to_string());
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

fn found(table: &Value, key: &Value) -> Option<Value> {
    table.get_item(key).ok().filter(|value| !value.is_undefined())
}

/// The first letter large and the others small: of every word, or of the text.
fn capitalised(text: &str, every_word: bool) -> String {
    let mut first = true;
    text.chars()
        .flat_map(|c| {
            let large = first && c.is_alphabetic();
            first = if every_word { !c.is_alphabetic() } else { false };
            if large { c.to_uppercase().collect::<Vec<_>>() } else { c.to_lowercase().collect() }
        })
        .collect()
}

/// Tables and lists inside each other at most, as many as the parser of JSON takes.
const DEEPEST: usize = 128;
/// Blanks per level at most.
const WIDEST: usize = 64;

/// JSON as Python's `json.dumps(…, ensure_ascii=False)` writes it.
///
/// # Errors
/// A value that is deeper than [`DEEPEST`], levels wider than [`WIDEST`], more than the template may cost.
pub(super) fn json(
    state: &State<'_, '_>,
    value: &Value,
    indent: Option<usize>,
) -> Result<String, minijinja::Error> {
    if indent.is_some_and(|indent| indent > WIDEST) {
        return Err(invalid(format!("tojson is to indent by more than {WIDEST}")));
    }
    let mut writer = JsonWriter { state, indent, out: String::new() };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct JsonWriter<'a, 't, 'e> {
    state: &'a State<'t, 'e>,
    indent: Option<usize>,
    out: String,
}

impl JsonWriter<'_, '_, '_> {
    fn put(&mut self, text: &str) -> Result<(), minijinja::Error> {
        self.state.consume_fuel(1 + text.len() as u64 / FUEL_BYTES)?;
        self.out.push_str(text);
        Ok(())
    }

    fn line(&mut self, depth: usize) -> Result<(), minijinja::Error> {
        let Some(indent) = self.indent else { return Ok(()) };
        self.put("\n")?;
        self.put(&" ".repeat(indent * depth))
    }

    fn quoted(&mut self, text: &str) -> Result<(), minijinja::Error> {
        // Neither escapes letters beyond ASCII, and both escape what JSON has to.
        self.put(&serde_json::Value::from(text).to_string())
    }

    fn comma(&mut self, i: usize) -> Result<(), minijinja::Error> {
        match (i, self.indent) {
            (0, _) => Ok(()),
            // Python has no space after the comma at the end of a line.
            (_, Some(_)) => self.put(","),
            (_, None) => self.put(", "),
        }
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), minijinja::Error> {
        if depth > DEEPEST {
            return Err(invalid(format!("a value is more than {DEEPEST} lists and tables deep")));
        }
        let table = match value.kind() {
            ValueKind::Map => true,
            ValueKind::Seq | ValueKind::Iterable => false,
            ValueKind::Undefined | ValueKind::None => return self.put("null"),
            ValueKind::String => return self.quoted(value.as_str().unwrap_or_default()),
            // As a text they are Python's: True and False.
            ValueKind::Bool => return self.put(if value.is_true() { "true" } else { "false" }),
            _ => return self.put(&value.to_string()),
        };
        self.put(if table { "{" } else { "[" })?;
        let mut count = 0;
        for item in value.try_iter().into_iter().flatten() {
            self.comma(count)?;
            self.line(depth + 1)?;
            if table {
                self.quoted(&item.to_string())?;
                self.put(": ")?;
                self.value(&value.get_item(&item).unwrap_or_default(), depth + 1)?;
            } else {
                self.value(&item, depth + 1)?;
            }
            count += 1;
        }
        if count > 0 {
            self.line(depth)?;
        }
        self.put(if table { "}" } else { "]" })
    }
}

fn invalid(problem: String) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, problem)
}

/// Year, month and day, by the system's clock, in UTC.
pub(super) fn today() -> (u32, u32, u32) {
    let now = Moment::now();
    (now.year, now.month, now.day)
}

pub(super) fn strftime(format: &str, (year, month, day): (u32, u32, u32)) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let name = MONTHS[(month as usize + 11) % 12];
    let short = &name[..3];
    let parts = [
        ("%Y", year.to_string()),
        ("%m", format!("{month:02}")),
        ("%d", format!("{day:02}")),
        ("%B", name.to_owned()),
        ("%b", short.to_owned()),
        ("%y", format!("{:02}", year.rem_euclid(100))),
    ];
    parts.iter().fold(format.to_owned(), |text, (code, part)| text.replace(code, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(strftime("%d %b %Y", (2026, 1, 9)), "09 Jan 2026");
        assert_eq!(strftime("%B %d, %Y", (2024, 12, 31)), "December 31, 2024");
    }

    #[test]
    fn texts_are_formatted_by_place() {
        let values = [Value::from("a"), Value::from(2)];
        let by = |text: &str| formatted(text, &values);
        assert_eq!(by("<{}|{}>").as_deref(), Some("<a|2>"));
        assert_eq!(by("{1}{0}{{x}}é").as_deref(), Some("2a{x}é"));
        assert_eq!([by("{}{}{}"), by("{name}"), by("{:>8}"), by("}"), by("{")], [const { None }; 5]);
    }
}
