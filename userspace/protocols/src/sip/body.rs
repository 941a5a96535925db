//! Finding the session description in a body, multipart or not (RFC 5621, RFC 2046 section 5.1).

use super::field::{Parameters, trim};

/// Most parts of one multipart body that are looked at.
const MAX_PARTS: usize = 16;
/// Deepest nesting of multipart bodies.
const MAX_DEPTH: usize = 3;
/// Longest boundary (RFC 2046 section 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// The `application/sdp` in a body of this Content-Type.
pub(super) fn find_sdp<'a>(content_type: &[u8], body: &'a [u8]) -> Option<&'a [u8]> {
    find(content_type, body, 0)
}

fn find<'a>(content_type: &[u8], body: &'a [u8], depth: usize) -> Option<&'a [u8]> {
    let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    let kind = trim(&content_type[..end]);
    if is_sdp(kind) {
        return Some(body);
    }
    if depth == MAX_DEPTH || !kind.get(..10).is_some_and(|word| word.eq_ignore_ascii_case(b"multipart/")) {
        return None;
    }
    let boundary = Parameters::new(&content_type[end..])
        .find(|(name, _)| name.eq_ignore_ascii_case(b"boundary"))
        .and_then(|(_, value)| value)
        .filter(|boundary| (1..=MAX_BOUNDARY).contains(&boundary.len()))?;
    Parts { rest: after_delimiter(body, boundary), boundary }.take(MAX_PARTS).find_map(|part| {
        let (kind, content) = split_part(part)?;
        find(kind, content, depth + 1)
    })
}

/// `application/sdp`, white space around the slash allowed.
fn is_sdp(kind: &[u8]) -> bool {
    let mut halves = kind.splitn(2, |byte| *byte == b'/').map(trim);
    halves.next().is_some_and(|half| half.eq_ignore_ascii_case(b"application"))
        && halves.next().is_some_and(|half| half.eq_ignore_ascii_case(b"sdp"))
}

struct Parts<'a, 'b> {
    rest: Option<&'a [u8]>,
    boundary: &'b [u8],
}

impl<'a> Iterator for Parts<'a, '_> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let next = delimiter(rest, self.boundary)?;
        self.rest = after_delimiter(&rest[next..], self.boundary);
        Some(&rest[..next])
    }
}

/// Where a delimiter line begins: `--boundary` at the beginning of a line.
fn delimiter(bytes: &[u8], boundary: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = &bytes[at..];
        if line.strip_prefix(b"--").is_some_and(|line| line.starts_with(boundary)) {
            return Some(at);
        }
        at += line.iter().position(|byte| *byte == b'\n')? + 1;
    }
}

/// What follows the first delimiter line; `None` after the last one (`--boundary--`).
fn after_delimiter<'a>(bytes: &'a [u8], boundary: &[u8]) -> Option<&'a [u8]> {
    let line = &bytes[delimiter(bytes, boundary)? + 2 + boundary.len()..];
    if line.starts_with(b"--") {
        return None;
    }
    let end = line.iter().position(|byte| *byte == b'\n')?;
    Some(&line[end + 1..])
}

/// Content-Type and content of a part; `text/plain` has no name here, so a part without Content-Type is none.
fn split_part(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut kind = None;
    let mut rest = part;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = trim(&rest[..end]);
        rest = &rest[end + 1..];
        if line.is_empty() {
            return Some((kind?, rest));
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = trim(&line[..colon]);
        if name.eq_ignore_ascii_case(b"Content-Type") || name.eq_ignore_ascii_case(b"c") {
            kind = Some(trim(&line[colon + 1..]));
        }
    }
}
