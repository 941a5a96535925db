//! Another parser of SIP and SDP, to be compared with: ezk-sip-types and ezk-sdp-types, which keep the message and
//! borrow from it as Callgate's do, and which a SIP stack of their own is built on.

use std::hint::black_box;

use bytesstr::BytesStr;
use ezk_sdp_types::{Direction, MediaDescription, SessionDescription, TaggedAddress};
use ezk_sip_types::header::typed::{CSeq, CallID, ContentLength, ContentType, FromTo, MaxForwards, Via};
use ezk_sip_types::msg::{Line, MessageLine, PullParser};
use ezk_sip_types::parse::Parse as _;
use ezk_sip_types::{Headers, Name};

/// Fields of a usual message: room for them is made at once.
const FIELDS: usize = 12;

/// Reads an INVITE as Callgate's ALG reads it: first line, the fields every message needs, Max-Forwards, the body's
/// kind and length, and of its description where each stream is received, which way it flows, and its codec. How many
/// streams there are.
pub(super) fn read(text: &BytesStr) -> Option<usize> {
    let bytes: &bytes::Bytes = text.as_ref();
    let mut parser = PullParser::new(bytes, 0);
    let first = std::str::from_utf8(parser.next()?.ok()?).ok()?;
    let (_, start) = MessageLine::parse(bytes)(first).ok()?;
    let mut fields = Headers::with_capacity(FIELDS);
    for line in &mut parser {
        let (_, line) = Line::parse(bytes, std::str::from_utf8(line.ok()?).ok()?).ok()?;
        fields.insert(line.name, line.value);
    }
    let via: Via = fields.get_named().ok()?;
    let [from, to] = [Name::FROM, Name::TO].map(|name| fields.get::<FromTo>(name).ok());
    let (call_id, cseq): (CallID, CSeq) = (fields.get_named().ok()?, fields.get_named().ok()?);
    let max_forwards: MaxForwards = fields.get_named().ok()?;
    let (kind, length): (ContentType, ContentLength) = (fields.get_named().ok()?, fields.get_named().ok()?);
    black_box((&start, &via, from?, to?, &call_id, &cseq, &max_forwards, &kind));
    let body = parser.head_end()..parser.head_end().checked_add(length.0)?;
    let body = BytesStr::from_utf8_bytes(bytes.slice(body)).ok()?;
    let session = SessionDescription::parse(&body).ok()?;
    session.media_descriptions.iter().try_fold(0, |count, media| {
        black_box(stream(&session, media)?);
        Some(count + 1)
    })
}

/// Where a stream is received, which way it flows, and its codec.
fn stream<'a>(
    session: &'a SessionDescription,
    media: &'a MediaDescription,
) -> Option<(&'a TaggedAddress, u16, Direction, &'a str)> {
    let connection = media.connection.as_ref().or(session.connection.as_ref())?;
    let format = media.media.fmts.first()?;
    let map = media.rtpmap.iter().find(|map| map.payload == *format)?;
    Some((&connection.address, media.media.port, media.direction, map.encoding.as_str()))
}
