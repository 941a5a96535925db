//! Digits nobody is to see.
//!
//! Where the rules say so, the last digits of every number are replaced before a record goes anywhere, so that no
//! place ever has them. What stands before them (country, area, who is premium) can still be judged.

use callgate_api::history::Record;

/// What stands for a digit.
const MASKED: char = 'x';
/// Fewer digits in a row are not a number: a name can have them.
const LEAST: usize = 3;

/// Masks the last `digits` digits of each number of a record.
pub fn mask(record: &mut Record, digits: usize) {
    if digits == 0 {
        return;
    }
    let Record { caller, called, caller_signalled, called_signalled, .. } = record;
    for text in [caller, called, caller_signalled, called_signalled] {
        // A plain address is no number; it is told beside them anyway.
        if text.parse::<std::net::IpAddr>().is_err() {
            *text = masked(text, digits);
        }
    }
}

/// A text in which the last `digits` digits of each number are masked; what follows an `@` is a host and stays.
pub fn masked(text: &str, digits: usize) -> String {
    let (user, host) = text.split_at(text.find('@').unwrap_or(text.len()));
    let mut chars: Vec<char> = user.chars().collect();
    let mut number: Vec<usize> = Vec::new();
    for place in 0..=chars.len() {
        match chars.get(place) {
            Some(c) if c.is_ascii_digit() => number.push(place),
            // Visual separators do not end a number (RFC 3966 section 5.1.1).
            Some('-' | '.' | '(' | ')' | ' ') => {}
            _ => {
                if number.len() >= LEAST {
                    for place in number.iter().rev().take(digits) {
                        chars[*place] = MASKED;
                    }
                }
                number.clear();
            }
        }
    }
    chars.into_iter().collect::<String>() + host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_digits_of_numbers_are_masked() {
        for (text, shown) in [
            ("19005551234", "1900555xxxx"),
            ("+1 (900) 555-1234", "+1 (900) 555-xxxx"),
            ("sip:2001@10.20.30.40", "sip:xxxx@10.20.30.40"),
            ("sip:+15551234567@192.0.2.1;user=phone", "sip:+1555123xxxx@192.0.2.1;user=phone"),
            ("alice", "alice"),
            ("room 12", "room 12"),
            ("911", "xxx"),
            ("", ""),
            ("Zoë 5551234", "Zoë 555xxxx"),
        ] {
            assert_eq!(masked(text, 4), shown);
        }
        assert_eq!(masked("12345", 2), "123xx");
    }

    #[test]
    fn a_record_keeps_addresses_and_devices() {
        let mut record = Record {
            caller: "10.1.2.3".to_owned(),
            called: "19005551234".to_owned(),
            called_signalled: "sip:919005551234@pbx".to_owned(),
            device: "SEP001122334455".to_owned(),
            ..Record::default()
        };
        let before = record.clone();
        mask(&mut record, 0);
        assert_eq!(record, before);
        mask(&mut record, 4);
        assert_eq!((record.caller.as_str(), record.called.as_str()), ("10.1.2.3", "1900555xxxx"));
        assert_eq!(record.called_signalled, "sip:91900555xxxx@pbx");
        assert_eq!(record.device, before.device);
    }
}
