//! What the decoders make of a message, in the words of the corpus: `tests/generate/generate.py` says which.

use callgate_protocols::h225::{self, Aliases, Features, Guid, Tokens};
use callgate_protocols::h245::{self, Channel, Media, OpenLogicalChannel, OpenLogicalChannelAck};
use callgate_protocols::ras::{self, Admission, Body, CallModel};
use callgate_protocols::{per, q931};

/// Words for what a message says: names of messages, and `role=value` facts.
#[derive(Debug, Default)]
pub(crate) struct Said(pub Vec<String>);

impl Said {
    fn name(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn fact(&mut self, role: &str, value: impl ToString) {
        self.0.push(format!("{role}={}", value.to_string()));
    }

    fn facts<T: ToString>(&mut self, role: &str, values: impl IntoIterator<Item = T>) {
        values.into_iter().for_each(|value| self.fact(role, value));
    }

    /// Digits, and how many aliases there are.
    fn aliases(&mut self, role: &str, aliases: &Aliases<'_>) {
        let count = aliases.iter().count();
        assert_eq!(aliases.is_empty(), count == 0);
        if count > 0 {
            self.fact(&format!("{role}.count"), count);
        }
        for alias in aliases.iter() {
            if let h225::Alias::Digits(..) = alias {
                self.fact(role, alias);
            }
        }
    }

    fn call(&mut self, call: Option<Guid>) {
        self.facts("call", call);
    }

    fn tokens(&mut self, tokens: Tokens) {
        self.facts("tokens", tokens.clear.then_some(1));
        self.facts("cryptoTokens", tokens.crypto.then_some(1));
    }

    fn features(&mut self, features: Features) {
        self.facts("feature", features.iter());
    }

    fn flag(&mut self, role: &str, flag: bool) {
        self.fact(role, u8::from(flag));
    }

    fn admission(&mut self, admission: Admission) {
        self.facts("destCallSignalAddress", admission.destination);
        self.fact("bandWidth", admission.bandwidth);
        let model = match admission.model {
            CallModel::Direct => "direct",
            CallModel::GatekeeperRouted => "gatekeeperRouted",
            CallModel::Unknown => "unknown",
        };
        self.fact("callModel", model);
        self.facts("alternate", admission.alternates.iter());
    }

    fn media(&mut self, role: &str, media: Option<Media>, opens: bool) {
        let Some(media) = media else { return };
        // An acknowledgement need not tell it.
        if opens || media.session != 0 {
            self.fact(&format!("{role}.session"), media.session);
        }
        self.facts(&format!("{role}.mediaChannel"), media.media_channel);
        self.facts(&format!("{role}.mediaControlChannel"), media.media_control_channel);
        self.facts(&format!("{role}.payloadType"), media.payload_type);
    }

    fn channel(&mut self, role: &str, channel: Channel) {
        self.fact(&format!("{role}.class"), format!("{:?}", channel.data.class));
        self.facts(&format!("{role}.extended"), channel.data.extended.then_some(1));
        self.media(role, channel.media, true);
    }

    fn open(&mut self, open: OpenLogicalChannel) {
        self.fact("number", open.number);
        self.channel("forward", open.forward);
        if let Some(reverse) = open.reverse {
            self.channel("reverse", reverse);
        }
        self.facts("replacementFor", open.replaces);
        self.facts("separateStack", open.separate_stack);
    }

    fn acknowledge(&mut self, ack: OpenLogicalChannelAck) {
        self.fact("number", ack.number);
        self.facts("reverseNumber", ack.reverse_number);
        self.media("forward", ack.forward, false);
        self.media("reverse", ack.reverse, true);
        self.facts("separateStack", ack.separate_stack);
    }
}

/// What a message of `protocol` says: `ras`, `h225` (a User-User element's contents), `h245`, `olc` (a channel of
/// fastStart) or `q931`.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn said(protocol: &str, encoding: &[u8]) -> Result<Said, String> {
    let mut said = Said::default();
    let read = match protocol {
        "ras" => ras_says(&mut said, encoding),
        "h225" => h225_says(&mut said, encoding),
        "h245" => h245_says(&mut said, encoding),
        "olc" => OpenLogicalChannel::parse(encoding).map(|open| said.open(open)),
        "q931" => return q931_says(encoding),
        _ => panic!("{protocol}: no such protocol"),
    };
    read.map(|()| said).map_err(|error| error.to_string())
}

fn q931_says(payload: &[u8]) -> Result<Said, String> {
    let message = q931::Message::parse(payload).map_err(|error| error.to_string())?;
    message.user_user.map_or(Ok(Said::default()), |element| said("h225", element))
}

fn ras_says(said: &mut Said, encoding: &[u8]) -> per::Result<()> {
    let ras::Message { sequence, body, tokens, features } = ras::Message::parse(encoding)?;
    said.name(body.name());
    said.facts("requestSeqNum", (sequence != 0).then_some(sequence));
    said.tokens(tokens);
    said.features(features);
    match body {
        Body::GatekeeperRequest { ras, .. } => said.facts("rasAddress", ras),
        Body::GatekeeperConfirm { ras, alternates } => {
            said.facts("rasAddress", ras);
            said.facts("alternate", alternates.iter());
        }
        Body::RegistrationRequest { call_signal, ras, time_to_live, keep_alive, aliases, .. } => {
            said.facts("callSignalAddress", call_signal.iter());
            said.facts("rasAddress", ras.iter());
            said.facts("timeToLive", time_to_live);
            said.flag("keepAlive", keep_alive);
            said.aliases("terminalAlias", &aliases);
        }
        Body::RegistrationConfirm { call_signal, time_to_live, alternates, .. } => {
            said.facts("callSignalAddress", call_signal.iter());
            said.facts("timeToLive", time_to_live);
            said.facts("alternate", alternates.iter());
        }
        Body::UnregistrationRequest { call_signal, .. } => {
            said.facts("callSignalAddress", call_signal.iter());
        }
        Body::AdmissionRequest {
            call,
            reference,
            answer,
            source,
            destination,
            source_address,
            destination_address,
            bandwidth,
            ..
        } => {
            said.call(call);
            said.fact("callReferenceValue", reference);
            said.flag("answerCall", answer);
            said.aliases("srcInfo", &source);
            said.aliases("destinationInfo", &destination);
            said.facts("srcCallSignalAddress", source_address);
            said.facts("destCallSignalAddress", destination_address);
            said.fact("bandWidth", bandwidth);
        }
        Body::AdmissionConfirm(admission) => said.admission(admission),
        Body::AdmissionConfirmSequence(admissions) => {
            admissions.iter().for_each(|admission| said.admission(admission));
        }
        Body::BandwidthRequest { call, reference, bandwidth, .. } => {
            said.call(call);
            said.fact("callReferenceValue", reference);
            said.fact("bandWidth", bandwidth);
        }
        Body::BandwidthConfirm { bandwidth } => said.fact("bandWidth", bandwidth),
        Body::DisengageRequest { call, reference, .. } => {
            said.call(call);
            said.fact("callReferenceValue", reference);
        }
        Body::LocationRequest { reply, destination, source } => {
            said.facts("replyAddress", reply);
            said.aliases("destinationInfo", &destination);
            said.aliases("sourceInfo", &source);
        }
        Body::LocationConfirm { call_signal, ras, alternates } => {
            said.facts("callSignalAddress", call_signal);
            said.facts("rasAddress", ras);
            said.facts("alternate", alternates.iter());
        }
        Body::InfoRequest { call, reference, reply } => {
            said.call(call);
            said.fact("callReferenceValue", reference);
            said.facts("replyAddress", reply);
        }
        Body::InfoRequestResponse { ras, call_signal, calls, .. } => {
            said.facts("rasAddress", ras);
            said.facts("callSignalAddress", call_signal.iter());
            for call in calls.iter() {
                said.fact("callReferenceValue", call.reference);
                said.call(call.call);
            }
        }
        Body::RequestInProgress { delay } => said.fact("delay", delay),
        Body::GatekeeperReject { reason }
        | Body::RegistrationReject { reason }
        | Body::UnregistrationReject { reason }
        | Body::AdmissionReject { reason }
        | Body::BandwidthReject { reason }
        | Body::DisengageReject { reason }
        | Body::LocationReject { reason }
        | Body::InfoRequestNak { reason } => said.fact("reason", reason),
        _ => {}
    }
    Ok(())
}

fn h225_says(said: &mut Said, encoding: &[u8]) -> per::Result<()> {
    let message = h225::Message::parse(encoding)?;
    said.name(message.body.name());
    said.call(message.call);
    said.tokens(message.tokens);
    said.features(message.features);
    said.facts("h245Address", message.h245_address);
    said.facts("sourceCallSignalAddress", message.source_address);
    said.facts("destCallSignalAddress", message.destination_address);
    said.facts("alternativeAddress", message.alternative_address);
    said.aliases("sourceAddress", &message.source);
    said.aliases("destinationAddress", &message.destination);
    said.facts("reason", message.facility.map(|reason| reason.name()));
    said.facts("reason", message.release_reason);
    said.facts("fastConnectRefused", message.fast_connect_refused.then_some(1));
    said.flag("h245Tunnelling", message.tunnelling);
    for channel in message.fast_start {
        said.name("openLogicalChannel");
        said.open(OpenLogicalChannel::parse(channel)?);
    }
    for control in message.h245_control.chain(message.parallel_h245_control) {
        h245_says(said, control)?;
    }
    Ok(())
}

fn h245_says(said: &mut Said, encoding: &[u8]) -> per::Result<()> {
    let message = h245::Message::parse(encoding)?;
    said.name(message.name());
    match message {
        h245::Message::OpenLogicalChannel(open) => said.open(open),
        h245::Message::OpenLogicalChannelAck(ack) => said.acknowledge(ack),
        h245::Message::OpenLogicalChannelReject(number)
        | h245::Message::OpenLogicalChannelConfirm(number)
        | h245::Message::CloseLogicalChannel(number)
        | h245::Message::CloseLogicalChannelAck(number)
        | h245::Message::RequestChannelClose(number) => said.fact("number", number),
        h245::Message::TerminalCapabilitySet { empty } => said.flag("empty", empty),
        h245::Message::CommunicationMode(modes) => {
            for mode in modes.iter() {
                said.fact("session", mode.session);
                said.facts("mediaChannel", mode.media_channel);
                said.facts("mediaControlChannel", mode.media_control_channel);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Octets in hexadecimal digits.
pub(crate) fn octets(hex: &str) -> Vec<u8> {
    let pair = |place: usize| u8::from_str_radix(&hex[place..place + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(pair).collect()
}

/// The lines of the corpus: protocol, encoding, what it says.
pub(crate) fn corpus() -> impl Iterator<Item = (&'static str, Vec<u8>, Vec<&'static str>)> {
    include_str!("../corpus/h323.txt").lines().map(|line| {
        let mut words = line.split(' ');
        let (Some(protocol), Some(hex)) = (words.next(), words.next()) else { panic!("no message: {line}") };
        (protocol, octets(hex), words.collect())
    })
}
