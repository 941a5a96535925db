//! The end of a call as its parties read it, when a limit of the call policy has come: BYE, to each as if from the
//! other one.
//!
//! A dialog's own requests tell best how its parties reach each other on this hop: where from, where to, by which
//! Request-URI and routes, and how far they have counted. Until the callee has sent one, the INVITE tells how it will
//! (RFC 3261 section 12.1.1). It is learnt only where a call policy may need it.
//!
//! An octet put into a TCP stream would shift it for good, so that by TCP a BYE can only be the last of its connection:
//! said once, where nothing else needs that ([`LastWords`]).
//!
//! Who asks for credentials even here is left as it is: it learns of the end when it speaks of the call again.

use std::fmt::Write;
use std::net::SocketAddr;

use callgate_protocols::sip::{Address, Message, Uri};

use super::transaction_id;
use crate::action::{Carrier, Context, Saying, Time, Transport};
use crate::call::{CallId, Party};
use crate::core::Core;
use crate::farewell::Farewells;

/// Bytes of a Request-URI with its routes, and of a party's URI: more is nobody's, and not kept.
const MAX_WAY: usize = 512;
const MAX_URI: usize = 256;
/// Greatest CSeq (RFC 3261 section 8.1.1.5).
const MAX_NUMBER: u32 = (1 << 31) - 1;
/// The port of SIP where none is said.
const PORT: u16 = 5060;

/// How one party's requests reach the other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    from: SocketAddr,
    to: SocketAddr,
    transport: Transport,
    /// The Request-URI, and the Route field's value; the latter may be empty.
    target: String,
    routes: String,
    /// The greatest CSeq so far.
    number: u32,
}

impl Way {
    /// As a request within a dialog has gone.
    pub(super) fn of(context: &Context, request: &Message, before: Option<&Self>) -> Option<Self> {
        let target = request.request_uri()?.to_owned();
        let routes = joined(request.routes().map(|route| route.ok()))?;
        let number = request.cseq.number.max(before.map_or(0, |before| before.number));
        let (from, to, transport) = (context.source, context.destination, context.transport);
        Self { from, to, transport, target, routes, number }.within_bounds()
    }

    /// As the callee's requests will go, by what an INVITE says.
    pub(super) fn back(context: &Context, invite: &Message) -> Option<Self> {
        let contact = invite.contacts().next()?.ok()?.uri;
        let mut routes: Vec<Address> = invite.record_routes().collect::<Result<_, _>>().ok()?;
        let first = routes.first().map_or(contact, |route| route.uri);
        // A router of old is asked for by the Request-URI, and what was that comes last (section 12.2.1.1).
        let strict = !routes.is_empty() && Uri::parse(first)?.parameter("lr").is_none();
        let (target, last) = match strict {
            true => (routes.remove(0).uri, Some(contact)),
            false => (contact, None),
        };
        let mut joined = joined(routes.into_iter().map(Some))?;
        if let Some(last) = last {
            let _ = write!(joined, "{}<{last}>", if joined.is_empty() { "" } else { ", " });
        }
        let to = match Uri::parse(first) {
            // By TCP, on the connection that there is.
            _ if context.transport == Transport::Tcp => context.source,
            Some(uri) if uri.ip() == Some(context.source.ip()) => {
                SocketAddr::new(context.source.ip(), uri.port.unwrap_or(PORT))
            }
            _ => context.source,
        };
        let (from, transport, target) = (context.destination, context.transport, target.to_owned());
        Self { from, to, transport, target, routes: joined, number: 0 }.within_bounds()
    }

    /// The other party has said where it is reached from now on.
    pub(super) fn refresh(&mut self, contact: &str) {
        if contact.len() + self.routes.len() <= MAX_WAY {
            contact.clone_into(&mut self.target);
        }
    }

    /// It as a call's memo keeps it, in words; `None` where that would not be read as it was, or nothing can be said by it
    /// any more when it is read: whoever has not read a connection from its handshake on cannot end it.
    pub(super) fn memo(&self) -> Option<String> {
        let Self { from, to, target, routes, number, .. } = self;
        let broken = target.contains(char::is_whitespace) || routes.contains('\n');
        let kept = self.transport == Transport::Udp && !broken;
        kept.then(|| format!("{from} {to} {number} {target} {routes}"))
    }

    /// Reads it again.
    pub(super) fn from_memo(text: &str) -> Option<Self> {
        let mut words = text.splitn(5, ' ');
        let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let (number, target) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let routes = words.next()?.to_owned();
        Self { from, to, transport: Transport::Udp, target, routes, number }.within_bounds()
    }

    /// The connection it takes, where it takes one.
    pub(super) fn connection(&self) -> Option<Connection> {
        (self.transport == Transport::Tcp).then(|| Connection::of(self.from, self.to))
    }

    fn within_bounds(self) -> Option<Self> {
        (self.target.len() + self.routes.len() <= MAX_WAY).then_some(self)
    }
}

/// A TCP connection, whichever of its ends has made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Connection(pub(crate) [SocketAddr; 2]);

impl Connection {
    pub(super) fn of(one: SocketAddr, other: SocketAddr) -> Self {
        Self(if one <= other { [one, other] } else { [other, one] })
    }
}

/// What the end of a connection reads last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastWords {
    pub(crate) connection: Connection,
    /// To which of its ends.
    pub(crate) to: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

/// The parties' URIs as From and To have them, by [`Party`].
pub(super) fn uris(message: &Message) -> Option<[String; 2]> {
    let uris = [message.from.uri, message.to.uri];
    uris.iter().all(|uri| uri.len() <= MAX_URI).then(|| uris.map(str::to_owned))
}

/// A dialog, as a BYE names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) call_id: &'a str,
    /// URI and tag, by [`Party`].
    pub(super) uris: &'a [String; 2],
    pub(super) tags: [&'a str; 2],
}

/// Says BYE to `by`'s other party, as if from it; gives it where it is to be the last of a connection.
pub(super) fn say_bye(
    farewells: &mut Farewells<u64>,
    core: &mut Core,
    now: Time,
    call: CallId,
    (by, way): (Party, &Way),
    named: Named<'_>,
) -> Option<LastWords> {
    if way.number >= MAX_NUMBER {
        return None;
    }
    let branch = farewells.number((call, by as u8, named.tags));
    let payload = bye(by, way, named, branch).into_bytes();
    // It is what its receiver will make of it, and its answer will be known by.
    let id = transaction_id(&Message::parse(&payload).ok()?);
    if let Some(connection) = way.connection() {
        return Some(LastWords { connection, to: way.to, payload });
    }
    let saying = Saying { call, from: way.from, to: way.to, carrier: Carrier::Datagram, payload };
    farewells.say(core, now, id, saying);
    None
}

fn bye(by: Party, way: &Way, Named { call_id, uris, tags }: Named<'_>, branch: u64) -> String {
    let (own, other) = (by as usize, by.other() as usize);
    let [from, to] = [own, other].map(|place| format!("<{}>;tag={}", uris[place], tags[place]));
    let sent_by = SocketAddr::new(way.from.ip().to_canonical(), way.from.port());
    let transport = if way.transport == Transport::Tcp { "TCP" } else { "UDP" };
    let route = if way.routes.is_empty() { String::new() } else { format!("Route: {}\r\n", way.routes) };
    format!(
        "BYE {} SIP/2.0\r\nVia: SIP/2.0/{transport} {sent_by};branch=z9hG4bK{branch:016x};rport\r\nMax-Forwards: 70\r\n\
         {route}From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {} BYE\r\n\
         Reason: Q.850;cause=31;text=\"A limit of the call policy has come\"\r\nContent-Length: 0\r\n\r\n",
        way.target,
        way.number + 1,
    )
}

/// Addresses as one field's value; `None` where one cannot be read.
fn joined<'a>(addresses: impl Iterator<Item = Option<Address<'a>>>) -> Option<String> {
    let mut joined = String::new();
    for address in addresses {
        let _ = write!(joined, "{}<{}>", if joined.is_empty() { "" } else { ", " }, address?.uri);
        if joined.len() > MAX_WAY {
            return None;
        }
    }
    Some(joined)
}
