//! What little XML a store answers with: names and texts of elements, no attributes that matter.

/// The contents of every `<NAME>…</NAME>` in `text`, in order. Elements of one name do not lie in each other in these answers.
pub(super) fn elements<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(&open) {
        let inside = &rest[start + open.len()..];
        let Some(end) = inside.find(&close) else { break };
        found.push(&inside[..end]);
        rest = &inside[end + close.len()..];
    }
    found
}

/// The text of the first element of that name.
pub(super) fn text_of(text: &str, name: &str) -> Option<String> {
    elements(text, name).first().map(|text| unescaped(text))
}

/// `&amp;` and the like as the characters that they stand for; what is not known stays.
pub(super) fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = rest.find(';').and_then(|end| Some((character(&rest[1..end])?, end + 1)));
        let (c, length) = known.unwrap_or(('&', 1));
        out.push(c);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

/// `text` for the inside of an element.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A key that was encoded as for an address, with `+` for a space as S3 does it. `None` for what is not UTF-8.
pub(super) fn decoded(text: &str) -> Option<String> {
    percent_decoded(&text.replace('+', " "))
}

/// Text that was encoded as for an address. Anything that is not a code stays as it is; `None` for what is not UTF-8.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|hex| *first == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let code = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_their_texts() {
        let text =
            "<?xml?><R><C><Key>a&amp;b&#x41;</Key><Size>3</Size></C><C><Key>&unknown; &</Key></C><C><Key>";
        let found = elements(text, "C");
        assert_eq!(found.len(), 2);
        assert_eq!(text_of(found[0], "Key").unwrap(), "a&bA");
        assert_eq!(text_of(found[0], "Size").unwrap(), "3");
        assert_eq!(text_of(found[1], "Key").unwrap(), "&unknown; &");
        assert_eq!(text_of(found[1], "Size"), None);
    }

    #[test]
    fn encoded_keys() {
        assert_eq!(decoded("a+b%2B%C3%BC%2").unwrap(), "a b+ü%2");
        assert_eq!(decoded("%FF"), None);
        assert_eq!(escaped("\"a<b>&\""), "&quot;a&lt;b&gt;&amp;&quot;");
    }
}
