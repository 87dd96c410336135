//! Which addresses a download may connect to, checked where they are used: on what a name resolves
//! to at the moment of connecting, so that a name cannot change its meaning after a check.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Who an address can be reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everybody.
    Public,
    /// This machine, or its private network.
    Private,
    /// The cloud's own services, nobody, or many at once. No place for archives.
    Special,
}

/// What may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permit {
    pub(super) private: bool,
    pub(super) special: bool,
}

impl Permit {
    fn covers(self, reach: Reach) -> bool {
        match reach {
            Reach::Public => true,
            Reach::Private => self.private,
            Reach::Special => self.special,
        }
    }

    /// Checks an address that is written in the URL itself, which no resolver sees.
    pub(super) fn check(self, address: IpAddr) -> Result<(), Refused> {
        let reach = reach(address);
        if self.covers(reach) {
            Ok(())
        } else {
            Err(Refused { address, reach })
        }
    }
}

/// An address that must not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    address: IpAddr,
    reach: Reach,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.reach {
            Reach::Public => "a public address",
            Reach::Private => "an address of this machine or a private network",
            Reach::Special => "a link-local or other special address",
        };
        write!(formatter, "it leads to {}, {kind}", self.address)
    }
}

impl std::error::Error for Refused {}

/// Classifies an address; IPv4 addresses that are wrapped in IPv6 ones count as what they are.
pub(super) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => reach_v4(inner),
            None => reach_v6(address),
        },
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    /// Services of Azure and Alibaba that hand out secrets at addresses that look like others.
    const PROVIDERS: [Ipv4Addr; 2] = [
        Ipv4Addr::new(168, 63, 129, 16),
        Ipv4Addr::new(100, 100, 100, 200),
    ];
    if PROVIDERS.contains(&address) {
        return Reach::Special;
    }
    match address.octets() {
        [0 | 224..=255, ..] | [169, 254, ..] | [192, 0, 0, _] => Reach::Special,
        [100, 64..=127, ..] | [198, 18..=19, ..] => Reach::Private,
        _ if address.is_loopback() || address.is_private() => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    /// Metadata services of Amazon and Google.
    const PROVIDERS: [Ipv6Addr; 2] = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    ];
    let first = address.segments()[0];
    if PROVIDERS.contains(&address)
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unicast_link_local()
    {
        Reach::Special
    } else if address.is_loopback() || address.is_unique_local() || first & 0xffc0 == 0xfec0 {
        Reach::Private
    } else {
        Reach::Public
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, NAT64 and 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        _ => None,
    }
}

/// Resolves the name of one URL, and hands over only addresses that may be connected to. Names
/// of proxies are resolved as they are: their operator decides what they may reach.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    host: Arc<str>,
    permit: Permit,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    refused: OnceLock<Refused>,
    is_private: AtomicBool,
}

impl Guard {
    pub(super) fn new(host: &str, permit: Permit) -> Self {
        Self {
            host: host.into(),
            permit,
            seen: Arc::default(),
        }
    }

    /// Why nothing was connected to, when it was for the address.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.seen.refused.get().copied()
    }

    /// Whether the name led to an address that is not public.
    pub(super) fn met_private(&self) -> bool {
        self.seen.is_private.load(Ordering::Relaxed)
    }

    fn admit(&self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        let mut admitted = Vec::with_capacity(found.len());
        let mut refused = None;
        for address in found {
            match self.permit.check(address.ip()) {
                Ok(()) => admitted.push(address),
                Err(reason) => refused = Some(reason),
            }
        }
        if admitted.iter().any(|it| reach(it.ip()) != Reach::Public) {
            self.seen.is_private.store(true, Ordering::Relaxed);
        }
        match refused {
            Some(reason) if admitted.is_empty() => {
                let _ = self.seen.refused.set(reason);
                Err(reason)
            }
            _ => Ok(admitted),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if !name.as_str().eq_ignore_ascii_case(&guard.host) {
                return Ok(Box::new(found.into_iter()) as Addrs);
            }
            let admitted = guard.admit(found).map_err(io::Error::other)?;
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_can_be_reached_by() {
        let cases = [
            (
                Reach::Special,
                "169.254.169.254 0.0.0.0 0.1.2.3 224.0.0.1 255.255.255.255 240.0.0.1 192.0.0.192 \
                 100.100.100.200 168.63.129.16 fe80::1 ff02::1 :: fd00:ec2::254 fd20:ce::254 \
                 ::ffff:169.254.169.254 64:ff9b::169.254.169.254 2002:a9fe:a9fe::1 ::169.254.169.254",
            ),
            (
                Reach::Private,
                "127.0.0.1 127.9.9.9 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 \
                 198.18.0.1 ::1 fc00::1 fd12::1 fec0::1 ::ffff:127.0.0.1 64:ff9b::10.0.0.1",
            ),
            (
                Reach::Public,
                "8.8.8.8 172.32.0.1 100.128.0.1 192.0.1.1 168.63.129.17 2606:4700::1 \
                 ::ffff:8.8.8.8 2002:0808:0808::1",
            ),
        ];
        for (expected, addresses) in cases {
            for address in addresses.split_whitespace() {
                assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
            }
        }
    }

    #[test]
    fn a_name_with_good_and_bad_addresses_leads_to_the_good_ones() {
        let permit = Permit {
            private: false,
            special: false,
        };
        let guard = Guard::new("h", permit);
        let all: Vec<SocketAddr> = ["10.0.0.1:0", "8.8.8.8:0"]
            .map(|it| it.parse().unwrap())
            .into();
        assert_eq!(guard.admit(all).unwrap(), ["8.8.8.8:0".parse().unwrap()]);
        assert!(guard.refused().is_none() && !guard.met_private());

        let bad = vec!["10.0.0.1:0".parse().unwrap()];
        let refused = guard.admit(bad).unwrap_err();
        assert_eq!(guard.refused(), Some(refused));
        assert_eq!(
            refused.to_string(),
            "it leads to 10.0.0.1, an address of this machine or a private network"
        );
        let open = Guard::new(
            "h",
            Permit {
                private: true,
                special: false,
            },
        );
        assert_eq!(
            open.admit(vec!["10.0.0.1:0".parse().unwrap()])
                .unwrap()
                .len(),
            1
        );
        assert!(open.met_private());
    }
}
