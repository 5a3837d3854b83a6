//! Who is let in, and how many: source lists, tallies, the rate at which connections are accepted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_config::Cidr;
use weir_decide::exchange::Now;
use weir_decide::rules::{Bucket, Rate};
use weir_decide::sources::{Networks, Sources, Trusted};
use weir_decide::tally::Tally;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn networks(text: &str) -> Vec<Cidr> {
    text.split_whitespace().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn deny_wins_and_without_allow_everybody_is() {
    // (allow, deny, those who are let in, those who are not)
    let table = [
        ("", "", "10.0.0.1 ::1", ""),
        (
            "10.0.0.0/8",
            "",
            "10.0.0.0 10.255.255.255 ::ffff:10.1.2.3",
            "9.255.255.255 11.0.0.0 ::1 ::10.0.0.1",
        ),
        ("10.0.0.0/8", "10.1.0.0/16", "10.0.255.255 10.2.0.0", "10.1.0.0 10.1.255.255 ::ffff:10.1.2.3"),
        ("", "10.1.2.3", "10.1.2.2 10.1.2.4 ::1", "10.1.2.3 ::ffff:10.1.2.3"),
        ("0.0.0.0/0", "", "0.0.0.0 255.255.255.255 ::ffff:1.2.3.4", ":: ::1 2001:db8::1"),
        ("::/0", "", "::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "1.2.3.4 ::ffff:1.2.3.4"),
        (
            "2001:db8::/32 ::1",
            "2001:db8:1::/48",
            "::1 2001:db8:: 2001:db8:2::1",
            "::2 2001:db8:1::1 2001:db9::",
        ),
        // Nested, the same twice, side by side, in no order.
        (
            "10.2.0.0/16 10.0.0.0/8 10.2.0.0/16 10.2.3.4 12.0.0.0/8 11.0.0.0/8",
            "",
            "10.2.3.4 10.0.0.1 11.0.0.1 12.255.255.255",
            "13.0.0.0",
        ),
        ("10.0.0.0/8", "10.0.0.0/8", "", "10.0.0.1"),
    ];
    for (allow, deny, admitted, refused) in table {
        let sources = Sources::new(&networks(allow), &networks(deny));
        for (addresses, expected) in [(admitted, true), (refused, false)] {
            for address in addresses.split_whitespace() {
                assert_eq!(sources.admits(Some(ip(address))), expected, "{address}, {allow:?} but {deny:?}");
            }
        }
    }
    // One without an address is in no list.
    assert!(Sources::new(&[], &networks("0.0.0.0/0 ::/0")).admits(None));
    assert!(!Sources::new(&networks("0.0.0.0/0 ::/0"), &[]).admits(None));
}

#[test]
fn a_thousand_networks_are_searched_as_a_walk_would() {
    // A small generator: the same networks and addresses each time.
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u32
    };
    let list: Vec<Cidr> = (0..1000)
        .map(|_| {
            let prefix = 8 + random() % 25;
            let address = random() & u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            format!("{}/{prefix}", std::net::Ipv4Addr::from_bits(address)).parse().unwrap()
        })
        .collect();
    let compiled = Networks::new(&list);
    let mut found = 0;
    for _ in 0..20_000 {
        let address = std::net::Ipv4Addr::from_bits(random());
        let walked = list.iter().any(|network| {
            let IpAddr::V4(first) = network.address else { panic!("{network}") };
            let mask = u32::MAX.checked_shl(32 - u32::from(network.prefix)).unwrap_or(0);
            address.to_bits() & mask == first.to_bits()
        });
        assert_eq!(compiled.contains(address.into()), walked, "{address}");
        found += u32::from(walked);
    }
    assert!(found > 100, "{found} hits say little");
}

#[test]
fn a_tally_holds_only_what_is_there() {
    let tally = Arc::new(Tally::default());
    let first = tally.enter("a", Some(2)).unwrap();
    let second = tally.enter("a", Some(2)).unwrap();
    assert!(tally.enter("a", Some(2)).is_none());
    assert!(tally.enter("b", Some(0)).is_none());
    assert_eq!(tally.len(), 1);
    let unlimited = tally.enter("a", None).unwrap();
    drop(first);
    // A limit that came later counts those that were there.
    assert!(tally.enter("a", Some(2)).is_none());
    drop((second, unlimited));
    assert!(tally.is_empty());
    assert!(tally.enter("a", Some(1)).is_some());
}

#[test]
fn threads_together_are_never_more_than_the_limit() {
    let tally = Arc::new(Tally::default());
    let inside = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (tally, inside) = (Arc::clone(&tally), Arc::clone(&inside));
            std::thread::spawn(move || {
                use std::sync::atomic::Ordering::SeqCst;
                for n in 0..20_000 {
                    if let Some(place) = tally.enter(n % 3, Some(1)) {
                        assert!(inside.fetch_add(1, SeqCst) < 3);
                        inside.fetch_sub(1, SeqCst);
                        drop(place);
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(tally.is_empty());
}

#[test]
fn booked_turns_come_at_the_rate() {
    let bucket = Bucket::default();
    let rate = Rate::new(10, Duration::from_secs(1), 3);
    let ms = |ms: u64| Now(1 + ms * 1_000_000);
    // The burst at once, then one every 100 ms.
    let turns: Vec<Now> = (0..6).map(|_| bucket.book(rate, ms(0))).collect();
    assert_eq!(turns, [ms(0), ms(0), ms(0), ms(100), ms(200), ms(300)]);
    // All of those are due: the next is the one after.
    assert_eq!(bucket.book(rate, ms(300)), ms(400));
    bucket.give_back(rate);
    assert_eq!(bucket.book(rate, ms(300)), ms(400));
    // After a pause it is full again, and no fuller than that.
    let turns: Vec<Now> = (0..4).map(|_| bucket.book(rate, ms(60_000))).collect();
    assert_eq!(turns, [ms(60_000), ms(60_000), ms(60_000), ms(60_100)]);
    assert!(!bucket.take(rate, ms(60_050)), "what is booked is gone for those who do not wait");
}

#[test]
fn the_client_is_the_first_address_that_is_not_trusted() {
    let trusted = |networks_of: &str, hops| {
        Trusted::new(&weir_config::Trusted { networks: networks(networks_of), hops, unix: false })
    };
    let any = "0.0.0.0/0 ::/0";
    // (trusted, hops, peer, x-forwarded-for, client)
    let table: &[(&str, Option<u32>, &str, &str, &str)] = &[
        ("", None, "10.0.0.1", "6.6.6.6", "10.0.0.1"),
        ("10.0.0.0/8", None, "192.0.2.1", "6.6.6.6", "192.0.2.1"),
        ("10.0.0.0/8", None, "10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.0/8", None, "10.0.0.1", "6.6.6.6", "6.6.6.6"),
        ("10.0.0.0/8", None, "10.0.0.1", "6.6.6.6, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.0/8", None, "10.0.0.1", "6.6.6.6, 192.0.2.7, 10.0.0.2,10.0.0.3", "192.0.2.7"),
        // All are trusted: the first that there is.
        ("10.0.0.0/8", None, "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        // What is no address ends the way back.
        ("10.0.0.0/8", None, "10.0.0.1", "6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.0/8", None, "10.0.0.1", "6.6.6.6, unix:", "10.0.0.1"),
        // Ports, brackets, IPv4 written as IPv6.
        ("10.0.0.0/8", None, "10.0.0.1", "192.0.2.7:5000", "192.0.2.7"),
        ("10.0.0.0/8", None, "10.0.0.1", "[2001:db8::7]:5000, ::ffff:10.0.0.9", "2001:db8::7"),
        ("10.0.0.0/8", None, "::ffff:10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
        ("10.0.0.0/8", None, "10.0.0.1", "2001:db8::7", "2001:db8::7"),
        // As xff_num_trusted_hops, where everybody is trusted: the n-th from the right end, or the peer.
        (any, Some(0), "192.0.2.1", "1.1.1.1, 2.2.2.2, 3.3.3.3", "192.0.2.1"),
        (any, Some(1), "192.0.2.1", "1.1.1.1, 2.2.2.2, 3.3.3.3", "3.3.3.3"),
        (any, Some(2), "192.0.2.1", "1.1.1.1, 2.2.2.2, 3.3.3.3", "2.2.2.2"),
        (any, Some(3), "192.0.2.1", "1.1.1.1, 2.2.2.2, 3.3.3.3", "1.1.1.1"),
        (any, Some(4), "192.0.2.1", "1.1.1.1, 2.2.2.2, 3.3.3.3", "192.0.2.1"),
        (any, Some(2), "192.0.2.1", "1.1.1.1, what, 3.3.3.3", "192.0.2.1"),
        // Both: never past one that is not trusted.
        ("10.0.0.0/8", Some(2), "10.0.0.1", "1.1.1.1, 2.2.2.2", "2.2.2.2"),
        ("10.0.0.0/8", Some(1), "10.0.0.1", "1.1.1.1, 10.0.0.2", "10.0.0.2"),
    ];
    for (of, hops, peer, list, client) in table {
        let told = list.split(',').filter(|text| !text.is_empty()).rev().map(str::as_bytes);
        let found = trusted(of, *hops).client(Some(ip(peer).to_canonical()), told);
        assert_eq!(found, Some(ip(client)), "{of:?} {hops:?} {peer} {list:?}");
    }
    // A Unix socket's peers have no address.
    let unix =
        |unix| Trusted::new(&weir_config::Trusted { networks: networks("10.0.0.0/8"), hops: None, unix });
    assert_eq!(unix(true).client(None, [&b"10.0.0.1"[..], &b"6.6.6.6"[..]]), Some(ip("6.6.6.6")));
    assert_eq!(unix(false).client(None, [&b"6.6.6.6"[..]]), None);
}
