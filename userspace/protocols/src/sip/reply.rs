//! Answers of the firewall's own: a final response to a request, without a transaction.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::net::SocketAddr;

use memchr::memchr2;

use super::field::{Parameters, Split, parse_ip};
use super::{Field, Message, Method};

/// A response to `request`, which came from `source`, with these extra header fields.
///
/// It is what RFC 3261 section 8.2.6 asks for: all Vias in order (the topmost one with `received` and `rport` as
/// sections 18.2.1 and RFC 3581 say), From, To with a tag, Call-ID and CSeq, and no body. The tag is made of the
/// request, so that a retransmission has the same (section 8.2.7), and it names no dialog. Send it to `source`.
///
/// `None` for what cannot be read as a request, for ACK, which has no response, for a status outside 100 to 699,
/// and for a reason or an extra field with a line break in it.
pub fn reply(
    request: &[u8],
    source: SocketAddr,
    status: u16,
    reason: &str,
    extra: &[(&str, &str)],
) -> Option<Vec<u8>> {
    let message = Message::parse(request).ok()?;
    let breaks = |text: &str| memchr2(b'\r', b'\n', text.as_bytes()).is_some();
    if message.request_uri().is_none()
        || message.method() == Method::Ack
        || !(100..700).contains(&status)
        || breaks(reason)
        || extra.iter().any(|(name, value)| breaks(name) || breaks(value))
    {
        return None;
    }
    // The head is as long as all that is copied from it.
    let mut response = Vec::with_capacity(message.head_length() + 256);
    write!(response, "SIP/2.0 {status:03} {reason}\r\n").ok()?;
    for (place, via) in message.values(Field::Via).enumerate() {
        response.extend_from_slice(b"Via: ");
        if place == 0 {
            topmost_via(&mut response, via, source)?;
        } else {
            response.extend_from_slice(via);
        }
        response.extend_from_slice(b"\r\n");
    }
    for field in [Field::From, Field::To, Field::CallId, Field::CSeq] {
        write!(response, "{field}: ").ok()?;
        response.extend_from_slice(message.value(field)?);
        if field == Field::To && message.to.tag.is_none() && status != 100 {
            write!(response, ";tag={:016x}", tag(&message)).ok()?;
        }
        response.extend_from_slice(b"\r\n");
    }
    for (name, value) in extra {
        write!(response, "{name}: {value}\r\n").ok()?;
    }
    response.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    Some(response)
}

/// What a requester reads instead of `response`: the same with another status, without a body and what else it says.
///
/// `None` for what cannot be read as a response, for a status outside 100 to 699, and for a reason with a line break
/// in it.
pub fn reply_instead(response: &[u8], status: u16, reason: &str) -> Option<Vec<u8>> {
    let message = Message::parse(response).ok()?;
    message.status()?;
    if !(100..700).contains(&status) || memchr2(b'\r', b'\n', reason.as_bytes()).is_some() {
        return None;
    }
    let mut instead = Vec::with_capacity(message.head_length() + 64);
    write!(instead, "SIP/2.0 {status:03} {reason}\r\n").ok()?;
    for field in [Field::Via, Field::From, Field::To, Field::CallId, Field::CSeq] {
        for value in message.values(field) {
            write!(instead, "{field}: ").ok()?;
            instead.extend_from_slice(value);
            instead.extend_from_slice(b"\r\n");
        }
    }
    instead.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    Some(instead)
}

/// Writes the first line of Vias, its first value with where the request came from.
fn topmost_via(response: &mut Vec<u8>, line: &[u8], source: SocketAddr) -> Option<()> {
    let top = Split::new(line, b',').next()?;
    let end = place(line, top)? + top.len();
    let host_end = top.iter().position(|byte| *byte == b';').unwrap_or(top.len());
    let parameters = || Parameters::new(&top[host_end..]);
    let rport = parameters().find(|(name, _)| name.eq_ignore_ascii_case(b"rport"));
    let asks = rport.filter(|(_, value)| value.is_none());
    let received = parameters().named("received").is_some();
    let same = super::Via::parse(line).ok().and_then(|via| parse_ip(via.host)) == Some(source.ip());
    match asks {
        None => response.extend_from_slice(&line[..end]),
        Some((name, _)) => {
            let name_end = place(line, name)? + name.len();
            response.extend_from_slice(&line[..name_end]);
            write!(response, "={}", source.port()).ok()?;
            response.extend_from_slice(&line[name_end..end]);
        }
    }
    if !received && (asks.is_some() || !same) {
        write!(response, ";received={}", source.ip().to_canonical()).ok()?;
    }
    response.extend_from_slice(&line[end..]);
    Some(())
}

/// Where `part`, a slice of `whole`, begins in it.
fn place(whole: &[u8], part: &[u8]) -> Option<usize> {
    part.as_ptr().addr().checked_sub(whole.as_ptr().addr()).filter(|at| at + part.len() <= whole.len())
}

/// What a retransmission has in common with the request, and no other request has.
fn tag(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    (message.call_id, message.from.tag, message.via.branch, message.cseq.number).hash(&mut hasher);
    hasher.finish()
}
