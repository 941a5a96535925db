//! Logical channels: H.245 messages, however they travel, and the proposals of fastStart.
//!
//! A channel whose kind the rules file does not permit opens nothing, in either form; the call goes on without it.
//!
//! Both directions of a session make one [`Stream`]: an opener tells where it takes RTCP, an acker where it takes
//! RTP and RTCP. Addresses that a message gives for its *receiver* are not taken from it.

use std::net::SocketAddr;

use callgate_protocols::h245::{
    Class, DataType, Media, Message, Mode, OpenLogicalChannel, OpenLogicalChannelAck,
};

use callgate_rules::inspect::h323::{MediaType, MediaTypes};

use super::leg::{self, Channel, Leg, unassigned};
use super::policy;
use crate::action::{Context, EndReason};
use crate::call::{Medium, Party, Stream, StreamKey};
use crate::contract::Contract;
use crate::core::Core;
use crate::media::Refusal;
use crate::terms;

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
            Message::CommunicationMode(modes) => {
                for mode in modes.iter() {
                    self.conduct(core, context, sender, mode);
                }
            }
            Message::RequestChannelClose(_)
            | Message::OpenLogicalChannelConfirm(_)
            | Message::H239(_)
            | Message::Other(_) => {}
        }
    }

    /// The caller's fastStart: each proposal opens what it tells, as the callee's media may be there before its
    /// answer. Proposals of one session that are to be received at different addresses are streams of their own.
    pub(super) fn propose(&mut self, core: &mut Core, context: &Context, proposals: &[OpenLogicalChannel]) {
        for proposal in proposals {
            let Some((data, media, reverse)) = direction(proposal) else { continue };
            if !self.permits(core, context, data, media.media_channel) {
                continue;
            }
            let receives = if reverse { media.media_channel } else { None };
            let stream = self.place(core, media.session, receives);
            if !self.offer.contains(&stream) {
                self.offer.push(stream);
            }
            core.announce(context, self.id, stream, Party::Caller, |s| {
                describe(s, data);
                let receiver = if reverse { Party::Caller } else { Party::Callee };
                let known = s.contracts[receiver as usize];
                let proposed = contract(data, &media);
                // Each proposal of a session is another codec, and any of them may be taken.
                s.contracts[receiver as usize] =
                    if known == Contract::default() { proposed } else { known.union(proposed) };
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
        let mut directions: Vec<_> =
            accepted.iter().filter_map(|open| Some((open.number, direction(open)?))).collect();
        directions.retain(|(_, (data, media, _))| self.permits(core, context, *data, media.media_channel));
        let (reverse, forward): (Vec<_>, Vec<_>) = directions.into_iter().partition(|(_, d)| d.2);
        // First what the caller receives: that says which of a session's proposals is meant.
        for (number, (data, media, _)) in reverse {
            let stream = self.proposed(core, media.session, media.media_channel);
            taken.push((stream, true));
            self.enter(Channel { opener: Party::Callee, number, stream, refused: false });
            core.announce(context, self.id, stream, Party::Callee, |s| {
                describe(s, data);
                s.contracts[Party::Caller as usize] = contract(data, &media);
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
            self.enter(Channel { opener: Party::Caller, number, stream, refused: false });
            core.announce(context, self.id, stream, Party::Callee, |s| {
                describe(s, data);
                s.contracts[Party::Callee as usize] = contract(data, &media);
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
        // A number that is used again stands for another channel from now on.
        let replaced = self.remove(opener, open.number);
        let data = if open.forward.data.class == Class::Null {
            open.reverse.map_or(open.forward.data, |channel| channel.data)
        } else {
            open.forward.data
        };
        let stream = match forward.session.max(reverse.session) {
            0 => unassigned(opener, open.number),
            session => self.stream_for(core, session, medium(data)),
        };
        let back = open.reverse.map_or(data, |channel| channel.data);
        let told = open.separate_stack.or(reverse.media_channel).or(forward.media_channel);
        let refused = !self.permits(core, context, data, told) || !self.permits(core, context, back, told);
        self.enter(Channel { opener, number: open.number, stream, refused });
        if let Some(old) = replaced.filter(|old| old.stream != stream && !self.in_use(old.stream, None)) {
            core.close_stream(self.id, old.stream, EndReason::ChannelClosed);
        }
        if refused {
            return;
        }
        let group = forward.media_channel.filter(|to| to.ip().is_multicast());
        core.announce_to_group(context, self.id, stream, opener, |s| {
            describe(s, data);
            if open.forward.data.class != Class::Null {
                let accepted = &mut s.contracts[opener.other() as usize];
                *accepted = accepted.with_terms(contract(open.forward.data, &forward));
            }
            if open.reverse.is_some() {
                let accepted = &mut s.contracts[opener as usize];
                *accepted = accepted.with_terms(contract(back, &reverse));
            }
            Contract::renegotiated(&mut s.contracts);
            if let Some(group) = group {
                // Whoever has joined it receives there, and tells no address of his own.
                receive(s, opener.other(), Some(group), forward.media_control_channel);
                return;
            }
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
        let Some(media) = ack.separate_stack.or(forward.media_channel) else { return };
        if known.is_some_and(|channel| channel.refused) {
            return core.refuse(self.id, media, Refusal::MediaType);
        }
        if known.is_none() {
            if !self.may_be_unseen(core, context, stream.index) {
                return core.refuse(self.id, media, Refusal::MediaType);
            }
            self.enter(Channel { opener, number: ack.number, stream, refused: false });
        }
        core.announce(context, self.id, stream, acker, |s| {
            if known.is_none() && s.codec.is_empty() {
                s.medium = by_session(stream.index);
            }
            s.held = false;
            // The acker may choose the number itself (H.245 H2250LogicalChannelAckParameters).
            let types = &mut s.contracts[acker as usize].payload_types;
            if let Some(told) = forward.payload_type.filter(|_| !types.is_empty()) {
                types.insert(told);
            }
            if s.ends[acker as usize].media.is_some_and(|known| known != media) {
                Contract::renegotiated(&mut s.contracts);
            }
            receive(s, acker, Some(media), forward.media_control_channel);
        });
    }

    /// A conference's MC, `sender`, tells where a session's media is to be sent: to itself, or to a group.
    fn conduct(&mut self, core: &mut Core, context: &Context, sender: Party, mode: Mode) {
        let Some(media) = mode.media_channel else { return };
        if !self.permits(core, context, mode.data, Some(media)) {
            return;
        }
        let stream = self.stream_for(core, mode.session, medium(mode.data));
        core.announce_to_group(context, self.id, stream, sender, |s| {
            describe(s, mode.data);
            s.contracts = [contract(mode.data, &Media::default()); 2];
            receive(s, sender, Some(media), mode.media_control_channel);
            if media.ip().is_multicast() {
                receive(s, sender.other(), Some(media), mode.media_control_channel);
            }
        });
    }

    /// `opener`'s channel is closed: the other party receives it no more, unless another one takes its place.
    fn close(&mut self, core: &mut Core, context: &Context, opener: Party, number: u16) {
        let Some(Channel { stream, refused: false, .. }) = self.remove(opener, number) else { return };
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

    /// Whether the rules file permits what a channel carries; if not, that is counted and told.
    fn permits(
        &self,
        core: &mut Core,
        context: &Context,
        data: DataType,
        address: Option<SocketAddr>,
    ) -> bool {
        let types = core.policy().h323(context.slot).media_types;
        let Some(refused) = media_type(data).filter(|ty| !types.has(*ty)) else { return true };
        core.refuse(self.id, address.unwrap_or(context.source), Refusal::MediaType);
        policy::tell_media(core, context, self.id, refused);
        false
    }

    /// Whether a channel of this session may be taken up whose opening was not seen: its kind is not known then.
    fn may_be_unseen(&self, core: &Core, context: &Context, session: u32) -> bool {
        let types = core.policy().h323(context.slot).media_types;
        types == MediaTypes::ALL
            || match by_session(session) {
                Medium::Audio => types.has(MediaType::Audio),
                Medium::Video => types.has(MediaType::Video),
                _ => false,
            }
    }

    /// The stream of a session for a channel of this medium. One session may have several: T.38 beside T.120, or
    /// beside the audio it is about to replace.
    fn stream_for(&self, core: &Core, session: u8, medium: Option<Medium>) -> StreamKey {
        let first = self.stream(session);
        let (Some(call), Some(medium)) = (core.call(self.id), medium) else { return first };
        let carries = |key: &StreamKey| call.streams.get(key).is_some_and(|stream| stream.medium == medium);
        let used = self.channels.iter().filter(|c| !c.refused).map(|c| c.stream);
        let same = used.filter(|key| key.index == first.index && key.branch < leg::UNASSIGNED).find(carries);
        same.unwrap_or_else(|| {
            let mut key = first;
            while self.in_use(key, None) && !carries(&key) {
                key.branch += 1;
            }
            key
        })
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

/// How the rules file calls what a channel carries.
fn media_type(data: DataType) -> Option<MediaType> {
    Some(match data.class {
        Class::Null => return None,
        Class::Audio => MediaType::Audio,
        Class::Video if data.extended => MediaType::H239,
        Class::Video => MediaType::Video,
        Class::Fax => MediaType::T38,
        Class::T120 | Class::Data | Class::Other => MediaType::Data,
    })
}

/// What a stream of it carries.
fn medium(data: DataType) -> Option<Medium> {
    Some(match data.class {
        Class::Null => return None,
        Class::Audio => Medium::Audio,
        Class::Video => Medium::Video,
        Class::Fax => Medium::Image,
        Class::T120 | Class::Data => Medium::Data,
        Class::Other => Medium::Other,
    })
}

/// Says of a stream what it carries.
fn describe(stream: &mut Stream, data: DataType) {
    let Some(medium) = medium(data) else { return };
    stream.medium = medium;
    data.codec.clone_into(&mut stream.codec);
    if data.extended {
        stream.codec.push_str(" H.239");
    }
}

/// What whoever receives a channel accepts.
fn contract(data: DataType, media: &Media) -> Contract {
    let secure = data.encrypted;
    match data.class {
        Class::Audio | Class::Video => {
            let video = data.class == Class::Video;
            // An encrypted channel numbers its payload anew.
            let told = media.payload_type.filter(|_| !secure);
            Contract { secure, ..terms::of_channel(data.codec, video, told, data.bit_rate) }
        }
        _ => Contract { secure, ..Contract::default() },
    }
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
