//! What tshark makes of H.323 messages: their names, and the addresses in them by role.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use crate::support::octets;

/// A message as tshark sees it.
#[derive(Debug)]
pub(crate) struct Dissected {
    /// Number of the packet in the capture, from 1.
    pub packet: usize,
    /// As [`crate::support::said`] names it.
    pub protocol: &'static str,
    /// The message's octets.
    pub encoding: Vec<u8>,
    /// Names, and `role=address`.
    pub words: Vec<String>,
    /// tshark could not read it to its end.
    pub malformed: bool,
}

/// The H.323 messages of a capture; `None` if there is no tshark.
pub(crate) fn dissect(capture: &Path) -> Option<Vec<Dissected>> {
    let output =
        Command::new("tshark").args(["-n", "-T", "pdml", "-Y", "h225 || h245", "-r"]).arg(capture).output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        output => output.expect("tshark runs"),
    };
    let pdml = String::from_utf8_lossy(&output.stdout);
    assert!(pdml.contains("</pdml>"), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    Some(packets(&pdml).iter().flat_map(messages).collect())
}

/// A protocol or field.
#[derive(Debug, Default)]
struct Node {
    name: String,
    show: String,
    value: String,
    /// Where it lies, in the packet or in what several were put together to, and how long it is.
    place: (usize, usize),
    inner: Vec<Node>,
}

/// The packets of PDML, whose attributes hold no `<` or `>` of their own.
fn packets(pdml: &str) -> Vec<Node> {
    let mut open = vec![Node::default()];
    for tag in pdml.split('<').filter_map(|tag| tag.split_once('>').map(|(tag, _)| tag)) {
        // How it was encoded: half of all there is.
        if tag.starts_with("field name=\"per.") && tag.ends_with('/') {
            continue;
        }
        let begins = ["packet", "proto ", "field "].iter().any(|name| tag.starts_with(name));
        if begins {
            let attribute = |name: &str| {
                let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
                Some(rest.split_once('"')?.0)
            };
            let text = |name| attribute(name).unwrap_or_default().to_owned();
            let number = |name| attribute(name).and_then(|number| number.parse().ok()).unwrap_or_default();
            open.push(Node {
                name: text("name"),
                show: text("show"),
                value: text("value"),
                place: (number("pos"), number("size")),
                inner: Vec::new(),
            });
        }
        if matches!(tag, "/packet" | "/proto" | "/field") || begins && tag.ends_with('/') {
            let done = open.pop().expect("an element is open");
            open.last_mut().expect("within the document").inner.push(done);
        }
    }
    assert_eq!(open.len(), 1, "every element is closed");
    open.pop().expect("the document").inner
}

fn messages(packet: &Node) -> Vec<Dissected> {
    let mut found = Vec::new();
    let mut user_user = None;
    let general = packet.inner.iter().find(|node| node.name == "geninfo");
    let number = general.and_then(|node| node.inner.iter().find(|field| field.name == "num"));
    let number = number.map_or(0, |field| field.show.parse().expect("a number"));
    let mut push = |protocol, encoding, node: &Node| {
        let mut words = Words::default();
        words.walk(node, &mut Vec::new());
        found.push(Dissected {
            packet: number,
            protocol,
            encoding,
            words: words.words,
            malformed: is_malformed(node),
        });
    };
    for node in &packet.inner {
        match node.name.as_str() {
            "q931" => {
                let element = node.inner.iter().find(|field| field.show.starts_with("User-user"));
                user_user = element.map(|element| octets(&element.value));
            }
            "h225" => {
                if let Some(ras) = node.inner.iter().find(|field| field.name == "h225.RasMessage") {
                    push("ras", whole(packet, node, &octets(&ras.value)), node);
                } else if let Some(element) = user_user.take() {
                    // Identifier, length and protocol discriminator come first.
                    push("h225", element[4..].to_vec(), node);
                }
            }
            "h245" => {
                if let Some(pdu) = node.inner.iter().find(|field| field.name == "h245.pdu_type") {
                    push("h245", whole(packet, node, &octets(&pdu.value)), node);
                }
            }
            _ => {}
        }
    }
    // Its complaints stand behind the message.
    if packet.inner.iter().any(|node| node.name == "_ws.malformed") {
        found.iter_mut().for_each(|message| message.malformed = true);
    }
    found
}

/// The octets of a datagram, or of an H.245 message on a connection of its own, that begins with these: tshark leaves
/// out the last one, if not all of its bits are used.
fn whole(packet: &Node, message: &Node, beginning: &[u8]) -> Vec<u8> {
    let (start, length) = message.place;
    let sources = packet.inner.iter().flat_map(|node| &node.inner).filter(|field| {
        matches!(field.name.as_str(), "udp.payload" | "tcp.payload" | "tcp.reassembled.data")
    });
    let found = sources.into_iter().find_map(|source| {
        let octets = octets(&source.value);
        let at = start.checked_sub(source.place.0)?;
        Some(octets.get(at..at + length)?.to_vec()).filter(|octets| octets.starts_with(beginning))
    });
    found.unwrap_or_else(|| beginning.to_vec())
}

fn is_malformed(node: &Node) -> bool {
    node.name.starts_with("_ws.malformed") || node.inner.iter().any(is_malformed)
}

#[derive(Default)]
struct Words {
    words: Vec<String>,
    /// How often a role came up in the message that is being walked through.
    roles: HashMap<String, usize>,
}

impl Words {
    fn walk<'a>(&mut self, node: &'a Node, path: &mut Vec<&'a str>) {
        let name = node.name.split_once('.').map_or("", |(_, name)| name);
        if let Some(message) = message(name, path) {
            self.words.push(message.to_owned());
            self.roles.clear();
        }
        match (socket(node), role(path)) {
            (Some(address), Some(role)) if address.port() != 0 => {
                // No more of a list are kept.
                let count = self.roles.entry(role.clone()).or_default();
                *count += 1;
                if *count <= 4 {
                    self.words.push(format!("{role}={address}"));
                }
            }
            _ => {}
        }
        path.push(name);
        node.inner.iter().for_each(|inner| self.walk(inner, path));
        path.pop();
    }
}

/// The name of the message that a field is.
fn message<'a>(field: &'a str, path: &[&str]) -> Option<&'a str> {
    let chosen = chooses(path) && !field.is_empty();
    let name = field.trim_end_matches("_element");
    if chosen && (field.ends_with("_element") || is_choice_of_choices(field)) {
        // One field name in the dissector for two alternatives.
        return Some(name.trim_end_matches("_flg"));
    }
    (field == "OpenLogicalChannel_element").then_some("openLogicalChannel")
}

/// Whether the field at the end of this path chooses a message. Others have names like those of H.245's kinds.
fn chooses(path: &[&str]) -> bool {
    matches!(
        path,
        [.., "RasMessage" | "h323_message_body"]
            | [.., "pdu_type", "request" | "response" | "command" | "indication"]
    )
}

/// Messages that are no SEQUENCEs, so that their fields have no `_element`.
fn is_choice_of_choices(field: &str) -> bool {
    const NAMES: [&str; 18] = [
        "admissionConfirmSequence",
        "conferenceRequest",
        "multilinkRequest",
        "communicationModeResponse",
        "conferenceResponse",
        "multilinkResponse",
        "sendTerminalCapabilitySet",
        "encryptionCommand",
        "endSessionCommand",
        "conferenceCommand",
        "h223MultiplexReconfiguration",
        "functionNotUnderstood",
        "userInput",
        "conferenceIndication",
        "multilinkIndication",
        "genericIndication",
        "genericRequest",
        "genericCommand",
    ];
    NAMES.contains(&field)
}

/// The role of an address at the end of this path, if it is one that is read.
fn role(path: &[&str]) -> Option<String> {
    let named = |name: &str| path.iter().rposition(|field| *field == name);
    let choice = (1..path.len()).rev().find(|&end| chooses(&path[..end]));
    let start = choice.max(named("OpenLogicalChannel_element")).max(named("AdmissionConfirm_element"))?;
    let message = path.get(start)?.trim_end_matches("_element");
    let fields: Vec<_> = path[start + 1..].iter().map(|field| field.trim_end_matches("_element")).collect();
    let first = *fields.iter().find(|field| !field.is_empty())?;
    let has = |name: &str| fields.contains(&name);
    let role = match (message, first) {
        ("admissionReject", _) => return None,
        (
            _,
            "rasAddress"
            | "callSignalAddress"
            | "destCallSignalAddress"
            | "srcCallSignalAddress"
            | "replyAddress"
            | "h245Address"
            | "sourceCallSignalAddress"
            | "alternativeAddress",
        ) => first.to_owned(),
        ("gatekeeperConfirm" | "registrationConfirm", "alternateGatekeeper") => "alternate".to_owned(),
        ("admissionConfirm" | "AdmissionConfirm" | "locationConfirm", "alternateEndpoints")
            if has("callSignalAddress") =>
        {
            "alternate".to_owned()
        }
        ("openLogicalChannel" | "OpenLogicalChannel" | "openLogicalChannelAck", "separateStack") => {
            "separateStack".to_owned()
        }
        ("openLogicalChannel" | "OpenLogicalChannel" | "openLogicalChannelAck", _) => {
            let direction = if first.starts_with("reverse") { "reverse" } else { "forward" };
            let parameters = fields.iter().position(|field| field.starts_with("h2250LogicalChannel"))?;
            let channel = fields.get(parameters + 1)?;
            if !matches!(*channel, "mediaChannel" | "mediaControlChannel") {
                return None;
            }
            format!("{direction}.{channel}")
        }
        ("communicationModeCommand", _) => {
            (*fields.iter().find(|field| matches!(**field, "mediaChannel" | "mediaControlChannel"))?)
                .to_owned()
        }
        _ => return None,
    };
    Some(role)
}

/// The address that a node is.
fn socket(node: &Node) -> Option<SocketAddr> {
    let name = node.name.split_once('.')?.1;
    let known = ["ipAddress", "ip6Address", "iPAddress", "iP6Address", "mIPAddress", "mIP6Address"];
    if !known.contains(&name.trim_end_matches("_element")) {
        return None;
    }
    let [ip, port] =
        node.inner.iter().filter(|field| !field.name.starts_with("per.")).collect::<Vec<_>>()[..]
    else {
        return None;
    };
    let octets = octets(&ip.value);
    let ip = match <[u8; 4]>::try_from(octets.as_slice()) {
        Ok(v4) => IpAddr::from(Ipv4Addr::from(v4)),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(&port.value, 16).ok()?))
}
