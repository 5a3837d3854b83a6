//! A connection's bytes as the loops read them: who is woken, and when.

use bytes::BytesMut;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::coop;
use weir_drive::{Io, Watch};

async fn pair() -> (Io, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut io = Io::Tcp(listener.accept().await.unwrap().0.into());
    // Fresh sockets are taken for readable until they have been found not to be.
    let mut buffer = BytesMut::with_capacity(4);
    let read = poll_fn(|cx| Poll::Ready(io.poll_read_by(cx, &mut Watch::Unknown, &mut buffer))).await;
    assert!(read.is_pending());
    (io, peer)
}

/// Uses up what the runtime lets a task do at one go.
fn use_up(cx: &mut Context<'_>) {
    while let Poll::Ready(turn) = coop::poll_proceed(cx) {
        turn.made_progress();
    }
}

#[tokio::test]
async fn a_reader_that_was_put_off_is_woken_by_what_comes_later() {
    let (mut io, mut peer) = pair().await;
    let (mut watch, mut looks) = (Watch::Unknown, 0);
    let reader = tokio::spawn(async move {
        let mut buffer = BytesMut::with_capacity(100);
        poll_fn(|cx| {
            looks += 1;
            if looks == 1 {
                use_up(cx);
            }
            std::task::ready!(io.poll_readable_by(cx, &mut watch)).unwrap();
            io.poll_read_by(cx, &mut watch, &mut buffer)
        })
        .await
        .unwrap();
        (looks, buffer)
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    peer.write_all(b"hello").await.unwrap();
    let (looks, buffer) = tokio::time::timeout(Duration::from_secs(10), reader).await.unwrap().unwrap();
    assert_eq!((looks, &buffer[..]), (3, &b"hello"[..]), "put off, watching, woken");
}

#[tokio::test]
async fn looks_in_between_do_not_unwatch() {
    let (mut io, mut peer) = pair().await;
    let (mut watch, mut buffer) = (Watch::Unknown, BytesMut::with_capacity(4));
    for round in 0..3 {
        for _ in 0..3 {
            let looked = poll_fn(|cx| Poll::Ready(io.poll_readable_by(cx, &mut watch))).await;
            assert!(looked.is_pending() && watch == Watch::Watched, "{round}");
        }
        peer.write_all(b"more than fits").await.unwrap();
        let mut got = Vec::new();
        while got.len() < 14 {
            poll_fn(|cx| {
                std::task::ready!(io.poll_readable_by(cx, &mut watch)).unwrap();
                io.poll_read_by(cx, &mut watch, &mut buffer)
            })
            .await
            .unwrap();
            got.extend_from_slice(&buffer);
            buffer.clear();
        }
        assert_eq!(got, b"more than fits");
    }
    drop(peer);
    let ended = poll_fn(|cx| {
        std::task::ready!(io.poll_readable_by(cx, &mut watch)).unwrap();
        io.poll_read_by(cx, &mut watch, &mut buffer)
    });
    assert_eq!(ended.await.unwrap(), 0, "the end is told");
}
