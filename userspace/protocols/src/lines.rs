//! Lines of a text protocol (SDP, MGCP): ends in CRLF or LF, read without copying.

use memchr::memchr;

/// Lines without their ends, with the offset each begins at.
pub(crate) struct Lines<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let at = self.at;
        let end = memchr(b'\n', rest);
        self.at += end.map_or(rest.len(), |end| end + 1);
        let line = &rest[..end.unwrap_or(rest.len())];
        Some((at, line.strip_suffix(b"\r").unwrap_or(line)))
    }
}
