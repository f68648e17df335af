//! Addresses of servers, and whether they are this machine.

use std::fmt;
use std::net::IpAddr;

use crate::{Error, Result};

/// The address of a server's chat completions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    url: String,
    host: String,
}

impl Address {
    /// From `http://HOST:PORT`, `…/v1` or the whole address of the chat completions.
    ///
    /// # Errors
    /// An address that is neither http nor https, has no host, or holds a user name.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::request(format!("`{text}` {what}, expected an address like http://127.0.0.1:8080/v1"))
        };
        let (scheme, rest) =
            text.trim().split_once("://").ok_or_else(|| wrong("has no http:// or https://"))?;
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(wrong("is neither http nor https"));
        }
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            // Not repeated in the message: it may hold a password.
            return Err(Error::request("the address of the server holds a user name or a password")
                .with_remedy("put the key into an environment variable and name it with --key-env"));
        }
        if path.contains(['?', '#', '\\']) || !authority.chars().all(|c| c.is_ascii_graphic()) {
            return Err(wrong("has a query or signs that no address has"));
        }
        let host = match authority.strip_prefix('[') {
            Some(v6) => v6.split_once(']').map(|(host, _)| host),
            None => Some(authority.split(':').next().unwrap_or_default()),
        };
        let host =
            host.filter(|host| !host.is_empty()).ok_or_else(|| wrong("has no host"))?.to_ascii_lowercase();
        let path = path.trim_end_matches('/');
        let path = path.strip_suffix("/chat/completions").unwrap_or(path);
        let path = if path.is_empty() { "/v1" } else { path };
        Ok(Self { url: format!("{scheme}://{authority}{path}/chat/completions"), host })
    }

    /// The whole address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Name or number of the machine.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is this machine: `localhost`, 127.0.0.0/8 or ::1.
    pub fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether anybody on the way can read what is sent.
    pub fn is_plain(&self) -> bool {
        self.url.starts_with("http://")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_completed() {
        let url = |text: &str| Address::parse(text).unwrap().url().to_owned();
        let whole = "http://127.0.0.1:8080/v1/chat/completions";
        for text in ["http://127.0.0.1:8080", "http://127.0.0.1:8080/", "HTTP://127.0.0.1:8080/v1/", whole] {
            assert_eq!(url(text), whole, "{text}");
        }
        assert_eq!(url("https://openrouter.ai/api/v1"), "https://openrouter.ai/api/v1/chat/completions");
    }

    #[test]
    fn this_machine_is_told_from_names_that_look_like_it() {
        let local = |text: &str| Address::parse(text).unwrap().is_local();
        for text in
            ["http://localhost:1", "http://127.0.0.1", "http://127.8.9.1:80/v1", "http://[::1]:8080/v1"]
        {
            assert!(local(text), "{text}");
        }
        for text in [
            "http://localhost.evil.org",
            "http://127.0.0.1.evil.org/v1",
            "http://192.168.0.2",
            "https://[::2]/",
            "http://0.0.0.0",
        ] {
            assert!(!local(text), "{text}");
        }
        for text in [
            "http://127.0.0.1@evil.org",
            "http://evil.org\\@127.0.0.1/",
            "ftp://127.0.0.1",
            "127.0.0.1:80",
            "http:///v1",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        let error = Address::parse("http://me:secret@evil.org").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
