//! Which of the addresses of a `dns` cluster's name become endpoints: a family (IPv4, IPv6) none of whose addresses can be connected
//! to, while the other's can, is left out.

use crate::ground::time;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use weir_config::DnsFamily;
use weir_decide::exchange::Now;

/// A family that was looked at is looked at again after so long.
const AGAIN: Duration = Duration::from_secs(30);
/// How long an address has to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most addresses of a family that are tried, all at once.
const TRIED: usize = 8;

/// What was found out about the families of a name, and until when that holds.
#[derive(Debug, Default)]
pub(super) struct Families {
    /// Of IPv4, IPv6.
    dead: [bool; 2],
    /// Whether there was anything to look at.
    known: Option<Now>,
}

impl Families {
    /// The addresses that are to be endpoints.
    pub(super) async fn choose(&mut self, family: DnsFamily, found: Vec<SocketAddr>) -> Vec<SocketAddr> {
        match family {
            DnsFamily::All => found,
            DnsFamily::V4 => only(found, true),
            DnsFamily::V6 => only(found, false),
            DnsFamily::Auto => {
                let (v4, v6) = (of(&found, true), of(&found, false));
                if v4.is_empty() || v6.is_empty() {
                    self.known = None;
                    return found;
                }
                if self.known.is_none_or(|at| time::now() >= at.after(AGAIN)) {
                    let (v4, v6) = tokio::join!(any_answers(&v4), any_answers(&v6));
                    (self.dead, self.known) = ([!v4, !v6], Some(time::now()));
                }
                match self.dead {
                    [true, false] => only(found, false),
                    [false, true] => only(found, true),
                    // Where neither answers, nothing is known against either.
                    _ => found,
                }
            }
        }
    }
}

/// The addresses of a name that is one endpoint: connecting tries one after another anyhow.
pub(super) fn of_endpoint(family: DnsFamily, found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    match family {
        DnsFamily::Auto | DnsFamily::All => found,
        DnsFamily::V4 => only(found, true),
        DnsFamily::V6 => only(found, false),
    }
}

fn of(found: &[SocketAddr], v4: bool) -> Vec<SocketAddr> {
    found.iter().copied().filter(|address| address.is_ipv4() == v4).collect()
}

/// Those of one family, which are none where the name has none.
fn only(found: Vec<SocketAddr>, v4: bool) -> Vec<SocketAddr> {
    of(&found, v4)
}

/// Whether one of them can be connected to. Nothing is said on the connection.
async fn any_answers(addresses: &[SocketAddr]) -> bool {
    let mut tried = tokio::task::JoinSet::new();
    for address in addresses.iter().copied().take(TRIED) {
        tried.spawn(async move {
            matches!(tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await, Ok(Ok(_)))
        });
    }
    while let Some(answered) = tried.join_next().await {
        if answered.unwrap_or(false) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_family_that_cannot_be_reached_is_left_out_while_the_other_can() {
        let well = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let four = well.local_addr().unwrap();
        // Reserved for documentation (RFC 3849): nobody answers.
        let six: SocketAddr = format!("[2001:db8::1]:{}", four.port()).parse().unwrap();
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let both = vec![six, four];
        let choose =
            async |family, found: &[SocketAddr]| Families::default().choose(family, found.to_vec()).await;
        assert_eq!(choose(DnsFamily::Auto, &both).await, [four]);
        assert_eq!(choose(DnsFamily::All, &both).await, both);
        assert_eq!(choose(DnsFamily::V4, &both).await, [four]);
        assert_eq!(choose(DnsFamily::V6, &both).await, [six]);
        assert_eq!(choose(DnsFamily::Auto, &[six, dead]).await, [six, dead], "neither answers");
        assert_eq!(choose(DnsFamily::Auto, &[dead]).await, [dead], "there is nothing to choose");
    }
}
