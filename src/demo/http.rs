//! HTTP: a shop's web server, and its visitors.

use super::wire::Wire;
use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};
use tokio::net::{TcpListener, TcpStream};

/// Serves; one that is `failing` answers 503 to every order, which Weir's retries and its ejection hide.
pub async fn serve(listener: TcpListener, failing: bool) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(async move {
            let mut wire = Wire::new(stream);
            while let Ok(Some(request)) = wire.receive().await {
                let (line, body) = match request.word() {
                    target if target.starts_with("/orders") && failing => {
                        ("HTTP/1.1 503 Service Unavailable", "try again")
                    }
                    target if target.ends_with("13") => ("HTTP/1.1 404 Not Found", "no such order"),
                    _ => ("HTTP/1.1 200 OK", "{\"order\": \"three espressos\"}"),
                };
                if wire.send(line, "content-type: application/json\r\n", body.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Some hundred requests a second.
pub async fn load(weir: SocketAddr) {
    let number = Rc::new(Cell::new(0u64));
    for _ in 0..4 {
        let number = number.clone();
        tokio::task::spawn_local(async move {
            loop {
                let Ok(stream) = TcpStream::connect(weir).await else { return };
                let mut wire = Wire::new(stream);
                loop {
                    let n = number.get();
                    number.set(n + 1);
                    let line = match n % 5 {
                        0 => "GET / HTTP/1.1".to_owned(),
                        1 => "GET /health HTTP/1.1".to_owned(),
                        2 => "POST /orders HTTP/1.1".to_owned(),
                        _ => format!("GET /orders/{} HTTP/1.1", n % 40),
                    };
                    let body: &[u8] = if n % 5 == 2 { b"{\"coffee\": 3}" } else { b"" };
                    let sent = wire.send(&line, "host: shop.example\r\n", body).await;
                    if sent.is_err() || !matches!(wire.receive().await, Ok(Some(_))) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(9)).await;
                }
            }
        });
    }
}
