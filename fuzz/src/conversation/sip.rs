//! SIP: registrations, calls and what may happen in one, subscriptions.

use std::net::Ipv4Addr;

use callgate_alg::Transport;
use callgate_shared::policy::Inspect;

use super::{Between, CALLEE, CALLER};
use crate::capture::Message;

/// All conversations over this transport.
pub(super) fn conversations(transport: Transport) -> Vec<Vec<Message>> {
    let speech =
        Speech { line: Between::new(Inspect::Sip, transport, (CALLER, 5_060), (CALLEE, 5_060)), call: "one" };
    let with = |call| Speech { call, ..speech };
    vec![
        speech.call(),
        with("registration").registration(),
        with("early").early_media(),
        with("transfer").transfer(),
        with("forked").forked(),
        with("subscription").subscription(),
        with("kinds").kinds_of_media(),
    ]
}

/// A description of audio, video and a closed fax, with most of what one may have.
fn description(ip: [u8; 4]) -> String {
    let ip = Ipv4Addr::from(ip);
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=audio 20000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=mid:0\r\na=rtcp:20005\r\na=sendrecv\r\n\
         a=candidate:1 1 UDP 2130706431 {ip} 20000 typ host\r\n\
         m=video 20010/2 RTP/AVPF 96\r\na=rtpmap:96 H264/90000\r\na=mid:1\r\na=rtcp-mux\r\na=inactive\r\n\
         m=image 0 udptl t38\r\n"
    )
}

/// What a telephone offers.
fn audio(ip: [u8; 4], direction: &str) -> String {
    let ip = Ipv4Addr::from(ip);
    format!(
        "v=0\no=- 2 2 IN IP4 {ip}\ns=-\nc=IN IP4 {ip}\nt=0 0\na={direction}\nm=audio 20000 RTP/AVP 8 0\na=ptime:20\n"
    )
}

/// Descriptions of everything else.
const OTHERS: [&str; 4] = [
    "v=0\r\no=- 3 3 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n\
     m=image 20020 udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxMaxDatagram:400\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n",
    "v=0\r\no=- 4 4 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=message 22855 TCP/MSRP *\r\n\
     a=accept-types:text/plain\r\na=path:msrp://192.0.2.1:22855/s1;tcp\r\na=setup:active\r\na=connection:new\r\n",
    "v=0\r\no=- 5 5 IN IP6 2001:db8::1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef012345\r\n\
     a=fingerprint:sha-256 00:11\r\na=setup:actpass\r\na=group:BUNDLE a v\r\nm=audio 20030 UDP/TLS/RTP/SAVPF 111\r\n\
     c=IN IP6 2001:db8::1\r\na=mid:a\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:7 cname:x\r\n\
     a=candidate:1 1 udp 2130706431 2001:db8::1 20030 typ host\r\n\
     a=candidate:2 1 udp 1694498815 198.51.100.9 20031 typ srflx raddr 10.0.0.1 rport 20030\r\n\
     a=remote-candidates:1 192.0.2.9 20032\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=bundle-only\r\n",
    "v=0\r\no=- 6 6 IN IP4 h.example\r\ns=-\r\nc=IN IP4 media.example\r\nb=TIAS:64000\r\nt=0 0\r\n\
     m=audio 20040 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MTIz|2^20\r\na=rtcp:20049 IN IP4 192.0.2.1\r\n\
     m=audio 20042 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=sctp-port:5000\r\n",
];

const SDP: &str = "Content-Type: application/sdp\r\n";
const OK: &str = "SIP/2.0 200 OK";
const INVITE: &str = "INVITE sip:b@198.51.100.7 SIP/2.0";
const ACK: &str = "ACK sip:b@198.51.100.7 SIP/2.0";
const BYE: &str = "BYE sip:b@198.51.100.7 SIP/2.0";
const CREDENTIALS: &str = "username=\"a\", realm=\"pbx\", nonce=\"n1\", uri=\"sip:198.51.100.7\", \
    response=\"6629fae49393a05397450978507c4ef1\", algorithm=MD5\r\n";

/// Who speaks to whom in which call.
#[derive(Clone, Copy)]
struct Speech {
    line: Between,
    call: &'static str,
}

impl Speech {
    /// A message: first line, tag of To, CSeq, more header fields, body.
    fn text(&self, start: &str, to: &str, cseq: &str, more: &str, body: &str) -> String {
        let branch = cseq.replace(' ', "");
        let to = if to.is_empty() { String::new() } else { format!(";tag={to}") };
        format!(
            "{start}\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
             From: \"A\" <sip:a@192.0.2.1>;tag=1\r\nTo: <sip:b@198.51.100.7>{to}\r\nCall-ID: {}@192.0.2.1\r\n\
             CSeq: {cseq}\r\nContact: <sip:a@192.0.2.1:5060>;expires=60\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.call,
            body.len()
        )
    }

    fn there(&self, start: &str, to: &str, cseq: &str, more: &str, body: &str) -> Message {
        self.line.there(self.text(start, to, cseq, more, body))
    }

    fn back(&self, start: &str, to: &str, cseq: &str, more: &str, body: &str) -> Message {
        self.line.back(self.text(start, to, cseq, more, body))
    }

    fn call(&self) -> Vec<Message> {
        let timed = format!("{SDP}Session-Expires: 1800;refresher=uac\r\n");
        let (here, far) = (description(CALLER), description(CALLEE));
        vec![
            self.there(INVITE, "", "2 INVITE", &timed, &here),
            self.back("SIP/2.0 100 Trying", "", "2 INVITE", "", ""),
            self.back("SIP/2.0 183 Progress", "2", "2 INVITE", SDP, &far),
            self.back(OK, "2", "2 INVITE", &timed, &far),
            self.there(ACK, "2", "2 ACK", "", ""),
            self.there(INVITE, "2", "3 INVITE", &timed, &here.replace("20000", "20020")),
            self.back(OK, "2", "3 INVITE", &timed, &far),
            self.there(ACK, "2", "3 ACK", "", ""),
            self.there(BYE, "2", "4 BYE", "Reason: Q.850;cause=16;text=\"bye\"\r\n", ""),
            self.back(OK, "2", "4 BYE", "", ""),
        ]
    }

    fn registration(&self) -> Vec<Message> {
        let register = "REGISTER sip:198.51.100.7 SIP/2.0";
        let challenge = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", stale=true\r\n";
        let authorized =
            format!("Authorization: Digest {CREDENTIALS}Expires: 60\r\nUser-Agent: phone/1.0\r\n");
        let more =
            "Contact: <sip:a@192.0.2.1:5070;transport=tcp>;q=0.5;expires=3600, <sip:c@[2001:db8::9]>\r\n";
        vec![
            self.there(register, "", "1 REGISTER", "Expires: 60\r\n", ""),
            self.back("SIP/2.0 401 Unauthorized", "r", "1 REGISTER", challenge, ""),
            self.there(register, "", "2 REGISTER", &[&authorized, more].concat(), ""),
            self.back(OK, "r", "2 REGISTER", more, ""),
            self.there(register, "", "3 REGISTER", &authorized, ""),
            self.back("SIP/2.0 423 Interval Too Brief", "r", "3 REGISTER", "Min-Expires: 600\r\n", ""),
            self.there(register, "", "4 REGISTER", "m: *\r\nExpires: 0\r\n", ""),
            self.back("SIP/2.0 403 Forbidden", "r", "4 REGISTER", "", ""),
        ]
    }

    fn early_media(&self) -> Vec<Message> {
        let reliable = format!("{SDP}Require: 100rel\r\nRSeq: 17\r\n");
        let proxy = "Proxy-Authenticate: Digest realm=\"pbx\", nonce=\"n1\"\r\n";
        let authorized = format!("Proxy-Authorization: Digest {CREDENTIALS}k: 100rel, timer\r\n{SDP}");
        let multipart =
            format!("Proxy-Authorization: Digest {CREDENTIALS}c: multipart/mixed;boundary=\"b 1\"\r\n");
        let offer = audio(CALLER, "sendrecv");
        let parts = format!(
            "--b 1\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b 1\r\nc: application/sdp\r\n\r\n{offer}\r\n--b 1--\r\n"
        );
        vec![
            self.there(INVITE, "", "1 INVITE", SDP, &offer),
            self.back("SIP/2.0 407 Proxy Authentication Required", "x", "1 INVITE", proxy, ""),
            self.there(ACK, "x", "1 ACK", "", ""),
            self.there(INVITE, "", "2 INVITE", &multipart, &parts),
            self.back("SIP/2.0 183 Session Progress", "2", "2 INVITE", &reliable, &audio(CALLEE, "sendrecv")),
            self.there("PRACK sip:b@198.51.100.7 SIP/2.0", "2", "3 PRACK", "RAck: 17 2 INVITE\r\n", ""),
            self.back(OK, "2", "3 PRACK", "", ""),
            self.there(
                "UPDATE sip:b@198.51.100.7 SIP/2.0",
                "2",
                "4 UPDATE",
                &authorized,
                &audio(CALLER, "sendonly"),
            ),
            self.back(OK, "2", "4 UPDATE", SDP, &audio(CALLEE, "recvonly")),
            self.back(OK, "2", "2 INVITE", "", ""),
            self.there(ACK, "2", "2 ACK", "", ""),
            self.there(INVITE, "2", "5 INVITE", "", ""),
            self.back(OK, "2", "5 INVITE", SDP, &audio(CALLEE, "inactive")),
            self.there(ACK, "2", "5 ACK", SDP, &audio(CALLER, "inactive")),
            self.there(BYE, "2", "6 BYE", "", ""),
            self.back("SIP/2.0 481 Call/Transaction Does Not Exist", "2", "6 BYE", "", ""),
        ]
    }

    fn transfer(&self) -> Vec<Message> {
        let refer_to = "Refer-To: <sip:c@198.51.100.9?Replaces=one%40192.0.2.1%3Bto-tag%3D2%3Bfrom-tag%3D1>\r\n\
            b: <sip:a@192.0.2.1>\r\nRefer-Sub: true\r\n";
        let replaces =
            format!("{SDP}Replaces: one@192.0.2.1;to-tag=2;from-tag=1;early-only\r\nRequire: replaces\r\n");
        let state = "Event: refer;id=2\r\nSubscription-State: terminated;reason=noresource\r\nContent-Type: message/sipfrag\r\n";
        vec![
            self.there(INVITE, "", "1 INVITE", SDP, &audio(CALLER, "sendrecv")),
            self.back(OK, "2", "1 INVITE", SDP, &audio(CALLEE, "sendrecv")),
            self.there(ACK, "2", "1 ACK", "", ""),
            self.there("REFER sip:b@198.51.100.7 SIP/2.0", "2", "2 REFER", refer_to, ""),
            self.back("SIP/2.0 202 Accepted", "2", "2 REFER", "Refer-Sub: true\r\n", ""),
            self.back("NOTIFY sip:a@192.0.2.1 SIP/2.0", "2", "3 NOTIFY", state, "SIP/2.0 200 OK\r\n"),
            self.there(OK, "2", "3 NOTIFY", "", ""),
            self.there(INVITE, "", "4 INVITE", &replaces, &audio(CALLER, "sendrecv")),
            self.back("SIP/2.0 302 Moved", "3", "4 INVITE", "Contact: <sip:d@203.0.113.5>;q=0.1\r\n", ""),
            self.there(ACK, "3", "4 ACK", "", ""),
            self.there(BYE, "2", "5 BYE", "", ""),
            self.back(OK, "2", "5 BYE", "", ""),
        ]
    }

    fn forked(&self) -> Vec<Message> {
        vec![
            self.there(INVITE, "", "1 INVITE", SDP, &audio(CALLER, "sendrecv")),
            self.back("SIP/2.0 180 Ringing", "2", "1 INVITE", SDP, &audio(CALLEE, "sendrecv")),
            self.back("SIP/2.0 183 Progress", "3", "1 INVITE", SDP, &audio([198, 51, 100, 8], "sendrecv")),
            self.back(OK, "3", "1 INVITE", SDP, &audio([198, 51, 100, 8], "sendrecv")),
            self.there("CANCEL sip:b@198.51.100.7 SIP/2.0", "", "1 CANCEL", "", ""),
            self.back(OK, "2", "1 INVITE", SDP, &audio(CALLEE, "sendrecv")),
            self.there(ACK, "3", "1 ACK", "", ""),
            self.back("BYE sip:a@192.0.2.1 SIP/2.0", "3", "9 BYE", "", ""),
            self.there(OK, "3", "9 BYE", "", ""),
        ]
    }

    fn subscription(&self) -> Vec<Message> {
        let state = "o: message-summary\r\nSubscription-State: active;expires=599\r\nc: text/plain\r\n";
        vec![
            self.there(
                "SUBSCRIBE sip:b@198.51.100.7 SIP/2.0",
                "",
                "1 SUBSCRIBE",
                "Event: message-summary\r\nExpires: 600\r\n",
                "",
            ),
            self.back(OK, "2", "1 SUBSCRIBE", "Expires: 600\r\n", ""),
            self.back("NOTIFY sip:a@192.0.2.1 SIP/2.0", "2", "7 NOTIFY", state, "Messages-Waiting: no\r\n"),
            self.there(OK, "2", "7 NOTIFY", "", ""),
            self.there(
                "MESSAGE tel:+4930123 SIP/2.0",
                "",
                "2 MESSAGE",
                "c: text/plain\r\nRoute: <sip:r;lr>, <sip:s;lr>\r\n",
                "hello",
            ),
            self.back("SIP/2.0 603 Decline", "4", "2 MESSAGE", "Retry-After: 5 (busy);duration=3\r\n", ""),
            self.there(
                "OPTIONS sip:[2001:db8::7]:5060 SIP/2.0",
                "",
                "3 OPTIONS",
                "Accept: application/sdp\r\n",
                "",
            ),
            self.back("SIP/2.0 404 Not Found", "5", "3 OPTIONS", "Allow: INVITE, ACK\r\nServer: pbx\r\n", ""),
        ]
    }

    fn kinds_of_media(&self) -> Vec<Message> {
        let mut messages = vec![
            self.there(INVITE, "", "1 INVITE", SDP, &audio(CALLER, "sendrecv")),
            self.back(OK, "2", "1 INVITE", SDP, &audio(CALLEE, "sendrecv")),
            self.there(ACK, "2", "1 ACK", "", ""),
        ];
        for (offer, number) in OTHERS.iter().zip(2..) {
            let invite = format!("{number} INVITE");
            messages.push(self.there(INVITE, "2", &invite, SDP, offer));
            messages.push(self.back(OK, "2", &invite, SDP, &offer.replace("192.0.2.1", "198.51.100.7")));
            messages.push(self.there(ACK, "2", &format!("{number} ACK"), "", ""));
        }
        messages.push(self.there(BYE, "2", "9 BYE", "", ""));
        messages.push(self.back(OK, "2", "9 BYE", "", ""));
        messages
    }
}
