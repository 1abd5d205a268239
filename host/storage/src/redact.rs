//! Keeps credentials out of messages.
//!
//! The services' own errors rarely show any, but some S3-like servers echo the request, and a signed URL is a credential.

/// Parameters of URLs, headers and XML elements whose value is, or proves, a credential. Compared in lower case.
const MARKERS: [&str; 17] = [
    "x-amz-signature=",
    "x-amz-credential=",
    "x-amz-security-token=",
    "x-goog-signature=",
    "x-goog-credential=",
    "awsaccesskeyid=",
    "signature=",
    "sig=",
    "access_token=",
    "accountkey=",
    "sharedaccesssignature=",
    "authorization:",
    "credential=",
    "sharedkey ",
    "bearer ",
    "<awsaccesskeyid>",
    "<signatureprovided>",
];

/// Replaces every credential in `text` by `***`, and the user information of URLs.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((start, length)) = next_marker(rest) {
        let (before, after) = rest.split_at(start + length);
        out.push_str(before);
        out.push_str("***");
        let after = after.trim_start_matches(' ');
        // A header's value has spaces in it.
        let header = before.ends_with(':');
        let ends =
            |c: char| if header { "\r\n\"'<>".contains(c) } else { c.is_whitespace() || "&\"'<>,;)}".contains(c) };
        let end = after.find(ends).unwrap_or(after.len());
        rest = after.split_at(end).1;
    }
    out.push_str(rest);
    hide_user_information(&out)
}

/// The start and length of the first marker in `text`.
fn next_marker(text: &str) -> Option<(usize, usize)> {
    // ASCII lower case keeps every byte offset.
    let lower = text.to_ascii_lowercase();
    MARKERS.iter().filter_map(|marker| lower.find(marker).map(|at| (at, marker.len()))).min_by_key(|(at, _)| *at)
}

/// Turns `https://user:password@host` into `https://***@host`.
fn hide_user_information(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c == '/' || c == '?' || c.is_whitespace()).unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str("***@");
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_urls_and_echoed_headers_lose_their_credentials() {
        for text in [
            "GET https://b.s3.test/x?X-Amz-Credential=SECRET%2F2026&X-Amz-Signature=SECRET&y=1",
            "https://a.blob.test/c/b?sv=1&sig=SECRET%3D failed",
            "Authorization: SECRET",
            "Authorization: Bearer SECRET",
            "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=SECRET==;BlobEndpoint=x",
            "<Error><AWSAccessKeyId>SECRET</AWSAccessKeyId></Error>",
            "http://user:SECRET@proxy:3128/",
        ] {
            let redacted = redact(text);
            assert!(!redacted.contains("SECRET"), "{redacted}");
            assert!(redacted.contains("***"), "{redacted}");
        }
    }

    #[test]
    fn ordinary_messages_stay() {
        for text in ["the bucket demo does not exist", "http://[::1]:9000/b/k: connection refused", "größe = 3"] {
            assert_eq!(redact(text), text);
        }
    }
}
