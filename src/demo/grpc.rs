//! gRPC: a greeter, and somebody who greets.

use bytes::{Bytes, BytesMut};
use std::{net::SocketAddr, time::Duration};
use tokio::net::{TcpListener, TcpStream};

/// A message of gRPC: a flag, a length, the bytes.
fn message(bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + bytes.len());
    out.extend_from_slice(&[0]);
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
    out.freeze()
}

fn reply() -> http::Response<()> {
    let mut reply = http::Response::new(());
    reply.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    reply
}

/// Serves `SayHello` well and `SayGoodbye`, sometimes, with an error that comes in the trailers.
pub async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            let mut number = 0u32;
            while let Some(Ok((request, respond))) = connection.accept().await {
                number += 1;
                tokio::task::spawn_local(greet(request, respond, number));
            }
        });
    }
}

async fn greet(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    number: u32,
) {
    let goodbye = request.uri().path().ends_with("SayGoodbye");
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
    }
    let Ok(mut out) = respond.send_response(reply(), false) else { return };
    let mut trailers = http::HeaderMap::new();
    if goodbye && number.is_multiple_of(3) {
        trailers.insert("grpc-status", http::HeaderValue::from_static("5"));
        trailers.insert("grpc-message", http::HeaderValue::from_static("never met them"));
    } else {
        if out.send_data(message(b"hello"), false).is_err() {
            return;
        }
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    }
    let _ = out.send_trailers(trailers);
}

/// A hundred calls a second.
pub async fn load(weir: SocketAddr) {
    loop {
        let Ok(stream) = TcpStream::connect(weir).await else { return };
        let Ok((mut client, connection)) = h2::client::handshake(stream).await else { return };
        let driver = tokio::task::spawn_local(connection);
        let mut number = 0u32;
        loop {
            number = number.wrapping_add(1);
            let method = if number.is_multiple_of(4) { "SayGoodbye" } else { "SayHello" };
            if call(&mut client, method).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        driver.abort();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn call(client: &mut h2::client::SendRequest<Bytes>, method: &str) -> Result<(), h2::Error> {
    let request = http::Request::post(format!("http://greeter.example/demo.Greeter/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(());
    let Ok(request) = request else { return Ok(()) };
    std::future::poll_fn(|cx| client.poll_ready(cx)).await?;
    let (reply, mut out) = client.send_request(request, false)?;
    out.send_data(message(b"Ada"), true)?;
    let mut body = reply.await?.into_body();
    while let Some(data) = body.data().await {
        let _ = body.flow_control().release_capacity(data?.len());
    }
    body.trailers().await.map(drop)
}
