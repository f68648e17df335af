//! Files of comma-separated values (RFC 4180), read strictly.

/// A record: the line that it begins on, counted from 1, and its fields.
pub(crate) type Record = (usize, Vec<String>);

/// The records of a text; empty lines are left out. A field in quotation marks may hold commas, line ends
/// and, doubled, quotation marks. Records may differ in their number of fields.
///
/// # Errors
/// The line on which a record begins whose quotation marks do not match, and what is wrong with it. The crate
/// `csv` would take one that never closes for the end of the file, and text after one that closes for a part
/// of the field: half a file would pass for whole.
pub(crate) fn records(text: &str) -> Result<Vec<Record>, (usize, String)> {
    // Spreadsheets begin UTF-8 with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_quotes(text)?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut records = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(1, csv::Position::line);
            (line as usize, error.to_string())
        })?;
        if record.iter().any(|field| !field.is_empty()) {
            records.push((line(text, record.position()), record.iter().map(str::to_owned).collect()));
        }
    }
    Ok(records)
}

/// The line of a record. Its position is where the record before it ended: empty lines may lie between.
fn line(text: &str, position: Option<&csv::Position>) -> usize {
    let Some(position) = position else { return 1 };
    let rest = text.as_bytes().get(position.byte() as usize..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() as usize + empty.filter(|byte| **byte == b'\n').count()
}

fn check_quotes(text: &str) -> Result<(), (usize, String)> {
    enum Place {
        /// Before the first character of a field.
        Begin,
        Plain,
        Quoted,
        /// After a quotation mark in a quoted field: it closes the field or the next one doubles it.
        Quote,
    }
    let (mut place, mut line, mut record) = (Place::Begin, 1, 1);
    for c in text.chars() {
        line += usize::from(c == '\n');
        place = match (place, c) {
            (Place::Begin, '"') | (Place::Quote, '"') => Place::Quoted,
            (Place::Quoted, '"') => Place::Quote,
            (Place::Quoted, _) => Place::Quoted,
            (_, ',') => Place::Begin,
            (_, '\r' | '\n') => {
                record = line;
                Place::Begin
            }
            (Place::Begin | Place::Plain, _) => Place::Plain,
            (Place::Quote, other) => {
                let problem = format!(
                    "`{other}` after a closing quotation mark, expected a comma or the end of the line"
                );
                return Err((record, problem));
            }
        };
    }
    match place {
        Place::Quoted => Err((record, "a quotation mark opens and none closes".to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, Vec<String>)> {
        records(text).unwrap()
    }

    fn record(line: usize, fields: &[&str]) -> Record {
        (line, fields.iter().map(|&field| field.to_owned()).collect())
    }

    #[test]
    fn records_know_their_line() {
        let text = "\u{feff}a,b\r\n\r\n\n1,\"two\nlines, \"\"quoted\"\"\"\n,\nx\n";
        let expected =
            [record(1, &["a", "b"]), record(4, &["1", "two\nlines, \"quoted\""]), record(7, &["x"])];
        assert_eq!(read(text), expected);
        assert_eq!(read(""), []);
        assert_eq!(read("a\"b,c"), [record(1, &["a\"b", "c"])], "a mark inside a plain field is a letter");
    }

    #[test]
    fn marks_that_do_not_match_are_refused() {
        assert_eq!(
            records("a\n1,\"x\ny\n").unwrap_err(),
            (2, "a quotation mark opens and none closes".into())
        );
        let (line, problem) = records("a,b\n\n\"x\"y,1\n").unwrap_err();
        assert!(line == 3 && problem.starts_with("`y` after a closing quotation mark"), "{line}: {problem}");
        assert!(records("\"a\" ,b").is_err());
    }
}
