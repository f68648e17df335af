//! The manners of a web server.

use std::collections::BTreeMap;

use super::{Contents, Ranges, Reply, object, range_of};

/// What it answers to a request.
pub(super) fn reply(
    contents: &Contents,
    method: &str,
    target: &str,
    headers: &BTreeMap<String, String>,
    lists: bool,
    ranges: Ranges,
) -> Reply {
    let key = target.trim_start_matches("/lake").trim_start_matches('/').replace("%20", " ");
    if let Some((bytes, etag)) = contents.objects.get(&key) {
        // No ETag, as Python's: when it was changed tells versions apart.
        let second = etag.trim_matches(|c: char| !c.is_ascii_digit());
        let changed = format!("Last-Modified: Thu, 01 Jan 1970 00:00:{second:0>2} GMT\r\n");
        return match (range_of(headers), ranges) {
            (None, _) | (_, Ranges::Ignored) => object(method, bytes, None, changed),
            (part, Ranges::Right) => object(method, bytes, part, changed),
            (Some((from, to)), Ranges::Wrong) => {
                let by = usize::from(from > 0);
                object(method, bytes, Some((from - by, to - by)), changed)
            }
        };
    }
    let folder = if key.is_empty() || key.ends_with('/') { key } else { format!("{key}/") };
    let below = contents.objects.keys().filter_map(|key| key.strip_prefix(&folder));
    let names: std::collections::BTreeSet<String> = below
        .map(|name| name.split_once('/').map_or(name.to_owned(), |(name, _)| format!("{name}/")))
        .collect();
    if names.is_empty() || !lists {
        return (404, "Content-Type: text/html\r\n".into(), b"<title>404</title>".to_vec());
    }
    let links: String =
        names.iter().map(|name| format!("<a href=\"{}\">{name}</a>\n", name.replace(' ', "%20"))).collect();
    let page = format!("<html><title>Index of /{folder}</title><a href=\"../\">../</a>\n{links}</html>");
    (200, "Content-Type: text/html; charset=utf-8\r\n".into(), page.into_bytes())
}
