//! DynamoDB: two tables, and an application that reads and writes them.

use super::wire::{Message, Wire};
use std::{net::SocketAddr, time::Duration};
use tokio::net::{TcpListener, TcpStream};

const ERROR: &str = "HTTP/1.1 400 Bad Request";

/// Serves; it refuses some writes by their condition and some reads for want of throughput.
pub async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(async move {
            let mut wire = Wire::new(stream);
            let mut number = 0u32;
            while let Ok(Some(request)) = wire.receive().await {
                number += 1;
                let (line, body) = answer(&request, number);
                let fields = "content-type: application/x-amz-json-1.0\r\nx-amzn-requestid: DEMO\r\n";
                if wire.send(line, fields, body.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn answer(request: &Message, number: u32) -> (&'static str, String) {
    let error = |name: &str, text: &str| {
        (ERROR, format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{name}","message":"{text}"}}"#))
    };
    match request.field("x-amz-target").rsplit('.').next().unwrap_or("") {
        "PutItem" if number.is_multiple_of(7) => {
            error("ConditionalCheckFailedException", "The conditional request failed")
        }
        "GetItem" if number.is_multiple_of(11) => error(
            "ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput was exceeded",
        ),
        "GetItem" => ("HTTP/1.1 200 OK", r#"{"Item":{"id":{"S":"o1"},"total":{"N":"42"}}}"#.to_owned()),
        "PutItem" => ("HTTP/1.1 200 OK", "{}".to_owned()),
        "Query" => {
            ("HTTP/1.1 200 OK", r#"{"Count":1,"Items":[{"id":{"S":"o1"}}],"ScannedCount":1}"#.to_owned())
        }
        _ => error("UnknownOperationException", "not in this demo"),
    }
}

/// A hundred calls a second.
pub async fn load(weir: SocketAddr) {
    let calls = [
        ("GetItem", r#"{"TableName":"orders","Key":{"id":{"S":"o1"}}}"#),
        ("PutItem", r#"{"TableName":"orders","Item":{"id":{"S":"o1"},"total":{"N":"42"}}}"#),
        ("GetItem", r#"{"TableName":"customers","Key":{"id":{"S":"c1"}}}"#),
        (
            "Query",
            r#"{"TableName":"orders","KeyConditionExpression":"id = :i","ExpressionAttributeValues":{":i":{"S":"o1"}}}"#,
        ),
    ];
    loop {
        let Ok(stream) = TcpStream::connect(weir).await else { return };
        let mut wire = Wire::new(stream);
        for (operation, body) in calls.iter().cycle() {
            let fields = format!(
                "host: dynamodb.eu-west-1.amazonaws.com\r\ncontent-type: application/x-amz-json-1.0\r\n\
                 x-amz-target: DynamoDB_20120810.{operation}\r\n"
            );
            let sent = wire.send("POST / HTTP/1.1", &fields, body.as_bytes()).await;
            if sent.is_err() || !matches!(wire.receive().await, Ok(Some(_))) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
