//! Which of an endpoint's addresses is connected to: RFC 8305 within one endpoint. The next one has its chance when the one before has
//! failed, or has not answered for a quarter of a second; who is first is used, and the others are closed before a byte was said.

use crate::ground::time;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Sleep, sleep_until};

/// How long an address has before the next one is tried beside it (section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// The order in which they are tried (section 4): who was reached last time, then the families in turn, each in the resolver's order,
/// beginning with that of the first.
pub(super) fn order(addresses: &[SocketAddr], before: Option<SocketAddr>) -> Vec<SocketAddr> {
    let before = before.filter(|before| addresses.contains(before));
    let Some(first) = before.or(addresses.first().copied()) else { return Vec::new() };
    let others = || addresses.iter().copied().filter(|address| Some(*address) != before);
    let mut same = others().filter(|address| address.is_ipv4() == first.is_ipv4());
    let mut other = others().filter(|address| address.is_ipv4() != first.is_ipv4());
    let mut order: Vec<SocketAddr> = before.into_iter().collect();
    let mut turn = before.is_none();
    while order.len() < addresses.len() {
        let next =
            if turn { same.next().or_else(|| other.next()) } else { other.next().or_else(|| same.next()) };
        let Some(next) = next else { break };
        order.push(next);
        turn = !turn;
    }
    order
}

/// Connects to the first of `addresses` that answers.
pub(super) async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<(SocketAddr, T)> {
    let mut waiting = addresses.iter().copied();
    let mut running: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has not been resolved");
    let mut head_start = pin!(sleep_until(time::deadline(time::now())));
    std::future::poll_fn(move |cx| {
        loop {
            let mut at = 0;
            let mut failed = false;
            while let Some((address, connecting)) = running.get_mut(at) {
                match connecting.as_mut().poll(cx) {
                    Poll::Ready(Ok(connected)) => return Poll::Ready(Ok((*address, connected))),
                    Poll::Ready(Err(error)) => {
                        (last, failed) = (error, true);
                        running.remove(at);
                    }
                    Poll::Pending => at += 1,
                }
            }
            let due = failed || running.is_empty() || is_over(head_start.as_mut(), cx);
            match waiting.next_if_due(due) {
                Some(address) => {
                    running.push((address, Box::pin(connect(address))));
                    head_start.as_mut().reset(time::deadline(time::now().after(HEAD_START)));
                }
                None if running.is_empty() => {
                    return Poll::Ready(Err(std::mem::replace(&mut last, io::ErrorKind::Other.into())));
                }
                None => return Poll::Pending,
            }
        }
    })
    .await
}

fn is_over(sleep: Pin<&mut Sleep>, cx: &mut std::task::Context<'_>) -> bool {
    sleep.poll(cx).is_ready()
}

/// The next one, if it has come to that.
trait NextIfDue: Iterator {
    fn next_if_due(&mut self, due: bool) -> Option<Self::Item> {
        if due { self.next() } else { None }
    }
}

impl<I: Iterator> NextIfDue for I {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns_and_who_was_reached_is_first() {
        let (a, b, c, d) = (at("[::1]:1"), at("[::2]:1"), at("[::3]:1"), at("10.0.0.1:1"));
        assert_eq!(order(&[a, b, c, d], None), [a, d, b, c]);
        assert_eq!(order(&[a, b, c, d], Some(d)), [d, a, b, c]);
        assert_eq!(order(&[a, b, c, d], Some(b)), [b, d, a, c]);
        assert_eq!(order(&[d], Some(a)), [d], "an address of old is none");
        assert_eq!(order(&[], None), []);
    }

    /// How each address answers: after so many milliseconds, and whether well; `None`: never.
    type Answers = [Option<(u64, bool)>; 3];

    async fn winner(answers: Answers) -> (Option<usize>, Vec<usize>) {
        let addresses = [at("10.0.0.1:1"), at("10.0.0.2:1"), at("10.0.0.3:1")];
        let tried = RefCell::new(Vec::new());
        let raced = race(&addresses, |address| {
            let index = addresses.iter().position(|one| *one == address).unwrap();
            tried.borrow_mut().push(index);
            let answer = answers[index];
            async move {
                match answer {
                    None => std::future::pending().await,
                    Some((after, well)) => {
                        tokio::time::sleep(Duration::from_millis(after)).await;
                        if well { Ok(index) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
                    }
                }
            }
        });
        let raced = raced.await;
        (raced.ok().map(|(_, index)| index), tried.into_inner())
    }

    #[tokio::test]
    async fn the_next_one_has_its_chance_when_the_one_before_fails_or_is_silent() {
        let table: [(Answers, Option<usize>, &[usize]); 4] = [
            ([Some((1, true)), None, None], Some(0), &[0]),
            ([None, Some((1, true)), None], Some(1), &[0, 1]),
            ([Some((1, false)), None, Some((1, true))], Some(2), &[0, 1, 2]),
            ([Some((1, false)), Some((1, false)), Some((1, false))], None, &[0, 1, 2]),
        ];
        for (answers, expected, begun) in table {
            let (won, tried) = winner(answers).await;
            assert_eq!((won, &*tried), (expected, begun), "{answers:?}");
        }
    }
}
