//! Messages that begin and do not come on.

use super::*;

const SLOW: &[&str] = &["limit=\"slow_message\""];

#[tokio::test]
async fn the_half_of_a_message_is_not_waited_for_for_ever() {
    let upstream = Upstream::new().await;
    let house = toy_timed(upstream.address(), "200ms").await;
    // A part of a length; the half of a request that goes on as it comes; the half of one that is held.
    let whole = [frame(2, b"get something"), frame(2, b"ask something!")];
    for (n, half) in [&whole[0][..2], &whole[0][..15], &whole[1][..15]].into_iter().enumerate() {
        let (mut client, mut server) = joined(&house, &upstream).await;
        soon(client.write_all(half)).await.unwrap();
        rest(&mut client).await;
        rest(&mut server).await;
        house.becomes("weir_message_limits_total", SLOW, (n + 1) as f64).await;
    }
    // Between messages nobody is in a hurry.
    let (mut client, mut server) = joined(&house, &upstream).await;
    let another = house.connect("toys").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    say(&mut client, 3, b"get on").await;
    hear(&mut server).await;
    drop(another);
    assert_eq!(house.number("weir_message_limits_total", SLOW), 3.0);
}

#[tokio::test]
async fn what_waits_for_the_server_is_not_late() {
    let upstream = Upstream::new().await;
    let house = toy_timed(upstream.address(), "200ms").await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    // More than fits into what is between: it stands because nobody reads it.
    let whole = frame(2, &[b"get ".as_slice(), &vec![b'x'; 16 << 20]].concat());
    let length = whole.len();
    let sending = tokio::spawn(async move {
        client.write_all(&whole).await.unwrap();
        client
    });
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut heard = vec![0; length];
    soon(server.read_exact(&mut heard)).await.unwrap();
    let mut client = sending.await.unwrap();
    say(&mut server, 2, b"here").await;
    assert_eq!(hear(&mut client).await, (2, "here".into()));
    assert_eq!(house.number("weir_message_limits_total", SLOW), 0.0);
}
