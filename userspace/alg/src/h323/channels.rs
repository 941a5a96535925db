//! Logical channels: H.245 messages, however they travel, and the proposals of fastStart.
//!
//! Both directions of a session make one [`Stream`]: an opener tells where it takes RTCP, an acker where it takes
//! RTP and RTCP. Addresses that a message gives for its *receiver* are not taken from it.

use std::net::SocketAddr;

use callgate_protocols::h245::{Class, DataType, Media, Message, OpenLogicalChannel, OpenLogicalChannelAck};

use super::leg::{Channel, Leg, unassigned};
use crate::action::{Context, EndReason};
use crate::call::{Medium, Party, Stream, StreamKey};
use crate::core::Core;

impl Leg {
    /// Carries out what `sender`'s H.245 message says.
    pub(super) fn control_message(
        &mut self,
        core: &mut Core,
        context: &Context,
        sender: Party,
        message: &Message,
    ) {
        match message {
            Message::OpenLogicalChannel(open) => self.open(core, context, sender, open),
            Message::OpenLogicalChannelAck(ack) => self.acknowledge(core, context, sender, ack),
            Message::OpenLogicalChannelReject(number) => self.close(core, context, sender.other(), *number),
            Message::CloseLogicalChannel(number) => self.close(core, context, sender, *number),
            // Closed already by what it answers, unless that was not seen.
            Message::CloseLogicalChannelAck(number) => self.close(core, context, sender.other(), *number),
            Message::TerminalCapabilitySet { empty } => self.hold(core, context, sender, *empty),
            Message::EndSession => self.end_session(core),
            Message::RequestChannelClose(_) | Message::OpenLogicalChannelConfirm(_) | Message::Other(_) => {}
        }
    }

    /// The caller's fastStart: each proposal opens what it tells, as the callee's media may be there before its
    /// answer. Proposals of one session that are to be received at different addresses are streams of their own.
    pub(super) fn propose(&mut self, core: &mut Core, context: &Context, proposals: &[OpenLogicalChannel]) {
        for proposal in proposals {
            let Some((data, media, reverse)) = direction(proposal) else { continue };
            let receives = if reverse { media.media_channel } else { None };
            let stream = self.place(core, media.session, receives);
            if !self.offer.contains(&stream) {
                self.offer.push(stream);
            }
            core.announce(context, self.id, stream, Party::Caller, |s| {
                describe(s, data);
                let end = &mut s.ends[Party::Caller as usize];
                match receives {
                    Some(_) => receive(s, Party::Caller, receives, media.media_control_channel),
                    None if end.media.is_none() => end.control = media.media_control_channel,
                    None => {}
                }
            });
        }
    }

    /// The callee's fastStart: what it accepts stays, what it does not closes. A repetition changes nothing.
    pub(super) fn accept(&mut self, core: &mut Core, context: &Context, accepted: &[OpenLogicalChannel]) {
        let mut taken: Vec<(StreamKey, bool)> = Vec::new();
        let (reverse, forward): (Vec<_>, Vec<_>) =
            accepted.iter().filter_map(|open| Some((open.number, direction(open)?))).partition(|(_, d)| d.2);
        // First what the caller receives: that says which of a session's proposals is meant.
        for (number, (data, media, _)) in reverse {
            let stream = self.proposed(core, media.session, media.media_channel);
            taken.push((stream, true));
            self.enter(Channel { opener: Party::Callee, number, stream });
            core.announce(context, self.id, stream, Party::Callee, |s| {
                describe(s, data);
                let end = &mut s.ends[Party::Callee as usize];
                if end.media.is_none() {
                    end.control = media.media_control_channel.or(end.control);
                }
            });
        }
        for (number, (data, media, _)) in forward {
            let known = taken.iter().find(|(stream, _)| stream.index == u32::from(media.session));
            let stream =
                known.map_or_else(|| self.proposed(core, media.session, None), |(stream, _)| *stream);
            taken.push((stream, false));
            self.enter(Channel { opener: Party::Caller, number, stream });
            core.announce(context, self.id, stream, Party::Callee, |s| {
                describe(s, data);
                receive(s, Party::Callee, media.media_channel, media.media_control_channel);
            });
        }
        if taken.is_empty() {
            return;
        }
        self.accepted = true;
        for stream in std::mem::take(&mut self.offer) {
            if !taken.iter().any(|(kept, _)| *kept == stream) {
                core.close_stream(self.id, stream, EndReason::ChannelClosed);
            } else if !taken.contains(&(stream, true)) {
                stop_receiving(core, context, self, stream, Party::Caller);
            }
        }
    }

    /// The callee takes none of the proposals.
    pub(super) fn refuse_offer(&mut self, core: &mut Core) {
        for stream in std::mem::take(&mut self.offer) {
            if !self.in_use(stream, None) {
                core.close_stream(self.id, stream, EndReason::ChannelClosed);
            }
        }
    }

    fn open(&mut self, core: &mut Core, context: &Context, opener: Party, open: &OpenLogicalChannel) {
        let forward = open.forward.media.unwrap_or_default();
        let reverse = open.reverse.and_then(|channel| channel.media).unwrap_or_default();
        let data = if open.forward.data.class == Class::Null {
            open.reverse.map_or(open.forward.data, |channel| channel.data)
        } else {
            open.forward.data
        };
        let stream = match forward.session.max(reverse.session) {
            0 => unassigned(opener, open.number),
            session => self.stream(session),
        };
        self.enter(Channel { opener, number: open.number, stream });
        core.announce(context, self.id, stream, opener, |s| {
            describe(s, data);
            let end = &mut s.ends[opener as usize];
            if let Some(own) = open.separate_stack.or(reverse.media_channel) {
                receive(s, opener, Some(own), reverse.media_control_channel);
            } else if end.media.is_none() {
                // Where it receives RTP it has told already where it takes that stream's RTCP.
                end.control = forward.media_control_channel.or(end.control);
            }
        });
    }

    fn acknowledge(&mut self, core: &mut Core, context: &Context, acker: Party, ack: &OpenLogicalChannelAck) {
        let opener = acker.other();
        let forward = ack.forward.unwrap_or_default();
        let known = self.channel(opener, ack.number);
        let stream = match known {
            Some(channel) => channel.stream,
            // Its opening was not seen: the firewall came later.
            None if forward.session != 0 => self.stream(forward.session),
            None => return,
        };
        if known.is_none() {
            self.enter(Channel { opener, number: ack.number, stream });
        }
        let Some(media) = ack.separate_stack.or(forward.media_channel) else { return };
        core.announce(context, self.id, stream, acker, |s| {
            if known.is_none() && s.codec.is_empty() {
                s.medium = by_session(stream.index);
            }
            s.held = false;
            receive(s, acker, Some(media), forward.media_control_channel);
        });
    }

    /// `opener`'s channel is closed: the other party receives it no more, unless another one takes its place.
    fn close(&mut self, core: &mut Core, context: &Context, opener: Party, number: u16) {
        let Some(Channel { stream, .. }) = self.remove(opener, number) else { return };
        if !self.in_use(stream, None) {
            core.close_stream(self.id, stream, EndReason::ChannelClosed);
        } else if !self.in_use(stream, Some(opener)) {
            stop_receiving(core, context, self, stream, opener.other());
        }
    }

    /// `sender` can receive nothing (an empty capability set, H.323 8.4.6), or something again.
    fn hold(&mut self, core: &mut Core, context: &Context, sender: Party, held: bool) {
        let Some(call) = core.call(self.id) else { return };
        let changed: Vec<_> =
            call.streams.iter().filter(|(_, s)| media(s) && s.held != held).map(|(key, _)| *key).collect();
        for stream in changed {
            core.announce(context, self.id, stream, sender, |s| s.held = held);
        }
    }

    /// Ends all media; addresses for signalling stay until their connection or the call goes.
    fn end_session(&mut self, core: &mut Core) {
        let Some(call) = core.call(self.id) else { return };
        let streams: Vec<_> = call.streams.iter().filter(|(_, s)| media(s)).map(|(key, _)| *key).collect();
        for stream in streams {
            core.close_stream(self.id, stream, EndReason::EndSession);
        }
        self.channels.clear();
        self.offer.clear();
    }

    /// Where a proposal belongs: with others of its session that are received at the same address, or on a
    /// branch of its own.
    fn place(&self, core: &Core, session: u8, receives: Option<SocketAddr>) -> StreamKey {
        let mut key = StreamKey { branch: 0, index: u32::from(session) };
        let Some(call) = core.call(self.id) else { return key };
        while receives.is_some()
            && let Some(stream) = call.streams.get(&key)
            && stream.ends[Party::Caller as usize].media.is_some_and(|known| Some(known) != receives)
        {
            key.branch += 1;
        }
        key
    }

    /// Which of a session's proposals an answer means: the one whose address it repeats, or else the first.
    fn proposed(&self, core: &Core, session: u8, address: Option<SocketAddr>) -> StreamKey {
        let at = |key: &StreamKey| {
            let stream = core.call(self.id)?.streams.get(key)?;
            stream.ends[Party::Caller as usize].media
        };
        let mut of_session = self.offer.iter().filter(|key| key.index == u32::from(session));
        let repeated = of_session.clone().find(|key| address.is_some() && at(key) == address);
        repeated.or_else(|| of_session.next()).copied().unwrap_or_else(|| self.stream(session))
    }
}

/// What a channel of fastStart carries, its addresses, and whether it is to the caller.
fn direction(open: &OpenLogicalChannel) -> Option<(DataType, Media, bool)> {
    match open.reverse {
        Some(reverse) if reverse.data.class != Class::Null => Some((reverse.data, reverse.media?, true)),
        _ => Some((open.forward.data, open.forward.media?, false)),
    }
}

/// Says of a stream what it carries.
fn describe(stream: &mut Stream, data: DataType) {
    stream.medium = match data.class {
        Class::Null => return,
        Class::Audio => Medium::Audio,
        Class::Video => Medium::Video,
        Class::Fax => Medium::Image,
        Class::T120 | Class::Data => Medium::Data,
        Class::Other => Medium::Other,
    };
    data.codec.clone_into(&mut stream.codec);
}

/// `party` receives at `media`, and RTCP at `control`; unsaid, that stays with the same RTP, or is next to it.
fn receive(stream: &mut Stream, party: Party, media: Option<SocketAddr>, control: Option<SocketAddr>) {
    let rtp = matches!(stream.medium, Medium::Audio | Medium::Video | Medium::Other);
    let end = &mut stream.ends[party as usize];
    let kept = end.control.filter(|_| end.media == media);
    end.control = control.or(kept).or(media.map(next_to)).filter(|_| rtp);
    end.media = media;
}

/// RTCP's port where none is said: the odd one above an even RTP port (RFC 3550 section 11).
fn next_to(rtp: SocketAddr) -> SocketAddr {
    SocketAddr::new(rtp.ip(), rtp.port() ^ 1)
}

/// Closes one direction of a stream.
fn stop_receiving(core: &mut Core, context: &Context, leg: &Leg, stream: StreamKey, party: Party) {
    core.announce(context, leg.id, stream, party, |s| s.ends[party as usize].media = None);
}

fn media(stream: &Stream) -> bool {
    !matches!(stream.medium, Medium::Control | Medium::H225 | Medium::Ras)
}

/// What a session carries by its number (H.245 H2250LogicalChannelParameters).
fn by_session(session: u32) -> Medium {
    match session {
        1 => Medium::Audio,
        2 => Medium::Video,
        _ => Medium::Other,
    }
}
