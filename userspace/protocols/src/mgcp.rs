//! MGCP messages (RFC 3435): commands of call agents and gateways, and their responses.
//!
//! ```text
//!  CRCX 1204 aaln/1@rgw-25.example MGCP 1.0        200 1204 OK
//!  C: A3C47F21456789F0                             I: FDE234C8
//!  L: p:10, a:PCMU
//!  M: recvonly                                     v=0
//!                                                  c=IN IP4 128.96.41.1
//!  v=0 …                                           m=audio 3456 RTP/AVP 0
//! ```
//!
//! [`messages`] cuts a datagram at its piggyback marks, lines with a single dot (section 3.5.5);
//! [`Message::parse`] reads one message. Lines may end in CRLF or LF. Parameters stay in the text; those that
//! name calls and connections are checked when the message is read.

use crate::lines::Lines;

/// Most messages in one datagram.
pub const MAX_MESSAGES: usize = 32;
/// Most parameter lines of one message.
pub const MAX_PARAMETERS: usize = 128;
/// Longest call or connection identifier, in characters (section 3.2.2).
pub const MAX_IDENTIFIER: usize = 32;
/// Longest endpoint name: 255 characters on either side of the `@` (section 3.2.1.3).
pub const MAX_ENDPOINT: usize = 511;

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A first line that is neither a command's nor a response's.
    #[error("malformed first line")]
    Start,
    /// A transaction identifier that is not a number from 1 to 999,999,999 (section 3.2.1.2).
    #[error("malformed transaction identifier")]
    Transaction,
    /// An endpoint name that is empty, too long or not printable.
    #[error("malformed endpoint name")]
    Endpoint,
    /// Another version than MGCP 0.1 or 1.0.
    #[error("unknown protocol version")]
    Version,
    /// A parameter line without a name, or a value that ought to be text and is not.
    #[error("malformed parameter line")]
    Parameter,
    /// More than [`MAX_PARAMETERS`] parameter lines.
    #[error("more than {MAX_PARAMETERS} parameter lines")]
    TooManyParameters,
    /// A parameter that may occur once does so again, with another value.
    #[error("a parameter contradicts itself")]
    Contradiction,
    /// A call identifier that is not 1 to [`MAX_IDENTIFIER`] letters and digits.
    #[error("malformed call identifier")]
    Call,
    /// A connection identifier in a command that is not 1 to [`MAX_IDENTIFIER`] letters and digits.
    #[error("malformed connection identifier")]
    Connection,
    /// More than [`MAX_MESSAGES`] messages in a datagram.
    #[error("more than {MAX_MESSAGES} messages in one datagram")]
    TooManyMessages,
}

/// What is to be done (section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// EPCF, EndpointConfiguration.
    Configure,
    /// CRCX, CreateConnection.
    Create,
    /// MDCX, ModifyConnection.
    Modify,
    /// DLCX, DeleteConnection: by a call agent, or by a gateway that has lost it.
    Delete,
    /// RQNT, NotificationRequest.
    Request,
    /// NTFY, Notify.
    Notify,
    /// AUEP, AuditEndpoint.
    AuditEndpoint,
    /// AUCX, AuditConnection.
    AuditConnection,
    /// RSIP, RestartInProgress.
    Restart,
    /// An extension's verb (section 2.3.14): says nothing about media that is understood here.
    Other,
}

impl Verb {
    fn parse(word: &str) -> Option<Self> {
        const KNOWN: [(&str, Verb); 9] = [
            ("EPCF", Verb::Configure),
            ("CRCX", Verb::Create),
            ("MDCX", Verb::Modify),
            ("DLCX", Verb::Delete),
            ("RQNT", Verb::Request),
            ("NTFY", Verb::Notify),
            ("AUEP", Verb::AuditEndpoint),
            ("AUCX", Verb::AuditConnection),
            ("RSIP", Verb::Restart),
        ];
        let known = KNOWN.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, verb)| *verb);
        let four = word.len() == 4
            && word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        known.or(four.then_some(Self::Other))
    }
}

/// Names endpoints: a local name of terms divided by `/`, and the gateway's name (section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'a>(&'a str);

impl<'a> Endpoint<'a> {
    /// A name of 1 to [`MAX_ENDPOINT`] printable characters without blanks.
    pub fn new(name: &'a str) -> Option<Self> {
        let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        (printable && (1..=MAX_ENDPOINT).contains(&name.len())).then_some(Self(name))
    }

    /// The whole name.
    pub const fn name(self) -> &'a str {
        self.0
    }

    /// The part before the `@`.
    pub fn local(self) -> &'a str {
        self.0.rsplit_once('@').map_or(self.0, |(local, _)| local)
    }

    /// Whether it stands for several endpoints, or for one the gateway is to choose.
    pub fn is_wildcard(self) -> bool {
        self.local().split('/').any(|term| matches!(term, "*" | "$"))
    }

    /// Whether it stands for `other`, by local name: `*` and `$` for any term, at the end for all that follow.
    /// Letters match in either case (section 2.1.2).
    pub fn covers(self, other: Endpoint) -> bool {
        let mut terms = other.local().split('/');
        let mut own = self.local().split('/').peekable();
        while let Some(term) = own.next() {
            let wild = matches!(term, "*" | "$");
            if wild && own.peek().is_none() {
                return true;
            }
            match terms.next() {
                Some(other) if wild || term.eq_ignore_ascii_case(other) => {}
                _ => return false,
            }
        }
        terms.next().is_none()
    }
}

/// How a gateway restarts (section 2.3.12), as far as it matters to calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// `restart` or `forced`: what was connected is lost.
    Lost,
    /// `graceful`, `cancel-graceful`, `disconnected` or an extension's: calls go on.
    Kept,
}

/// The mode of a connection (section 3.2.2.6), as far as it matters to media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Both ways: `sendrecv`, `confrnce`, `data`, tests and loops.
    Both,
    /// One way: `sendonly`, `recvonly`.
    One,
    /// `inactive`.
    Inactive,
}

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// A command.
    Command {
        /// What is to be done.
        verb: Verb,
        /// By, or to, what.
        endpoint: Endpoint<'a>,
    },
    /// A response.
    Response {
        /// 000 acknowledges a response, 100 to 199 are provisional, 200 to 299 good, the others failures
        /// (section 2.4).
        code: u16,
    },
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its first line.
    pub start: Start<'a>,
    /// The transaction, 1 to 999,999,999; unique to the command's sender for some minutes (section 3.5.1).
    pub transaction: u32,
    /// C: the call.
    pub call: Option<&'a str>,
    /// I: the connection; `None` where there is none, or an audit's response lists several.
    pub connection: Option<&'a str>,
    /// Z: the endpoint a gateway has chosen (section 3.2.1.3); `None` where there is none, or a list.
    pub specific: Option<Endpoint<'a>>,
    /// M:, where there is a single one.
    pub mode: Option<Mode>,
    /// RM: of a restart; `restart` where it is not said (section 3.2.2.20).
    pub restart: Restart,
    /// O: the events that a NTFY tells, as they stand there.
    pub observed: Option<&'a str>,
    /// The session description behind the first blank line, up to the next.
    pub sdp: Option<&'a [u8]>,
    /// Z: has been read.
    listed: bool,
}

impl<'a> Message<'a> {
    /// Reads one message, as [`messages`] has cut it out.
    ///
    /// # Errors
    /// See [`Error`]. Parameters that say nothing about calls are not checked beyond their names.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let mut lines = Lines { text, at: 0 };
        // Section 3.1 has no blank lines there; some senders do.
        let (_, first) = lines.by_ref().find(|(_, line)| !line.is_empty()).ok_or(Error::Start)?;
        let (start, transaction) = start(first)?;
        let mut message = Self {
            start,
            transaction,
            call: None,
            connection: None,
            specific: None,
            mode: None,
            restart: Restart::Lost,
            observed: None,
            sdp: None,
            listed: false,
        };
        for count in 0.. {
            let Some((_, line)) = lines.next() else { return Ok(message) };
            if line.is_empty() {
                break;
            }
            if count == MAX_PARAMETERS {
                return Err(Error::TooManyParameters);
            }
            let colon = line.iter().position(|byte| *byte == b':').ok_or(Error::Parameter)?;
            message.parameter(line[..colon].trim_ascii(), line[colon + 1..].trim_ascii())?;
        }
        message.sdp = description(text.get(lines.at..).unwrap_or_default());
        Ok(message)
    }

    /// The digits among the events that a NTFY tells (RFC 3660 section 2.2: DTMF package), in order; other events are
    /// left out.
    pub fn digits(&self) -> impl Iterator<Item = char> {
        let events = self.observed.unwrap_or_default().split(',');
        events.filter_map(|event| {
            let event =
                event.split('@').next().unwrap_or_default().split('(').next().unwrap_or_default().trim();
            let name = match event.split_once('/') {
                Some((package, name)) if package.eq_ignore_ascii_case("d") => name,
                Some(_) => return None,
                None => event,
            };
            let mut symbols = name.chars();
            let digit = symbols.next().filter(|c| c.is_ascii_digit() || "*#".contains(*c))?;
            symbols.next().is_none().then_some(digit)
        })
    }

    /// Whether a NTFY tells that the phone was lifted, or put down: what is dialled then begins anew.
    pub fn begins_anew(&self) -> bool {
        let events = self.observed.unwrap_or_default().split(',');
        let name = |event: &str| event.trim().rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        events.map(name).any(|name| name == "hd" || name == "hu")
    }

    fn parameter(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Error> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if name.is_empty() || name.iter().any(|byte| !byte.is_ascii_graphic()) {
            return Err(Error::Parameter);
        }
        // Others may have bytes of any character set: a caller's name, for one.
        if is("O") {
            if self.observed.is_some() {
                return Err(Error::Contradiction);
            }
            // What is not text has no digits in it.
            self.observed = std::str::from_utf8(value).ok();
            return Ok(());
        }
        if !["C", "I", "Z", "M", "RM"].into_iter().any(is) {
            return Ok(());
        }
        let value = std::str::from_utf8(value).map_err(|_| Error::Parameter)?;
        if is("C") {
            let call = identifier(value).ok_or(Error::Call)?;
            if self.call.is_some_and(|known| known != call) {
                return Err(Error::Contradiction);
            }
            self.call = Some(call);
        } else if is("I") {
            self.connection(value)?;
        } else if is("Z") {
            // A second one makes it a list.
            self.specific = Endpoint::new(value).filter(|_| !std::mem::replace(&mut self.listed, true));
        } else if is("M") {
            self.mode = mode(value);
        } else {
            let lost = ["restart", "forced"].iter().any(|known| value.eq_ignore_ascii_case(known));
            self.restart = if lost { Restart::Lost } else { Restart::Kept };
        }
        Ok(())
    }

    fn connection(&mut self, value: &'a str) -> Result<(), Error> {
        let connection = identifier(value);
        let another = self.connection.is_some_and(|known| connection != Some(known));
        match self.start {
            Start::Command { .. } if connection.is_none() => return Err(Error::Connection),
            Start::Command { .. } if another => return Err(Error::Contradiction),
            // An audit's response has a list, which may be empty.
            Start::Response { .. } if another => self.connection = None,
            _ => self.connection = connection,
        }
        Ok(())
    }
}

/// The messages of a datagram, at most [`MAX_MESSAGES`].
///
/// # Errors
/// [`Error::TooManyMessages`], in place of the first one too many.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<&[u8], Error>> {
    let mut lines = Lines { text: datagram, at: 0 };
    let mut count = 0;
    std::iter::from_fn(move || {
        let begin = lines.at;
        if begin >= datagram.len() || count > MAX_MESSAGES {
            return None;
        }
        count += 1;
        if count > MAX_MESSAGES {
            return Some(Err(Error::TooManyMessages));
        }
        let end = lines.by_ref().find(|(_, line)| *line == b".").map_or(datagram.len(), |(at, _)| at);
        Some(Ok(&datagram[begin..end]))
    })
}

fn start(line: &[u8]) -> Result<(Start<'_>, u32), Error> {
    // A response's comment may be in any character set.
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| std::str::from_utf8(word).unwrap_or_default());
    let first = words.next().ok_or(Error::Start)?;
    let number = words.next().ok_or(Error::Transaction)?;
    let transaction = match number.len() {
        1..=9 if number.bytes().all(|byte| byte.is_ascii_digit()) => number.parse().unwrap_or(0),
        _ => 0,
    };
    if transaction == 0 {
        return Err(Error::Transaction);
    }
    if first.len() == 3 && first.bytes().all(|byte| byte.is_ascii_digit()) {
        let code = first.parse().map_err(|_| Error::Start)?;
        return Ok((Start::Response { code }, transaction));
    }
    let verb = Verb::parse(first).ok_or(Error::Start)?;
    let endpoint = words.next().and_then(Endpoint::new).ok_or(Error::Endpoint)?;
    let mgcp = words.next().is_some_and(|word| word.eq_ignore_ascii_case("MGCP"));
    if !mgcp || !matches!(words.next(), Some("0.1" | "1.0")) {
        return Err(Error::Version);
    }
    Ok((Start::Command { verb, endpoint }, transaction))
}

/// Hexadecimal by the standard; real senders have other letters too.
fn identifier(value: &str) -> Option<&str> {
    let known = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (known && (1..=MAX_IDENTIFIER).contains(&value.len())).then_some(value)
}

fn mode(value: &str) -> Option<Mode> {
    let is = |known: &str| value.eq_ignore_ascii_case(known);
    match () {
        // An audit's response lists what the endpoint can do.
        () if value.is_empty() || value.contains(',') => None,
        () if is("inactive") => Some(Mode::Inactive),
        () if is("sendonly") || is("recvonly") => Some(Mode::One),
        () => Some(Mode::Both),
    }
}

/// The first lines that are not blank, up to the next blank one: a second description is another
/// connection's (section 3.2.3).
fn description(text: &[u8]) -> Option<&[u8]> {
    let begin = Lines { text, at: 0 }.find(|(_, line)| !line.is_empty()).map(|(at, _)| at)?;
    let end = Lines { text, at: begin }.find(|(_, line)| line.is_empty()).map_or(text.len(), |(at, _)| at);
    text.get(begin..end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CREATE: &str = "CRCX 1204 aaln/1@rgw-25.example MGCP 1.0\r\nC: A3C47F21456789F0\r\n\
        L: p:10, a:PCMU\r\nM: recvonly\r\nX: 0123456789AD\r\n\r\nv=0\r\nm=audio 3456 RTP/AVP 0\r\n";

    fn parse(text: &str) -> Result<Message<'_>, Error> {
        Message::parse(text.as_bytes())
    }

    fn endpoint(name: &str) -> Endpoint<'_> {
        Endpoint::new(name).expect("a name")
    }

    #[test]
    fn digits_are_read_of_a_notification() {
        let digits = |events: &str| {
            let text = format!("NTFY 7 aaln/1@gw.example MGCP 1.0\r\nX: 1\r\nO: {events}\r\n");
            let message = parse(&text).map(|m| (m.digits().collect::<String>(), m.begins_anew()));
            message.expect("valid")
        };
        assert_eq!(digits("D/9, d/1,D/9,D/0,D/0,D/#,D/T"), ("9190 0#".replace(' ', ""), false));
        assert_eq!(digits("L/hd"), (String::new(), true));
        assert_eq!(digits("L/hu, 5, d/*@A1, d/len(12), G/ft, d/12"), ("5*".to_owned(), true));
        let twice = "NTFY 7 aaln/1@gw.example MGCP 1.0\r\nO: d/9\r\nO: d/1\r\n";
        assert_eq!(parse(twice).map(|_| ()), Err(Error::Contradiction));
    }

    #[test]
    fn a_command_is_read() {
        let message = parse(CREATE).expect("valid");
        let endpoint = endpoint("aaln/1@rgw-25.example");
        assert_eq!(message.start, Start::Command { verb: Verb::Create, endpoint });
        assert_eq!((message.transaction, message.call), (1204, Some("A3C47F21456789F0")));
        assert_eq!((message.connection, message.mode), (None, Some(Mode::One)));
        assert_eq!(message.sdp, Some(&b"v=0\r\nm=audio 3456 RTP/AVP 0\r\n"[..]));
    }

    #[test]
    fn a_response_is_read() {
        let message =
            parse("200 25 OK\nI:3\nZ: aaln/2@gw\n\nv=0\nc=IN IP4 192.0.2.1\n\nv=0\n").expect("valid");
        assert_eq!((message.start, message.transaction), (Start::Response { code: 200 }, 25));
        assert_eq!((message.connection, message.specific), (Some("3"), Some(endpoint("aaln/2@gw"))));
        assert_eq!(message.sdp, Some(&b"v=0\nc=IN IP4 192.0.2.1\n"[..]), "the first description only");
        let bare = parse("000 999999999").expect("valid");
        assert_eq!((bare.start, bare.transaction), (Start::Response { code: 0 }, 999_999_999));
        let audit = parse("200 81 \r\nI:\r\nM: sendonly, recvonly\r\nL: v:G;D\r\nL: v:G\r\n").expect("valid");
        assert_eq!((audit.connection, audit.mode, audit.sdp), (None, None, None));
    }

    #[test]
    fn an_audits_response_may_list_endpoints_and_connections() {
        let list = parse("200 9 OK\nZ: aaln/1@gw\nZ: aaln/2@gw\nI: 31\nI: 32\n").expect("valid");
        assert_eq!((list.specific, list.connection), (None, None));
        let list = parse("200 9 OK\nZ: aaln/1@gw, aaln/2@gw\nI: 31,32\n").expect("valid");
        assert_eq!((list.specific, list.connection), (None, None));
    }

    #[test]
    fn names_of_callers_may_be_in_any_character_set() {
        let text = b"RQNT 1 aaln/1@gw MGCP 1.0\r\nS: L/ci(01/01,5,M\xfcller)\r\nC: 7\r\n";
        assert_eq!(Message::parse(text).expect("valid").call, Some("7"));
        assert!(Message::parse(b"200 1 n\xe9gatif\r\n").is_ok());
        assert_eq!(Message::parse(b"RQNT 1 a@gw MGCP 1.0\nC: \xfc\n").err(), Some(Error::Parameter));
    }

    #[test]
    fn all_verbs_are_known_in_either_case() {
        for (word, verb) in [
            ("epcf", Verb::Configure),
            ("CrCx", Verb::Create),
            ("MDCX", Verb::Modify),
            ("DLCX", Verb::Delete),
            ("RQNT", Verb::Request),
            ("NTFY", Verb::Notify),
            ("AUEP", Verb::AuditEndpoint),
            ("AUCX", Verb::AuditConnection),
            ("RSIP", Verb::Restart),
            ("XPER", Verb::Other),
        ] {
            let line = format!("{word} 1 *@gw mgcp 0.1 NCS 1.0");
            let start = parse(&line).expect("valid").start;
            assert_eq!(start, Start::Command { verb, endpoint: endpoint("*@gw") });
        }
    }

    #[test]
    fn restarts_that_lose_calls_are_told_from_those_that_do_not() {
        for (method, restart) in [
            ("RM: restart\n", Restart::Lost),
            ("RM: Forced\n", Restart::Lost),
            ("", Restart::Lost),
            ("RM: graceful\n", Restart::Kept),
            ("RM: disconnected\n", Restart::Kept),
            ("RM: X-keepalive\n", Restart::Kept),
        ] {
            let text = format!("RSIP 1 *@gw MGCP 1.0\n{method}");
            assert_eq!(parse(&text).expect("valid").restart, restart, "{method}");
        }
    }

    #[test]
    fn what_contradicts_the_standard_is_refused() {
        for (text, error) in [
            ("", Error::Start),
            ("\r\n\r\n", Error::Start),
            ("CREATE 1 a@b MGCP 1.0", Error::Start),
            ("2000 1 OK", Error::Start),
            ("CRCX", Error::Transaction),
            ("CRCX 0 a@b MGCP 1.0", Error::Transaction),
            ("CRCX 1000000000 a@b MGCP 1.0", Error::Transaction),
            ("CRCX +1 a@b MGCP 1.0", Error::Transaction),
            ("200 x OK", Error::Transaction),
            ("CRCX 1", Error::Endpoint),
            ("CRCX 1 a\u{7f}@b MGCP 1.0", Error::Endpoint),
            ("CRCX 1 a@b", Error::Version),
            ("CRCX 1 a@b MGCP 2.0", Error::Version),
            ("CRCX 1 a@b SIP/2.0", Error::Version),
            ("CRCX 1 a@b MGCP 1.0\nno parameter\n", Error::Parameter),
            ("CRCX 1 a@b MGCP 1.0\n: x\n", Error::Parameter),
            ("CRCX 1 a@b MGCP 1.0\nC:\n", Error::Call),
            ("CRCX 1 a@b MGCP 1.0\nC: 0123456789abcdef0123456789abcdef0\n", Error::Call),
            ("CRCX 1 a@b MGCP 1.0\nC: 1 2\n", Error::Call),
            ("CRCX 1 a@b MGCP 1.0\nC: 1\nC: 2\n", Error::Contradiction),
            ("MDCX 1 a@b MGCP 1.0\nI: 1\nI: 2\n", Error::Contradiction),
            ("DLCX 1 a@b MGCP 1.0\nI: 1,2\n", Error::Connection),
            ("DLCX 1 a@b MGCP 1.0\nI:\n", Error::Connection),
        ] {
            assert_eq!(parse(text).err(), Some(error), "{text:?}");
        }
        let long = format!("CRCX 1 {} MGCP 1.0", "a".repeat(MAX_ENDPOINT + 1));
        assert_eq!(parse(&long).err(), Some(Error::Endpoint));
        let many = format!("RQNT 1 a@b MGCP 1.0\n{}", "X: 1\n".repeat(MAX_PARAMETERS + 1));
        assert_eq!(parse(&many).err(), Some(Error::TooManyParameters));
    }

    #[test]
    fn a_datagram_is_cut_at_lines_with_a_single_dot() {
        let cut = |text: &str| -> Vec<String> {
            messages(text.as_bytes())
                .map(|message| message.map_or("too many".into(), |m| String::from_utf8_lossy(m).into_owned()))
                .collect()
        };
        assert_eq!(
            cut("200 1 OK\r\n.\r\nMDCX 2 a@b MGCP 1.0\n.\n200 3\n"),
            ["200 1 OK\r\n", "MDCX 2 a@b MGCP 1.0\n", "200 3\n"]
        );
        assert_eq!(cut("200 1 a.b\n..\n"), ["200 1 a.b\n..\n"]);
        assert_eq!(cut("200 1\n."), ["200 1\n"]);
        assert_eq!(cut(""), [""; 0]);
        assert_eq!(cut(&"200 1\n.\n".repeat(MAX_MESSAGES)).len(), MAX_MESSAGES);
        let over = cut(&"200 1\n.\n".repeat(MAX_MESSAGES + 5));
        assert_eq!((over.len(), over.last().map(String::as_str)), (MAX_MESSAGES + 1, Some("too many")));
    }

    #[test]
    fn wildcards_cover_terms_and_what_follows() {
        let covers = |pattern: &str, name: &str| endpoint(pattern).covers(endpoint(name));
        assert!(covers("*@gw", "aaln/S0/SU0/0@gw") && covers("$@gw", "aaln/1@gw"));
        assert!(covers("aaln/S0/*@gw", "AALN/s0/SU0/0@gw") && covers("aaln/*/1@gw", "aaln/2/1@gw"));
        assert!(covers("AALN/S0/SU0/0@gw", "aaln/S0/SU0/0@GW"));
        assert!(!covers("aaln/1@gw", "aaln/10@gw") && !covers("aaln/*/1@gw", "aaln/2/2@gw"));
        assert!(!covers("aaln@gw", "aaln/1@gw") && !covers("aaln/1/1@gw", "aaln/1@gw"));
        assert!(endpoint("*@gw").is_wildcard() && endpoint("ds/$/1@gw").is_wildcard());
        assert!(!endpoint("a*/1@gw").is_wildcard());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for message in messages(&bytes).flatten() {
                let _ = Message::parse(message);
            }
        }

        #[test]
        fn no_damage_makes_it_panic(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            end in any::<prop::sample::Index>(),
        ) {
            let mut bytes = [CREATE, ".\n200 7 OK\nI: 3\n\nv=0\n"].concat().into_bytes();
            for (place, value) in damage {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            bytes.truncate(end.index(bytes.len() + 1));
            for message in messages(&bytes).flatten().flat_map(Message::parse) {
                prop_assert!((1..=999_999_999).contains(&message.transaction));
                prop_assert!(message.call.is_none_or(|call| !call.is_empty() && call.len() <= MAX_IDENTIFIER));
            }
        }

        #[test]
        fn messages_leave_nothing_out(parts in prop::collection::vec("[a-z]{1,8}\n", 1..8)) {
            let datagram = parts.join(".\n");
            let found: Vec<_> = messages(datagram.as_bytes()).flatten().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(found, parts.iter().map(|part| part.clone().into_bytes()).collect::<Vec<_>>());
        }
    }
}
