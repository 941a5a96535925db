//! The head of a message: one pass that checks its lines and remembers where the fields stand.

use memchr::{memchr, memchr3};

use super::field::{is_token, trim};
use super::{Error, Field, MAX_FIELDS, MAX_HEAD, MAX_LINE};

/// A head: start line, header fields, blank line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    /// From the first byte of the start line to the end of the blank line; at most [`MAX_HEAD`] bytes.
    pub(super) bytes: &'a [u8],
    /// The first line, without its CRLF.
    pub(super) start: &'a [u8],
    /// Header fields, each counted once however many lines it has.
    pub(super) count: u16,
    /// Where the first value of each field stands.
    spans: [Span; Field::COUNT],
    /// Fields that stand more than once.
    repeated: u64,
}

/// A place in [`Head::bytes`]; a value never begins at 0, so that stands for none.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    begin: u16,
    end: u16,
}

impl<'a> Head<'a> {
    /// Reads the head that `bytes` begins with; `None` while it has no end. Guarantees that every line ends in
    /// CRLF and holds neither a bare CR or LF nor an unescaped NUL, that every header line is `name: value`, and
    /// that no field stands twice that may stand once only.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Option<Self>, Error> {
        let text = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        let unfinished = if text.len() < bytes.len() { Err(Error::HeadTooLong) } else { Ok(None) };
        let Some(first) = line_end(text, 0)? else { return unfinished };
        let mut head = Self {
            bytes: text,
            start: &text[..first],
            count: 0,
            spans: [Span::default(); Field::COUNT],
            repeated: 0,
        };
        let mut at = first + 2;
        loop {
            match text.get(at..at + 2) {
                Some(b"\r\n") => break,
                None => return unfinished,
                Some(_) => {}
            }
            let Some(mut end) = line_end(text, at)? else { return unfinished };
            while matches!(text.get(end + 2), Some(b' ' | b'\t')) {
                let Some(next) = line_end(text, end + 2)? else { return unfinished };
                end = next;
                if end - at > MAX_LINE {
                    return Err(Error::LineTooLong);
                }
            }
            if usize::from(head.count) == MAX_FIELDS {
                return Err(Error::TooManyFields);
            }
            head.count += 1;
            let (name, value) = split(&text[at..end]).ok_or(Error::HeaderLine)?;
            if let Some(field) = Field::from_name(name) {
                head.note(field, at + value, end)?;
            }
            at = end + 2;
        }
        head.bytes = &text[..at + 2];
        Ok(Some(head))
    }

    /// The first field with this name, without white space around it. A folded value keeps its line breaks; every
    /// reader of values takes CR and LF for the white space they are there.
    pub(super) fn value(&self, field: Field) -> Option<&'a [u8]> {
        let Span { begin, end } = self.spans[field as usize];
        if begin == 0 {
            return None;
        }
        self.bytes.get(begin.into()..end.into())
    }

    /// All fields with this name, in order.
    pub(super) fn values(&self, field: Field) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let repeated = self.repeated >> field as u8 & 1 == 1;
        let (first, rest) = match self.value(field) {
            Some(value) if !repeated => (Some(value), None),
            Some(_) => (None, Some(self.fields())),
            None => (None, None),
        };
        let same = move |(name, value)| (Field::from_name(name) == Some(field)).then_some(value);
        first.into_iter().chain(rest.into_iter().flatten().filter_map(same))
    }

    /// All header fields, name and value, in order.
    pub(super) fn fields(&self) -> Fields<'a> {
        Fields { rest: self.bytes.get(self.start.len() + 2..).unwrap_or_default() }
    }

    /// Whether it has this field.
    pub(super) fn has(&self, field: Field) -> bool {
        self.spans[field as usize].begin != 0
    }

    fn note(&mut self, field: Field, begin: usize, end: usize) -> Result<(), Error> {
        let span = &mut self.spans[field as usize];
        if span.begin == 0 {
            let mut end = end;
            while end > begin && matches!(self.bytes[end - 1], b' ' | b'\t' | b'\r' | b'\n') {
                end -= 1;
            }
            // Both are at most MAX_HEAD, which 16 bits hold.
            *span = Span { begin: begin as u16, end: end as u16 };
        } else if field.is_single() {
            return Err(Error::Duplicate(field));
        } else {
            self.repeated |= 1 << field as u8;
        }
        Ok(())
    }
}

const _: () = assert!(MAX_HEAD <= u16::MAX as usize && Field::COUNT <= u64::BITS as usize);

/// Header fields in order: name, and value without white space around it.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    /// What [`Head::read`] has checked.
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.starts_with(b"\r\n") {
            return None;
        }
        let mut end = 0;
        loop {
            end += memchr(b'\n', &self.rest[end..])? + 1;
            if !matches!(self.rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        let (name, value) = split(line)?;
        Some((name, trim(&line[value..])))
    }
}

/// Where the line that begins at `from` has its CRLF; `None` while it has none.
fn line_end(text: &[u8], from: usize) -> Result<Option<usize>, Error> {
    let mut at = from;
    let end = loop {
        let Some(found) = memchr3(b'\r', b'\n', 0, &text[at..]) else { break None };
        at += found;
        match (text[at], text.get(at + 1)) {
            (b'\r', Some(b'\n')) => break Some(at),
            (b'\r', None) => break None,
            (b'\r' | b'\n', _) => return Err(Error::LineEnd),
            _ if at > from && text[at - 1] == b'\\' => at += 1,
            _ => return Err(Error::Nul),
        }
    };
    // Of a line that has no end yet, the beginning may be too long already.
    if end.unwrap_or(text.len()) - from > MAX_LINE {
        return Err(Error::LineTooLong);
    }
    Ok(end)
}

/// Name of a header line, and where its value begins; `None` where it is not `name: value`.
fn split(line: &[u8]) -> Option<(&[u8], usize)> {
    let name = line.iter().position(|byte| !is_token(*byte)).filter(|length| *length > 0)?;
    let mut at = name;
    while matches!(line.get(at)?, b' ' | b'\t' | b'\r' | b'\n') {
        at += 1;
    }
    if line[at] != b':' {
        return None;
    }
    at += 1;
    while matches!(line.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    Some((&line[..name], at))
}
