//! The manners of Google's store.

use std::collections::BTreeMap;

use super::{Contents, Reply, object, plain, range_of, split};

/// What it answers to a request.
pub(super) fn reply(
    contents: &Contents,
    method: &str,
    target: &str,
    headers: &BTreeMap<String, String>,
) -> Reply {
    let (path, query) = split(target);
    let Some(below) = path.strip_prefix("/storage/v1/b/lake/o") else {
        let text = r#"{"error":{"code":404,"message":"There is none.","errors":[{"reason":"notFound"}]}}"#;
        return (404, String::new(), text.into());
    };
    if below.is_empty() {
        return (
            200,
            String::new(),
            list(contents, &plain(query["prefix"]), query.get("pageToken")).into_bytes(),
        );
    }
    let Some((key, (bytes, etag))) = contents.objects.get_key_value(&plain(&below[1..])) else {
        return (404, String::new(), b"Not Found".to_vec());
    };
    let now = generation(etag);
    if query.get("generation").is_some_and(|wanted| *wanted != now) {
        return (404, String::new(), b"Not Found".to_vec());
    }
    match query.get("alt") {
        Some(&"media") => object(method, bytes, range_of(headers), format!("x-goog-generation: {now}\r\n")),
        _ => (200, String::new(), item(key, bytes, etag).into_bytes()),
    }
}

/// The number in a made-up ETag.
fn generation(etag: &str) -> String {
    etag.chars().filter(char::is_ascii_digit).collect()
}

fn item(key: &str, bytes: &[u8], etag: &str) -> String {
    // Sums are worked out elsewhere: this shares no code with what it tests.
    let sum = match bytes {
        b"{}" => r#","md5Hash":"mZFLkyvTelC5g8XnyQrpOw==""#,
        b"[]" => r#","md5Hash":"11FxOYiYfpMxmANj4kGJzg==""#,
        _ => "",
    };
    let (size, generation) = (bytes.len(), generation(etag));
    format!(r#"{{"name":"{key}","size":"{size}","generation":"{generation}","etag":"x="{sum}}}"#)
}

/// Three objects a page.
fn list(contents: &Contents, prefix: &str, token: Option<&&str>) -> String {
    let after = token.map_or(String::new(), |token| plain(token));
    let mut entries = contents.objects.iter().filter(|(key, _)| key.starts_with(prefix) && **key > after);
    let page: Vec<_> = entries.by_ref().take(3).collect();
    let items: Vec<String> = page.iter().map(|(key, (bytes, etag))| item(key, bytes, etag)).collect();
    let next = match (entries.next(), page.last()) {
        (Some(_), Some((key, _))) => format!(r#","nextPageToken":"{key}""#),
        _ => String::new(),
    };
    // A page without objects has no list.
    let items = if items.is_empty() { String::new() } else { format!(r#","items":[{}]"#, items.join(",")) };
    format!(r#"{{"kind":"storage#objects"{items}{next}}}"#)
}
