//! Q.931 as H.225.0 uses it (H.225.0 section 7.2): the header and the information elements of a call signalling
//! message.
//!
//! ```text
//! +-----------+-----------+-----------------------+--------------+--------------------------
//! | 0x08      | 0x02      | flag, call reference  | message type | information elements …
//! +-----------+-----------+-----------------------+--------------+--------------------------
//! ```
//!
//! Elements are views into the message. What is in the User-User element is read by [`crate::h225`].

/// Protocol discriminator of Q.931 (4.2).
const Q931: u8 = 0x08;
/// Protocol discriminator of H.225.0 within the User-User element (H.225.0 table 10).
const ASN1: u8 = 0x05;

/// Why a message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The message ends within its header or an element.
    #[error("the message ends within an element")]
    Truncated,
    /// The protocol discriminator is another one.
    #[error("protocol discriminator {0:#04x} instead of 0x08")]
    Discriminator(u8),
    /// The call reference is not two octets long.
    #[error("call reference of {0} octets instead of 2")]
    CallReference(u8),
    /// A User-User element of length 0: there is no room for its protocol discriminator.
    #[error("User-User element of length 0")]
    EmptyUserUser,
    /// Two User-User elements: sender and receiver might not mean the same one.
    #[error("more than one User-User element")]
    RepeatedUserUser,
}

/// What a message says (Q.931 table 4-2, as far as H.225.0 table 4 has use for it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// The callee is being alerted.
    Alerting,
    /// The call is on its way.
    CallProceeding,
    /// Something has happened on the way, such as early media.
    Progress,
    /// A call is wanted.
    Setup,
    /// More digits are wanted.
    SetupAcknowledge,
    /// The call is answered.
    Connect,
    /// Connect was received.
    ConnectAcknowledge,
    /// The call is over.
    ReleaseComplete,
    /// Forwarding, H.245 procedures, supplementary services.
    Facility,
    /// Of the other party.
    Notify,
    /// Asks for a Status.
    StatusInquiry,
    /// More digits.
    Information,
    /// Of the call.
    Status,
    /// Any other.
    Other(u8),
}

impl From<u8> for MessageType {
    fn from(value: u8) -> Self {
        match value {
            0x01 => Self::Alerting,
            0x02 => Self::CallProceeding,
            0x03 => Self::Progress,
            0x05 => Self::Setup,
            0x07 => Self::Connect,
            0x0d => Self::SetupAcknowledge,
            0x0f => Self::ConnectAcknowledge,
            0x5a => Self::ReleaseComplete,
            0x62 => Self::Facility,
            0x6e => Self::Notify,
            0x75 => Self::StatusInquiry,
            0x7b => Self::Information,
            0x7d => Self::Status,
            other => Self::Other(other),
        }
    }
}

impl MessageType {
    /// Its name in the standard; `unknown` for any other.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alerting => "ALERTING",
            Self::CallProceeding => "CALL PROCEEDING",
            Self::Progress => "PROGRESS",
            Self::Setup => "SETUP",
            Self::SetupAcknowledge => "SETUP ACKNOWLEDGE",
            Self::Connect => "CONNECT",
            Self::ConnectAcknowledge => "CONNECT ACKNOWLEDGE",
            Self::ReleaseComplete => "RELEASE COMPLETE",
            Self::Facility => "FACILITY",
            Self::Notify => "NOTIFY",
            Self::StatusInquiry => "STATUS ENQUIRY",
            Self::Information => "INFORMATION",
            Self::Status => "STATUS",
            Self::Other(_) => "unknown",
        }
    }
}

/// A call signalling message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The call reference value, 15 bits; 0 is the global one, which stands for no call.
    pub call_reference: u16,
    /// The flag: sent *to* the side that chose the call reference.
    pub to_origin: bool,
    /// What it says.
    pub kind: MessageType,
    /// Cause value (Q.850), 7 bits.
    pub cause: Option<u8>,
    /// Digits of the calling party number.
    pub calling: Option<&'a [u8]>,
    /// Digits of the called party number.
    pub called: Option<&'a [u8]>,
    /// Digits or codes that were keyed in (keypad facility), as in overlap sending.
    pub keypad: Option<&'a [u8]>,
    /// Display, as sent.
    pub display: Option<&'a [u8]>,
    /// The H.225.0 message in the User-User element.
    pub user_user: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// Reads a message: a TPKT's whole payload.
    ///
    /// # Errors
    /// See [`Error`]. Elements that are not needed are skipped unread; a number or cause that makes no sense is
    /// as good as none.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Error> {
        let [discriminator, length, high, low, kind, elements @ ..] = payload else {
            return Err(match payload {
                [discriminator, ..] if *discriminator != Q931 => Error::Discriminator(*discriminator),
                _ => Error::Truncated,
            });
        };
        if *discriminator != Q931 {
            return Err(Error::Discriminator(*discriminator));
        }
        if *length != 2 {
            return Err(Error::CallReference(*length));
        }
        let mut message = Self {
            call_reference: u16::from_be_bytes([high & 0x7f, *low]),
            to_origin: high & 0x80 != 0,
            kind: MessageType::from(*kind),
            cause: None,
            calling: None,
            called: None,
            keypad: None,
            display: None,
            user_user: None,
        };
        let mut user_user = None;
        let mut rest = elements;
        while let Some((element, behind)) = split_element(rest)? {
            rest = behind;
            match element.id {
                0x08 => {
                    message.cause =
                        element.contents.get(optional_octets(element.contents, 1)).map(|c| c & 0x7f)
                }
                0x28 => message.display = Some(element.contents),
                0x2c => message.keypad = digits(element.contents, 0),
                0x6c => message.calling = digits(element.contents, 2),
                0x70 => message.called = digits(element.contents, 1),
                0x7e if user_user.is_some() => return Err(Error::RepeatedUserUser),
                0x7e => user_user = Some(element.contents),
                _ => {}
            }
        }
        message.user_user = match user_user {
            Some([]) => return Err(Error::EmptyUserUser),
            Some([ASN1, h225 @ ..]) => Some(h225),
            // Another protocol's, which an H.323 endpoint does not read.
            Some(_) | None => None,
        };
        Ok(message)
    }
}

struct Element<'a> {
    id: u8,
    contents: &'a [u8],
}

/// Splits the first information element off (Q.931 4.5.1). Shifts to other codesets are stepped over like other
/// single-octet elements: an endpoint that knows none would read what follows, so it is read here too.
fn split_element(elements: &[u8]) -> Result<Option<(Element<'_>, &[u8])>, Error> {
    let (id, length, contents) = match elements {
        [] => return Ok(None),
        [id @ 0x80..=0xff, rest @ ..] => (*id, 0, rest),
        // H.225.0 7.2.2.31: the User-User element has a length of two octets.
        [id @ 0x7e, high, low, rest @ ..] => (*id, usize::from(u16::from_be_bytes([*high, *low])), rest),
        [0x7e, ..] | [_] => return Err(Error::Truncated),
        [id, length, rest @ ..] => (*id, usize::from(*length), rest),
    };
    let (contents, rest) = contents.split_at_checked(length).ok_or(Error::Truncated)?;
    Ok(Some((Element { id, contents }, rest)))
}

/// How many octets the group at the start of an element takes: it goes on while the top bit is 0 (4.5.1), for
/// `more` octets at most.
fn optional_octets(contents: &[u8], more: usize) -> usize {
    contents.iter().take(more + 1).take_while(|&&octet| octet & 0x80 == 0).count().min(more) + 1
}

/// The digits of a party number behind its `head` octets at most (4.5.8, 4.5.10).
fn digits(contents: &[u8], head: usize) -> Option<&[u8]> {
    let start = if head == 0 { 0 } else { optional_octets(contents, head - 1) };
    contents.get(start..).filter(|digits| digits.iter().all(u8::is_ascii_graphic))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETUP: &[u8] = &[
        0x08, 0x02, 0x89, 0x20, 0x05, 0x04, 0x03, 0x88, 0x93, 0xa5, 0x28, 0x02, b'h', b'i', 0x6c, 0x05, 0x00,
        0x80, b'1', b'0', b'0', 0x70, 0x03, 0x81, b'2', b'0', 0x7e, 0x00, 0x03, 0x05, 0xaa, 0xbb,
    ];

    #[test]
    fn header_and_elements() {
        let message = Message::parse(SETUP).expect("a Setup");
        assert_eq!(message.call_reference, 0x0920);
        assert!(message.to_origin);
        assert_eq!(message.kind, MessageType::Setup);
        assert_eq!(message.display, Some(&b"hi"[..]));
        assert_eq!(message.calling, Some(&b"100"[..]));
        assert_eq!(message.called, Some(&b"20"[..]));
        assert_eq!(message.user_user, Some(&[0xaa, 0xbb][..]));
    }

    #[test]
    fn digits_that_follow_are_called_or_keyed_in() {
        let more = [0x08, 0x02, 0, 1, 0x7b, 0x70, 0x02, 0x81, b'5', 0x2c, 0x02, b'#', b'7'];
        let message = Message::parse(&more).expect("an Information");
        assert_eq!(message.kind.name(), "INFORMATION");
        assert_eq!((message.called, message.keypad), (Some(&b"5"[..]), Some(&b"#7"[..])));
    }

    #[test]
    fn cause_with_and_without_recommendation_octet() {
        let one = [0x08, 0x02, 0, 1, 0x5a, 0x08, 0x02, 0x80, 0x90];
        assert_eq!(Message::parse(&one).expect("whole").cause, Some(16));
        let two = [0x08, 0x02, 0, 1, 0x5a, 0x08, 0x03, 0x00, 0x80, 0x91];
        assert_eq!(Message::parse(&two).expect("whole").cause, Some(17));
    }

    #[test]
    fn a_user_user_element_of_length_0_is_refused() {
        // Linux's conntrack helper read the discriminator behind it, beyond the packet (CVE-2026-23455).
        let empty = [0x08, 0x02, 0, 1, 0x62, 0x7e, 0, 0];
        assert_eq!(Message::parse(&empty), Err(Error::EmptyUserUser));
    }

    #[test]
    fn two_user_user_elements_are_refused() {
        let twice = [0x08, 0x02, 0, 1, 0x62, 0x7e, 0, 1, 5, 0x7e, 0, 1, 5];
        assert_eq!(Message::parse(&twice), Err(Error::RepeatedUserUser));
    }

    #[test]
    fn every_cut_within_an_element_is_refused() {
        let whole_at = [5, 10, 14, 21, 26, SETUP.len()];
        for end in 0..=SETUP.len() {
            assert_eq!(Message::parse(&SETUP[..end]).is_ok(), whole_at.contains(&end), "{end} octets");
        }
    }

    #[test]
    fn another_discriminator_or_reference_length_is_refused() {
        assert_eq!(Message::parse(&[0x41]), Err(Error::Discriminator(0x41)));
        assert_eq!(Message::parse(&[0x08, 1, 0, 1, 5]), Err(Error::CallReference(1)));
    }
}
