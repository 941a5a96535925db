//! TFTP: requests and transfers → the one pinhole each of them needs (RFC 1350).
//!
//! Owns the transfers. A request goes to port 69; the server answers from a fresh port. Guarantees that a
//! request opens nothing but the client's own port, for the server it asked; that the first packet from there
//! closes it again, so that only the flow this packet began goes on ("locked"); and that a transfer is over
//! with its last block, an error, or silence.
//!
//! What is refused: writing, and files the rules file does not name; another phone's file; a packet that
//! belongs to no transfer. A transfer that is over is remembered until it is silent: its last acknowledgement
//! may have to be repeated.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_protocols::tftp::{BLOCK, Options, Packet, Request};
use callgate_shared::Reason;
use callgate_shared::policy::Inspect;

use crate::action::{Context, EndReason, Time, Verdict};
use crate::call::{Call, CallId, Medium, Party, State, StreamKey};
use crate::core::Core;
use crate::event::{Event, EventKind};

/// Where requests go (RFC 1350 section 4).
pub const PORT: u16 = 69;
/// Silence after which a transfer is over.
pub const IDLE: Duration = Duration::from_secs(15);
/// The same, at most, where the ends have agreed to repeat packets more slowly (RFC 2349).
pub const MAX_IDLE: Duration = Duration::from_secs(60);
/// Trust lists above this many bytes are not loaded by phones.
pub const MAX_TRUST_LIST: u64 = 65_536;
/// Most transfers at a time.
pub(crate) const MAX_TRANSFERS: usize = 10_000;

/// The stream of a transfer.
const STREAM: StreamKey = StreamKey { branch: 0, index: 0 };

/// All transfers.
#[derive(Debug, Default)]
pub struct Tracker {
    /// By client's address and port, and server's address.
    transfers: HashMap<(SocketAddr, IpAddr), Transfer>,
}

#[derive(Debug)]
struct Transfer {
    call: CallId,
    file: String,
    /// The client sends the blocks.
    write: bool,
    /// What the client asked for, as far as the server may still agree.
    asked: Options,
    /// The server's port; `None` before its first packet.
    port: Option<u16>,
    /// Bytes of a block; `None` where the firewall was not there when it was agreed.
    block: Option<u16>,
    /// The block that is to come.
    next: u16,
    /// Bytes of the blocks so far.
    bytes: u64,
    /// Its trust list was told to be too large.
    flagged: bool,
    over: bool,
    active: Time,
    idle: Duration,
}

impl Tracker {
    /// Transfers that go on.
    pub(crate) fn transfers(&self) -> usize {
        self.transfers.len()
    }

    /// Reads a datagram. `phones` tells the names of the phones that are known at the client's address; it
    /// is asked for files with a MAC address in their names.
    pub fn datagram<'a, P>(
        &mut self,
        core: &mut Core,
        context: &Context,
        bytes: &[u8],
        phones: impl FnOnce(IpAddr) -> P,
    ) -> Verdict
    where
        P: Iterator<Item = &'a str>,
    {
        let Ok(packet) = Packet::parse(bytes) else {
            return Verdict::Drop(Reason::AlgMalformed);
        };
        match packet {
            Packet::Read(request) | Packet::Write(request) => {
                let write = matches!(packet, Packet::Write(_));
                if context.destination.port() != PORT {
                    return Verdict::Drop(Reason::AlgRefused);
                }
                if let Err(text) = permit(core, context, &request, write, phones) {
                    core.tell(Event::new(context, EventKind::Refused, request.file, text));
                    return Verdict::Drop(Reason::AlgRefused);
                }
                self.request(core, context, &request, write)
            }
            _ => self.transfer(core, context, &packet),
        }
    }

    /// Time passes: ends transfers that have fallen silent.
    pub fn tick(&mut self, core: &mut Core, now: Time) {
        self.transfers.retain(|(client, _), transfer| {
            let silent = now.since(transfer.active) > transfer.idle;
            if silent && !transfer.over {
                transfer.fail(core, now, *client, "silence");
                core.end_call(transfer.call, EndReason::Inactivity);
            }
            !silent
        });
    }

    /// The core has ended this call by itself.
    pub fn ended(&mut self, call: &Call) {
        let [client, server] = call.signalling;
        if self.transfers.get(&(client, server.ip())).is_some_and(|transfer| transfer.call == call.id) {
            self.transfers.remove(&(client, server.ip()));
        }
    }

    /// Takes up the transfers of an earlier run from their records; calls of other protocols are left alone.
    pub fn restore<'a>(&mut self, calls: impl IntoIterator<Item = &'a Call>, now: Time) {
        for call in calls.into_iter().filter(|call| call.protocol == Inspect::Tftp) {
            let [client, server] = call.signalling;
            let locked = call.state == State::Connected;
            let transfer = Transfer {
                call: call.id,
                file: call.key.clone(),
                write: call.memo == "write",
                asked: Options::default(),
                port: None,
                // What was negotiated is not in the record.
                block: None,
                next: u16::from(!locked),
                bytes: 0,
                flagged: false,
                over: false,
                active: now,
                idle: MAX_IDLE,
            };
            self.transfers.insert((client, server.ip()), transfer);
        }
    }

    /// A request that is permitted: opens the client's port to the server.
    fn request(&mut self, core: &mut Core, context: &Context, request: &Request, write: bool) -> Verdict {
        let key = (context.source, context.destination.ip());
        let repeated = |known: &Transfer| known.file == request.file && known.write == write && !known.over;
        let call = match self.transfers.get(&key) {
            // The server's first packet may have been lost: it may choose another port.
            Some(known) if repeated(known) => known.call,
            Some(known) => {
                core.end_call(known.call, EndReason::Moved);
                self.transfers.remove(&key);
                return self.request(core, context, request, write);
            }
            None if self.transfers.len() >= MAX_TRANSFERS => return Verdict::Drop(Reason::AlgMemory),
            None => {
                let Some(call) = core.start_call(context, request.file) else {
                    return Verdict::Drop(Reason::AlgMemory);
                };
                core.change_call(call, |call| {
                    call.parties[Party::Callee as usize] = request.file.to_owned();
                    if write {
                        call.memo = "write".to_owned();
                    }
                });
                core.tell(Event::new(context, EventKind::FileAsked, request.file, ""));
                call
            }
        };
        let patience = request.options.timeout.map_or(IDLE, |n| 3 * Duration::from_secs(n.into()));
        let transfer = Transfer {
            call,
            file: request.file.to_owned(),
            write,
            asked: request.options,
            port: None,
            block: Some(BLOCK),
            next: 1,
            bytes: 0,
            flagged: false,
            over: false,
            active: context.now,
            idle: patience.clamp(IDLE, MAX_IDLE),
        };
        self.transfers.insert(key, transfer);
        core.announce(context, call, STREAM, Party::Caller, |stream| {
            stream.medium = Medium::File;
            stream.ends[Party::Caller as usize].media = Some(context.source);
        });
        Verdict::Pass
    }

    /// Anything else than a request.
    fn transfer(&mut self, core: &mut Core, context: &Context, packet: &Packet) -> Verdict {
        let down = (context.destination, context.source.ip());
        let up = (context.source, context.destination.ip());
        let (by_server, transfer) = match self.transfers.get_mut(&down) {
            Some(transfer) => (true, transfer),
            None => match self.transfers.get_mut(&up) {
                Some(transfer) => (false, transfer),
                None => return Verdict::Drop(Reason::AlgRefused),
            },
        };
        let client = if by_server { context.destination } else { context.source };
        let port = if by_server { context.source.port() } else { context.destination.port() };
        match transfer.port {
            Some(locked) if locked != port => return Verdict::Drop(Reason::AlgRefused),
            Some(_) => {}
            None if by_server => {
                transfer.port = Some(port);
                core.close_stream(transfer.call, STREAM, EndReason::Locked);
                core.set_state(context.now, transfer.call, State::Connected);
            }
            // Nobody has answered: this can only be of an earlier run's transfer.
            None if transfer.block.is_none() => transfer.port = Some(port),
            None => return Verdict::Drop(Reason::AlgRefused),
        }
        transfer.active = context.now;
        transfer.packet(core, context, client, by_server, packet)
    }
}

impl Transfer {
    /// A packet between the two ports.
    fn packet(
        &mut self,
        core: &mut Core,
        context: &Context,
        client: SocketAddr,
        by_server: bool,
        packet: &Packet,
    ) -> Verdict {
        let refused = Verdict::Drop(Reason::AlgRefused);
        // The blocks come from the server when reading, from the client when writing.
        let by_sender = by_server != self.write;
        match packet {
            Packet::Data { block, bytes } if by_sender => {
                if self.block.is_some_and(|most| bytes.len() > usize::from(most)) {
                    return Verdict::Drop(Reason::AlgMalformed);
                }
                self.data(core, context, client, *block, bytes.len());
                Verdict::Pass
            }
            Packet::Ack { .. } if !by_sender => Verdict::Pass,
            Packet::OptionAck(options) if by_server => {
                if let Some(agreed) = options.block {
                    // The server may only lower it (RFC 2348).
                    let may = self.block.is_none() || self.asked.block.is_some_and(|asked| agreed <= asked);
                    if !may {
                        return Verdict::Drop(Reason::AlgMalformed);
                    }
                    self.block = Some(agreed);
                }
                if let Some(size) = options.size.filter(|_| !self.write) {
                    self.measure(core, context.now, client, size);
                }
                Verdict::Pass
            }
            Packet::Error { code, text } => {
                if !self.over {
                    self.fail(core, context.now, client, &format!("error {code}: {text}"));
                    core.end_call(self.call, EndReason::Failed);
                    self.over = true;
                }
                Verdict::Pass
            }
            _ => refused,
        }
    }

    /// A block on its way.
    fn data(&mut self, core: &mut Core, context: &Context, client: SocketAddr, block: u16, length: usize) {
        // Numbers go around, to 0 or (some) to 1; 0 as `next` after a restart of the firewall takes any.
        let unknown = self.block.is_none() && self.next == 0;
        let expected = block == self.next || unknown || self.next == 0 && block == 1;
        if self.over || !expected {
            return;
        }
        self.next = block.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        self.measure(core, context.now, client, self.bytes);
        // Without a size that is known, only a block of less than the smallest can be told for the last one.
        if length < usize::from(self.block.unwrap_or(8)) {
            let (verb, kind) = (if self.write { "written" } else { "read" }, kind(&self.file));
            let text = format!("{verb}, {} bytes, {kind}", self.bytes);
            core.tell(self.event(context.now, EventKind::FileFetched, client, &text));
            core.end_call(self.call, EndReason::Completed);
            self.over = true;
        }
    }

    /// So many bytes the file has, or has so far.
    fn measure(&mut self, core: &mut Core, now: Time, client: SocketAddr, bytes: u64) {
        if bytes > MAX_TRUST_LIST && !self.flagged && has_ending(&self.file, ".tlv") {
            self.flagged = true;
            let text = format!("{bytes} bytes; phones load no trust list above {MAX_TRUST_LIST}");
            core.tell(self.event(now, EventKind::TrustListTooLarge, client, &text));
        }
    }

    fn fail(&self, core: &mut Core, now: Time, client: SocketAddr, text: &str) {
        let text = format!("{text}, after {} bytes", self.bytes);
        core.tell(self.event(now, EventKind::FileFailed, client, &text));
    }

    fn event(&self, now: Time, kind: EventKind, client: SocketAddr, text: &str) -> Event {
        Event::at(now, kind, Inspect::Tftp, client, &self.file, text)
    }
}

/// Whether a file may be asked for, and why not.
fn permit<'a, P>(
    core: &Core,
    context: &Context,
    request: &Request,
    write: bool,
    phones: impl FnOnce(IpAddr) -> P,
) -> Result<(), &'static str>
where
    P: Iterator<Item = &'a str>,
{
    let policy = &core.policy().tftp;
    if write && !policy.write {
        return Err("writing is not permitted");
    }
    // Whatever the patterns say: they do not know what a path means to the server.
    if request.file.split(['/', '\\']).any(|part| part == "..") {
        return Err("a path that leaves its folder");
    }
    if !policy.permits(request.file) {
        return Err("no pattern permits the file");
    }
    if policy.match_mac
        && let Some(mac) = mac(request.file)
    {
        let mut known = phones(context.source.ip()).filter_map(self::mac).peekable();
        if known.peek().is_some() && !known.any(|own| own.eq_ignore_ascii_case(mac)) {
            return Err("the file of another phone");
        }
    }
    Ok(())
}

/// The MAC address in a device's name, or in that of its file: twelve hexadecimal digits behind letters, as
/// in `SEP0011AABBCCDD.cnf.xml` and `CTLSEP0011AABBCCDD.tlv`.
fn mac(name: &str) -> Option<&str> {
    let base = name.rsplit(['/', '\\']).next()?;
    let at = base.to_ascii_uppercase().find("SEP")? + 3;
    let digits = base.get(at..at + 12)?;
    let ends = base.as_bytes().get(at + 12).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    (ends && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

/// How far a file proves where it comes from.
fn kind(file: &str) -> &'static str {
    match () {
        () if has_ending(file, ".tlv") => "a signed trust list",
        () if has_ending(file, ".sgn") => "signed",
        () => "plain",
    }
}

fn has_ending(file: &str, ending: &str) -> bool {
    file.len()
        .checked_sub(ending.len())
        .and_then(|at| file.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(ending))
}

#[cfg(test)]
mod tests;
