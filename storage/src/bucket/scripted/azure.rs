//! The manners of Azure's store.

use std::collections::BTreeMap;

use super::{Contents, Reply, object, plain, range_of, split};

/// Three blobs a page.
pub(super) fn reply(
    contents: &Contents,
    method: &str,
    target: &str,
    headers: &BTreeMap<String, String>,
) -> Reply {
    let (path, query) = split(target);
    assert_eq!(headers["x-ms-version"], "2021-08-06");
    if query.get("comp") == Some(&"list") {
        assert_eq!((path, query["restype"]), ("/acc/lake", "container"));
        let (prefix, after) = (plain(query["prefix"]), plain(query.get("marker").unwrap_or(&"")));
        let mut entries =
            contents.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
        let page: Vec<_> = entries.by_ref().take(3).collect();
        let blobs: String = page
            .iter()
            .map(|(key, (bytes, etag))| {
                let length = bytes.len();
                format!(
                    "<Blob><Name>{key}</Name><Properties><Etag>{etag}</Etag><Content-Length>{length}</Content-Length></Properties></Blob>"
                )
            })
            .collect();
        let next = entries.next().and(page.last()).map_or("", |(key, _)| key.as_str());
        let text = format!(
            "<?xml version=\"1.0\"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
        );
        return (200, String::new(), text.into_bytes());
    }
    let key = plain(path.trim_start_matches("/acc/lake").trim_start_matches('/'));
    match contents.objects.get(&key) {
        None => (404, String::new(), Vec::new()),
        Some((_, etag)) if headers.get("if-match").is_some_and(|wanted| *wanted != format!("\"{etag}\"")) => {
            (412, String::new(), Vec::new())
        }
        Some((bytes, etag)) => object(method, bytes, range_of(headers), format!("ETag: \"{etag}\"\r\n")),
    }
}
