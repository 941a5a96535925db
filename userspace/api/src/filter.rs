//! Which flows are wanted: the query of `GET /v1/flows` and `POST /v1/flows/kill`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::{FlowRow, FlowState};

/// What wanted flows have in common. The default is every flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// Networks of the originator: any of them.
    pub from: Option<IpNet>,
    /// Of the responder.
    pub to: Option<IpNet>,
    /// A port of either end.
    pub port: Option<u16>,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `proto/N`, or the signalling that is read: `sip`, `sccp` …
    pub protocol: Option<String>,
    /// How far it has come.
    pub state: Option<FlowState>,
    /// Zone of the first packet.
    pub zone: Option<String>,
    /// The rule that admitted it.
    pub rule: Option<String>,
}

/// A part of a query that is none of a filter's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFilter {
    /// The part.
    pub pair: String,
    /// What can stand there.
    pub hint: &'static str,
}

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {:?}", self.pair)
    }
}

impl std::error::Error for BadFilter {}

impl FlowFilter {
    /// Whether every flow is wanted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this one is.
    pub fn wants(&self, flow: &FlowRow) -> bool {
        let within = |network: Option<IpNet>, end: SocketAddr| {
            network.is_none_or(|network| network.contains(&end.ip().to_canonical()))
        };
        let named =
            |wanted: &Option<String>, name: Option<&String>| wanted.is_none() || wanted.as_ref() == name;
        within(self.from, flow.from)
            && within(self.to, flow.to)
            && self.port.is_none_or(|port| port == flow.from.port() || port == flow.to.port())
            && (named(&self.protocol, Some(&flow.protocol)) || named(&self.protocol, flow.inspect.as_ref()))
            && self.state.is_none_or(|state| state == flow.state)
            && named(&self.zone, Some(&flow.zone))
            && named(&self.rule, flow.rule.as_ref())
    }

    /// Takes up one `key=value` of a query, as [`Self::to_query`] writes it.
    ///
    /// # Errors
    /// [`BadFilter`]: another key, or a value that is none.
    pub fn take(&mut self, pair: &str) -> Result<(), BadFilter> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let bad = |hint| BadFilter { pair: pair.to_owned(), hint };
        let value = decoded(value).filter(|value| !value.is_empty()).ok_or_else(|| bad("use KEY=VALUE"))?;
        let network = || network(&value).ok_or_else(|| bad("use an address or a prefix, such as 10.0.0.0/8"));
        match key {
            "from" => self.from = Some(network()?),
            "to" => self.to = Some(network()?),
            "port" => self.port = Some(value.parse().map_err(|_| bad("a port is 0 to 65535"))?),
            "state" => {
                self.state = Some(FlowState::from_name(&value).ok_or_else(|| {
                    bad("states are new, half-open, replied, established, closing and closed")
                })?);
            }
            "protocol" => self.protocol = Some(value),
            "zone" => self.zone = Some(value),
            "rule" => self.rule = Some(value),
            _ => return Err(bad("there are from, to, port, protocol, state, zone, rule and limit")),
        }
        Ok(())
    }

    /// The query: `key=value` joined by `&`; empty where every flow is wanted.
    pub fn to_query(&self) -> String {
        let pairs = [
            ("from", self.from.map(|network| network.to_string())),
            ("to", self.to.map(|network| network.to_string())),
            ("port", self.port.map(|port| port.to_string())),
            ("protocol", self.protocol.clone()),
            ("state", self.state.map(|state| state.name().to_owned())),
            ("zone", self.zone.clone()),
            ("rule", self.rule.clone()),
        ];
        let pairs = pairs.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", encoded(&value?))));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// Reads an address or a prefix; bits behind the prefix are let go.
pub fn network(text: &str) -> Option<IpNet> {
    let address = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    address.or_else(|_| text.parse::<IpNet>()).ok().map(|network| network.trunc())
}

/// Percent-encoding (RFC 3986 section 2.1) of all but unreserved characters.
pub(crate) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The reverse; `None` where it is not that of UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(if byte == b'%' { digit()? << 4 | digit()? } else { byte });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> FlowRow {
        FlowRow {
            protocol: "tcp".to_owned(),
            from: "192.0.2.7:49170".parse().expect("an address"),
            to: "[2001:db8::10]:2000".parse().expect("an address"),
            state: FlowState::Established,
            zone: "outside".to_owned(),
            rule: Some("sccp & more".to_owned()),
            inspect: Some("sccp".to_owned()),
            peer: false,
            packets: [1, 1],
            bytes: [60, 60],
            age_s: 1,
            idle_s: 1,
        }
    }

    fn filter(query: &str) -> Result<FlowFilter, BadFilter> {
        let mut filter = FlowFilter::default();
        query.split('&').filter(|pair| !pair.is_empty()).try_for_each(|pair| filter.take(pair))?;
        Ok(filter)
    }

    #[test]
    fn a_flow_is_wanted_by_all_that_is_said() {
        for query in [
            "",
            "from=192.0.2.0%2F24",
            "from=192.0.2.7",
            "to=2001:db8::/32",
            "port=2000",
            "port=49170",
            "protocol=tcp",
            "protocol=sccp",
            "state=established",
            "zone=outside",
            "rule=sccp%20%26%20more",
            "from=192.0.2.9/24&port=2000&state=established",
        ] {
            assert!(filter(query).expect("a filter").wants(&flow()), "{query}");
        }
        for query in [
            "from=192.0.2.8",
            "from=2001:db8::10",
            "to=192.0.2.7",
            "port=20",
            "protocol=udp",
            "protocol=sip",
            "state=half-open",
            "zone=inside",
            "rule=sccp",
            "port=2000&zone=inside",
        ] {
            assert!(!filter(query).expect("a filter").wants(&flow()), "{query}");
        }
        let by_default = FlowRow { rule: None, inspect: None, ..flow() };
        assert!(!filter("rule=sccp").expect("a filter").wants(&by_default));
    }

    #[test]
    fn a_query_says_what_the_filter_says() {
        let text = "from=192.0.2.0%2F24&to=2001%3Adb8%3A%3A10%2F128&port=2000&protocol=sccp&state=closing\
                    &zone=outside&rule=caf%C3%A9%20%26%20100%25";
        let read = filter(text).expect("a filter");
        assert_eq!(read.rule.as_deref(), Some("café & 100%"));
        assert_eq!(read.to_query(), text);
        assert_eq!(
            (FlowFilter::default().to_query(), FlowFilter::default().is_empty()),
            (String::new(), true)
        );
    }

    #[test]
    fn what_is_no_filter_is_told() {
        for wrong in
            ["from=", "from=here", "port=70000", "port", "state=open", "rule=%4", "rule=%ff", "colour=red"]
        {
            let error = filter(wrong).expect_err(wrong);
            assert_eq!(error.pair, wrong);
        }
    }
}
