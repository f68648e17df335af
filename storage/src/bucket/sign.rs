//! Signature Version 4, by which a request to S3 proves who sends it.

use sha2::{Digest as _, Sha256};

use crate::part::hexadecimal;

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// What is signed of a request.
pub(super) struct Unsigned<'a> {
    pub method: &'a str,
    /// The path, encoded as it is sent.
    pub path: &'a str,
    /// Names and values of the query, not encoded yet.
    pub query: &'a [(String, String)],
    /// Headers to be sent and signed, names in small letters; `host` is one of them.
    pub headers: &'a [(String, String)],
    /// SHA-256 of the body, hexadecimal.
    pub body_sha256: &'a str,
    /// `20130524T000000Z`.
    pub time: &'a str,
    pub region: &'a str,
}

impl Unsigned<'_> {
    /// The value of the header `Authorization`, of who has `key` and its `secret`.
    pub fn authorization(&self, key: &str, secret: &str) -> String {
        let mut headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.trim())).collect();
        headers.sort_unstable();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!(
            "{}\n{}\n{}\n{lines}\n{names}\n{}",
            self.method,
            self.path,
            encoded_query(self.query),
            self.body_sha256
        );
        let day = self.time.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", self.time, sha256_of(canonical.as_bytes()));
        let mut signing = hmac(format!("AWS4{secret}").as_bytes(), day.as_bytes());
        for part in [self.region, "s3", "aws4_request"] {
            signing = hmac(&signing, part.as_bytes());
        }
        format!(
            "AWS4-HMAC-SHA256 Credential={key}/{scope},SignedHeaders={names},Signature={}",
            hexadecimal(&hmac(&signing, text.as_bytes()))
        )
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256_of(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// HMAC of RFC 2104 with SHA-256.
pub(super) fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().into()
}

/// Names and values as they are sent and signed: encoded, in the order of their names.
pub(super) fn encoded_query(query: &[(String, String)]) -> String {
    let mut pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name, false), encoded(value, false)))
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// Percent-encoding as S3 wants it: everything but letters, digits and `-._~`, and slashes where they separate.
pub(super) fn encoded(text: &str, slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            b'/' if slashes => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn signed(
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &str,
    ) -> String {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let mut headers = own(headers);
        headers.extend(own(&[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-content-sha256", body),
            ("x-amz-date", "20130524T000000Z"),
        ]));
        let request = Unsigned {
            method,
            path,
            query: &own(query),
            headers: &headers,
            body_sha256: body,
            time: "20130524T000000Z",
            region: "us-east-1",
        };
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        request.authorization("AKIAIOSFODNN7EXAMPLE", secret).rsplit_once('=').unwrap().1.to_owned()
    }

    /// The four examples of "Authenticating Requests: Using the Authorization Header" in the documentation of S3.
    #[test]
    fn the_examples_of_the_documentation() {
        assert_eq!(
            signed("GET", "/test.txt", &[], &[("range", "bytes=0-9")], EMPTY),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        assert_eq!(
            signed(
                "PUT",
                "/test%24file.text",
                &[],
                &[("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
                "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
            ),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signed("GET", "/", &[("lifecycle", "")], &[], EMPTY),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signed("GET", "/", &[("max-keys", "2"), ("prefix", "J")], &[], EMPTY),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    /// Cases 1, 2 and 6 of RFC 4231.
    #[test]
    fn hmac_of_the_rfc() {
        for (key, text, expected) in [
            (
                &[0x0b; 20][..],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hexadecimal(&hmac(key, text)), expected);
        }
    }

    #[test]
    fn names_are_encoded_as_s3_wants_them() {
        assert_eq!(encoded("a b/ü$~", true), "a%20b/%C3%BC%24~");
        assert_eq!(encoded("a/b", false), "a%2Fb");
    }
}
