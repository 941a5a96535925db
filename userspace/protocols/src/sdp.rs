//! Session descriptions (RFC 8866) as the offer/answer model uses them (RFC 3264): where each media stream is
//! received, and whether it is to flow.
//!
//! [`Session::parse`] reads what says something about addresses and directions and leaves all other lines
//! alone. Lines may end in CRLF or LF (RFC 8866 section 5). At most [`MAX_MEDIA`] media descriptions; their
//! attributes stay in the text and are read when asked for, and what cannot be read there is as good as absent.

mod media;
mod values;

pub use media::{Media, Protocol, Security};
pub use values::{
    Candidate, Connection, Crypto, Direction, Fingerprint, Host, MsrpUri, Origin, Rtcp, Rtpmap, Setup, T38,
};

use crate::lines::Lines;
use values::{attributes, first, trim};

/// Most media descriptions of one session.
pub const MAX_MEDIA: usize = 32;
/// Longest description, in bytes.
pub const MAX_DESCRIPTION: usize = 65_535;
/// Most candidates, and most synchronization sources, of one media description that are looked at.
pub const MAX_CANDIDATES: usize = 64;

/// Why a description cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than [`MAX_DESCRIPTION`] bytes.
    #[error("description longer than {MAX_DESCRIPTION} bytes")]
    TooLong,
    /// It does not begin with `v=0`.
    #[error("not a session description of version 0")]
    Version,
    /// More than [`MAX_MEDIA`] m= lines.
    #[error("more than {MAX_MEDIA} media descriptions")]
    TooManyMedia,
    /// An m= line that is not `media port[/count] protocol format …`.
    #[error("malformed m= line")]
    Media,
    /// A c= line that is not `IN IP4|IP6 address[/ttl][/count]`.
    #[error("malformed c= line")]
    Connection,
}

/// A session description.
#[derive(Clone, Debug, Default)]
pub struct Session<'a> {
    /// The session's c= line.
    pub connection: Option<Connection<'a>>,
    /// The session's direction.
    pub direction: Direction,
    /// a=ice-lite (RFC 8839 section 5.3).
    pub ice_lite: bool,
    /// Its media descriptions in order, at most [`MAX_MEDIA`].
    pub media: Vec<Media<'a>>,
    /// What stands before the first m= line.
    text: &'a [u8],
}

impl<'a> Session<'a> {
    /// Reads a description.
    ///
    /// # Errors
    /// See [`Error`]. Lines that say nothing about addresses are not checked.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        if text.len() > MAX_DESCRIPTION {
            return Err(Error::TooLong);
        }
        let mut lines = Lines { text, at: 0 }.filter(|(_, line)| !line.is_empty());
        if lines.next().is_none_or(|(_, line)| line.trim_ascii() != b"v=0") {
            return Err(Error::Version);
        }
        let mut session = Self { text, ..Self::default() };
        let mut connected = false;
        for (at, line) in lines {
            let [kind, b'=', value @ ..] = line else { continue };
            match kind {
                b'm' => {
                    match session.media.last_mut() {
                        Some(last) => last.end_at(text, at),
                        None => session.text = &text[..at],
                    }
                    if session.media.len() == MAX_MEDIA {
                        return Err(Error::TooManyMedia);
                    }
                    let media = Media::parse(value, &session, &text[at..]).ok_or(Error::Media)?;
                    session.media.push(media);
                    connected = false;
                }
                b'c' => {
                    let connection = Connection::parse(value).ok_or(Error::Connection)?;
                    match session.media.last_mut() {
                        // A second c= line in its place is another layer of a multicast stream.
                        _ if connected => {}
                        Some(media) => media.connection = Some(connection),
                        None => session.connection = Some(connection),
                    }
                    connected = true;
                }
                b'a' => match session.media.last_mut() {
                    Some(media) => media.note(value),
                    None => session.note(value),
                },
                _ => {}
            }
        }
        Ok(session)
    }

    fn note(&mut self, attribute: &[u8]) {
        let attribute = trim(attribute);
        if let Some(direction) = Direction::parse(attribute) {
            self.direction = direction;
        } else if attribute == b"ice-lite" {
            self.ice_lite = true;
        }
    }

    /// The o= line.
    pub fn origin(&self) -> Option<Origin<'a>> {
        let line = Lines { text: self.text, at: 0 }.find_map(|(_, line)| line.strip_prefix(b"o="))?;
        Origin::parse(std::str::from_utf8(line).ok()?)
    }

    /// The identification tags of the first bundle (RFC 9143), in order.
    pub fn bundle(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.bundles().next().into_iter().flat_map(|bundle| bundle.mids())
    }

    /// All bundles in order (RFC 9143 section 7.1: a description may have several).
    pub fn bundles(&self) -> impl Iterator<Item = Bundle<'a>> + use<'a> {
        attributes(self.text, "group").filter_map(|group| {
            let (semantics, mids) = group.split_once(' ').unwrap_or((group, ""));
            (semantics == "BUNDLE").then_some(Bundle { mids })
        })
    }

    /// The bundle a media description of this identification tag is in.
    pub fn bundle_of(&self, mid: &str) -> Option<Bundle<'a>> {
        self.bundles().find(|bundle| bundle.has(mid))
    }

    /// The first attribute of the session with this name; `""` where it has no value.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        first(self.text, name)
    }
}

/// Media descriptions that share one transport (RFC 9143).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bundle<'a> {
    mids: &'a str,
}

impl<'a> Bundle<'a> {
    /// Their identification tags, in order.
    pub fn mids(self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.mids.split_ascii_whitespace()
    }

    /// The first of them, whose transport is that of all.
    pub fn tagged(self) -> Option<&'a str> {
        self.mids().next()
    }

    /// Whether this one is among them.
    pub fn has(self, mid: &str) -> bool {
        self.mids().any(|other| other == mid)
    }
}

#[cfg(test)]
mod tests;
