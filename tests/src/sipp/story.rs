//! What happens in a call of SIPp's, as the two scenarios it reads.

use std::fmt::Write as _;

/// How a call goes. Speech is a second of G.711 that both sides send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// It rings, is answered, there is speech, and the caller hangs up.
    Plain,
    /// The INVITE is longer than a link carries in one piece.
    LongInvite,
    /// The callee speaks before it answers (183 with a description).
    EarlyMedia,
    /// Three ways it forks: one rings, one has early media, and the third one answers.
    Forked,
    /// After speech the caller holds (sendonly), and resumes to speak again.
    Hold,
    /// After speech the call turns into a fax (T.38 over UDPTL) and back, and there is speech again.
    Fax,
    /// Somebody else ends it: both sides read a BYE, and answer it.
    Cut,
}

/// Every story that its parties end.
pub const STORIES: [Story; 6] =
    [Story::Plain, Story::LongInvite, Story::EarlyMedia, Story::Forked, Story::Hold, Story::Fax];

const AUDIO: &str = "m=audio [rtpstream_audio_port] RTP/AVP 0\na=rtpmap:0 PCMU/8000\n";
const HELD: &str = "m=audio [rtpstream_audio_port] RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=sendonly\n";
const HOLDS: &str = "m=audio [rtpstream_audio_port] RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=recvonly\n";
const IMAGE: &str =
    "m=image [rtpstream_audio_port] udptl t38\na=T38FaxVersion:0\na=T38FaxUdpEC:t38UDPRedundancy\n";
const SPEECH: &str = "<nop><action><exec rtp_stream=\"speech.ulaw,1,0\"/></action></nop>\n";
/// Longer than the speech, for both sides have to have ended.
const LISTEN: &str = "<pause milliseconds=\"1500\"/>\n";
/// Lines that make an INVITE longer than 4 KiB.
const PADDING: usize = 40;

impl Story {
    /// Times each side speaks.
    pub fn speeches(self) -> u64 {
        match self {
            Self::Hold | Self::Fax => 2,
            Self::Plain | Self::LongInvite | Self::EarlyMedia | Self::Forked => 1,
            Self::Cut => 0,
        }
    }

    /// What the caller negotiates once there has been speech, and what it is answered.
    fn changes(self) -> &'static [[&'static str; 2]] {
        match self {
            Self::Hold => &[[HELD, HOLDS], [AUDIO, AUDIO]],
            Self::Fax => &[[IMAGE, IMAGE], [AUDIO, AUDIO]],
            Self::Plain | Self::LongInvite | Self::EarlyMedia | Self::Forked | Self::Cut => &[],
        }
    }

    /// The caller's scenario.
    pub(super) fn caller(self) -> String {
        let mut text = begin("caller");
        let mut sequence = 1;
        let padding = if self == Self::LongInvite { PADDING } else { 0 };
        self.invite(&mut text, sequence, AUDIO, padding);
        if self == Self::Cut {
            text += "<recv request=\"BYE\"/>\n";
            response(&mut text, "200 OK", "", "");
            return text + "</scenario>\n";
        }
        text += SPEECH;
        text += LISTEN;
        for (place, [offer, _]) in self.changes().iter().enumerate() {
            sequence += 1;
            self.invite(&mut text, sequence, offer, 0);
            text += if place % 2 == 1 { SPEECH } else { "" };
            text += LISTEN;
        }
        request(&mut text, "BYE", sequence + 1, "", 0);
        text += "<recv response=\"200\"/>\n";
        text + "</scenario>\n"
    }

    fn invite(self, text: &mut String, sequence: u32, media: &str, padding: usize) {
        request(text, "INVITE", sequence, &description("phone", media), padding);
        *text += "<recv response=\"100\" optional=\"true\"/>\n";
        if sequence == 1 {
            *text += "<recv response=\"180\"/>\n";
            if matches!(self, Self::EarlyMedia | Self::Forked) {
                *text += "<recv response=\"183\"/>\n";
            }
        }
        *text += "<recv response=\"200\"/>\n";
        request(text, "ACK", sequence, "", 0);
    }

    /// The callee's scenario.
    pub(super) fn callee(self) -> String {
        let mut text = begin("callee");
        text += "<recv request=\"INVITE\"/>\n";
        let (ringing, early, answers) = match self {
            Self::Forked => ("a", "b", "c"),
            _ => ("c", "c", "c"),
        };
        response(&mut text, "180 Ringing", ringing, "");
        if matches!(self, Self::EarlyMedia | Self::Forked) {
            response(&mut text, "183 Session Progress", early, &description("desk", AUDIO));
        }
        if self == Self::EarlyMedia {
            text += SPEECH;
            text += LISTEN;
        }
        response(&mut text, "200 OK", answers, &description("desk", AUDIO));
        text += "<recv request=\"ACK\"/>\n";
        if !matches!(self, Self::EarlyMedia | Self::Cut) {
            text += SPEECH;
        }
        for (place, [_, answer]) in self.changes().iter().enumerate() {
            text += "<recv request=\"INVITE\"/>\n";
            response(&mut text, "200 OK", "", &description("desk", answer));
            text += "<recv request=\"ACK\"/>\n";
            text += if place % 2 == 1 { SPEECH } else { "" };
        }
        text += "<recv request=\"BYE\"/>\n";
        response(&mut text, "200 OK", "", "");
        text + "</scenario>\n"
    }
}

fn begin(name: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\" ?>\n<scenario name=\"{name}\">\n")
}

fn description(who: &str, media: &str) -> String {
    format!(
        "\nv=0\no={who} 1 1 IN IP[local_ip_type] [local_ip]\ns=-\nc=IN IP[media_ip_type] [media_ip]\nt=0 0\n{media}"
    )
}

/// The lines of a message that tell its body.
fn content(body: &str) -> &'static str {
    if body.is_empty() {
        "Content-Length: 0\n"
    } else {
        "Content-Type: application/sdp\nContent-Length: [len]\n"
    }
}

fn request(text: &mut String, method: &str, sequence: u32, body: &str, padding: usize) {
    let again = if method == "ACK" { "" } else { " retrans=\"500\"" };
    let tag = if method == "INVITE" && sequence == 1 { "" } else { "[peer_tag_param]" };
    let padding = format!("X-Padding: {}\n", "long ".repeat(20)).repeat(padding);
    let _ = write!(
        text,
        "<send{again}><![CDATA[\n\n{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n\
         Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n\
         From: <sip:phone@[local_ip]:[local_port]>;tag=[pid]c[call_number]\n\
         To: <sip:[service]@[remote_ip]:[remote_port]>{tag}\nCall-ID: [call_id]\nCSeq: {sequence} {method}\n\
         Contact: <sip:phone@[local_ip]:[local_port]>\nMax-Forwards: 70\n{padding}{}{body}\n]]></send>\n",
        content(body)
    );
}

/// `fork`: what tells this callee from others of the same INVITE; nothing in a dialog.
fn response(text: &mut String, status: &str, fork: &str, body: &str) {
    let final_ = status.starts_with('2') && !body.is_empty();
    let again = if final_ { " retrans=\"500\"" } else { "" };
    let tag = if fork.is_empty() { String::new() } else { format!(";tag=[pid]{fork}[call_number]") };
    let _ = write!(
        text,
        "<send{again}><![CDATA[\n\nSIP/2.0 {status}\n[last_Via:]\n[last_From:]\n[last_To:]{tag}\n[last_Call-ID:]\n\
         [last_CSeq:]\nContact: <sip:[local_ip]:[local_port];transport=[transport]>\n{}{body}\n]]></send>\n",
        content(body)
    );
}
