//! H.245: every kind of channel, holding and reopening, multicast.

use std::sync::Arc;

use callgate_rules::PrefixSet;

use super::wire::{self, Data};
use super::*;

/// Opens a channel of Alice's and has Bob grant it at `port`; what is open for it.
fn granted(lab: &mut Lab, number: u16, data: Data, port: u16) -> Vec<String> {
    separate(lab, true, wire::open(number, data, None, at("192.0.2.1:17001")));
    separate(lab, false, build::open_logical_channel_ack(number, data.session(), media(BOB, port)))
}

fn codecs(lab: &Lab) -> Vec<(Medium, String)> {
    let streams = lab.only_call().streams.values();
    streams.filter(|s| s.medium != Medium::Control).map(|s| (s.medium, s.codec.clone())).collect()
}

#[test]
fn every_kind_of_channel() {
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    assert_eq!(
        granted(&mut lab, 3, Data::Audio, 18_000),
        ["open rtp 198.51.100.7:18000 from 192.0.2.1", "open rtcp 198.51.100.7:18001 from 192.0.2.1"]
    );
    granted(&mut lab, 5, Data::Video, 18_010);
    granted(&mut lab, 7, Data::Presentation, 18_020);
    assert_eq!(granted(&mut lab, 9, Data::Fax, 18_030), ["open t38 198.51.100.7:18030 from 192.0.2.1"]);
    assert_eq!(
        separate(&mut lab, false, build::open_data_channel(11, at("198.51.100.7:1503"))),
        ["open t120 198.51.100.7:1503 from 192.0.2.1"]
    );
    let names: Vec<_> =
        codecs(&lab).into_iter().map(|(medium, codec)| format!("{medium:?} {codec}")).collect();
    assert_eq!(names[..2], ["Audio PCMU", "Video H261"]);
    assert!(names.contains(&"Video H261 H.239".to_owned()), "{names:?}");
    assert!(names.contains(&"Image T38".to_owned()), "{names:?}");
    // The second picture goes without the first one.
    let closed = separate(&mut lab, true, build::close_logical_channel(7));
    assert!(closed.contains(&"close 198.51.100.7:18020 channel-closed".to_owned()), "{closed:?}");
    assert!(lab.pinholes().contains(&"198.51.100.7:18010".to_owned()));
}

#[test]
fn rtcp_is_opened_on_any_port() {
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    separate(&mut lab, true, build::open_logical_channel(3, 1, at("192.0.2.1:20300")));
    let apart = Media { rtp: at("198.51.100.7:18000"), rtcp: at("198.51.100.7:19500") };
    separate(&mut lab, false, build::open_logical_channel_ack(3, 1, apart));
    assert_eq!(
        lab.pinholes(),
        ["192.0.2.1:20300", "198.51.100.7:18000", "198.51.100.7:19500", "198.51.100.7:41000"]
    );
}

#[test]
fn a_call_is_held_and_taken_up_again_elsewhere() {
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    slow_start(&mut lab, separate);
    separate(&mut lab, false, build::terminal_capability_set(true));
    // Held: Alice closes what she sends; Bob's address goes, hers stays.
    separate(&mut lab, true, build::close_logical_channel(3));
    assert_eq!(
        lab.pinholes(),
        ["192.0.2.1:17000", "192.0.2.1:17001", "198.51.100.7:18001", "198.51.100.7:41000"]
    );
    separate(&mut lab, false, build::terminal_capability_set(false));
    separate(&mut lab, true, build::open_logical_channel(5, 1, media(ALICE, 17_000).rtcp));
    separate(&mut lab, false, build::open_logical_channel_ack(5, 1, media(BOB, 18_400)));
    assert!(lab.pinholes().contains(&"198.51.100.7:18400".to_owned()));
    assert!(!lab.pinholes().contains(&"198.51.100.7:18000".to_owned()));
    let held = lab.only_call().streams.values().filter(|stream| stream.held).count();
    assert_eq!(held, 0);
}

#[test]
fn a_group_is_opened_where_the_rule_names_it_and_for_its_announcer_alone() {
    let group = at("239.1.2.3:20000");
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    assert_eq!(
        separate(&mut lab, true, wire::open(3, Data::Audio, Some(group), at("192.0.2.1:17001"))),
        ["refuse 239.1.2.3:20000 not-unicast", "refuse 239.1.2.3:20001 not-unicast"][..1]
    );
    let mut lab = Lab::new(ANY);
    with_control(&mut lab);
    let opened = separate(&mut lab, true, wire::open(3, Data::Audio, Some(group), at("192.0.2.1:17001")));
    assert!(opened.contains(&"open rtp 239.1.2.3:20000 from 192.0.2.1".to_owned()), "{opened:?}");
    assert!(opened.iter().all(|told| told.ends_with("from 192.0.2.1")), "{opened:?}");
    separate(&mut lab, true, build::close_logical_channel(3));
    assert_eq!(lab.pinholes(), ["198.51.100.7:41000"]);
}

#[test]
fn a_conference_is_conducted_to_a_group() {
    let mode = wire::communication_mode([239, 1, 2, 3].into(), 20_000);
    let mut lab = Lab::new(ANY);
    with_control(&mut lab);
    separate(&mut lab, false, mode.clone());
    let spec = lab.core.pinholes().find(|spec| spec.to == at("239.1.2.3:20000")).expect("a pinhole");
    let mut senders: Vec<_> = spec.senders.iter().map(|sender| sender.ip).collect();
    senders.sort();
    assert_eq!(senders, [at(ALICE).ip(), at(BOB).ip()]);
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    let refused = separate(&mut lab, false, mode);
    assert!(refused.iter().all(|told| told.ends_with("not-unicast")) && !refused.is_empty(), "{refused:?}");
    assert_eq!(lab.pinholes(), ["198.51.100.7:41000"]);
}

#[test]
fn media_of_a_group_that_the_rule_names_is_accepted_and_no_other() {
    let phones: PrefixSet = ["203.0.113.0/28".parse().expect("a prefix")].into_iter().collect();
    let mut lab = Lab::new(7);
    let mut policy = lab.policy.clone();
    policy.rules.insert(7, RulePolicy::from(Authority::Group(Arc::new(phones))));
    lab.core.set_policy(policy);
    with_control(&mut lab);
    separate(&mut lab, true, build::open_logical_channel(3, 1, media(ALICE, 17_000).rtcp));
    let of = |host: &str| Media { rtp: at(&format!("{host}:18000")), rtcp: at(&format!("{host}:18001")) };
    assert_eq!(
        separate(&mut lab, false, build::open_logical_channel_ack(3, 1, of("203.0.113.99"))),
        ["refuse 203.0.113.99:18000 not-the-announcers"]
    );
    let opened = separate(&mut lab, false, build::open_logical_channel_ack(3, 1, of("203.0.113.9")));
    assert!(opened.contains(&"open rtp 203.0.113.9:18000 from 192.0.2.1".to_owned()), "{opened:?}");
}
