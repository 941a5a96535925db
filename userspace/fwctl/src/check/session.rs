//! The SSH session fwctl is run from, and where it comes in.

use std::net::{IpAddr, SocketAddr};

use callgate_rules::RuleSet;
use callgate_rules::lint::Session;
use callgate_shared::policy::ZONE_NONE;
use nix::ifaddrs::getifaddrs;

/// The session fwctl is run from and the zones it may come in from; `None` where there is none, or where it goes to
/// another machine.
pub(super) fn here(rules: &RuleSet) -> Option<(Session, Vec<u8>)> {
    let connection = read(&std::env::var("SSH_CONNECTION").ok()?)?;
    let interfaces = interfaces_of(connection.server.ip());
    let (zone, vlan) =
        interfaces.iter().map(|name| zone_of(rules, name)).find(|(zone, _)| *zone != ZONE_NONE)?;
    Some((Session { vlan, ..connection }, vec![zone]))
}

/// Reads `client-address client-port server-address server-port` (ssh(1), "ENVIRONMENT").
fn read(connection: &str) -> Option<Session> {
    let words: Vec<&str> = connection.split_ascii_whitespace().collect();
    let [client, client_port, server, server_port] = words[..] else { return None };
    let end = |address: &str, port: &str| {
        // A link-local address has the name of its interface behind it.
        let address = address.split('%').next()?.parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(address.to_canonical(), port.parse().ok()?))
    };
    Some(Session { client: end(client, client_port)?, server: end(server, server_port)?, vlan: 0 })
}

/// The interfaces of this machine that have an address.
fn interfaces_of(address: IpAddr) -> Vec<String> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let has = |storage: &nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        let v6 = storage.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip()));
        v4.or(v6) == Some(address)
    };
    interfaces
        .filter(|entry| entry.address.as_ref().is_some_and(has))
        .map(|entry| entry.interface_name)
        .collect()
}

/// The zone what comes by an interface is judged in, and the VLAN it is tagged with there: packets of `eth0.100` are
/// judged where Callgate stands on `eth0`.
fn zone_of(rules: &RuleSet, interface: &str) -> (u8, u16) {
    let own = rules.zone_of(interface);
    let tagged =
        interface.rsplit_once('.').and_then(|(parent, id)| Some((rules.zone_of(parent), id.parse().ok()?)));
    match tagged {
        Some(tagged) if own == ZONE_NONE => tagged,
        _ => (own, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_sshd_says() {
        let session = read("192.0.2.7 51000 10.1.1.1 22").expect("a session");
        assert_eq!(
            (session.client.to_string(), session.server.to_string()),
            ("192.0.2.7:51000".into(), "10.1.1.1:22".into())
        );
        let session = read("fe80::1%eth0 51000 fe80::2%eth0 22").expect("a session");
        assert_eq!(session.server.to_string(), "[fe80::2]:22");
        for none in ["", "192.0.2.7 51000 10.1.1.1", "a b c d", "192.0.2.7 99999 10.1.1.1 22"] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn an_interface_on_a_vlan_is_judged_below() {
        let text = "version = 1\n[zones]\na = [\"eth0\"]\nb = [\"eth1.5\", \"br.x\"]\n";
        let rules = RuleSet::parse("f.toml", text).expect("a rules file");
        assert_eq!(zone_of(&rules, "eth0"), (2, 0));
        assert_eq!(zone_of(&rules, "eth0.100"), (2, 100));
        assert_eq!(zone_of(&rules, "eth1.5"), (3, 0), "Callgate stands on it itself");
        assert_eq!(zone_of(&rules, "br.x"), (3, 0));
        assert_eq!(zone_of(&rules, "eth2.7").0, ZONE_NONE);
    }

    #[test]
    fn addresses_of_this_machine_are_found() {
        assert_eq!(interfaces_of("127.0.0.1".parse().expect("an address")), ["lo"]);
        assert!(interfaces_of("192.0.2.250".parse().expect("an address")).is_empty());
    }
}
