//! Requests that AWS's SDKs have signed: their signatures are valid behind Weir wherever they are directly.

use crate::support::{
    parts::{json, python},
    process::Process,
    weir::Weir,
};
use std::process::Stdio;

crate::tests!("signed":
    signatures_stay_valid,
);

/// Thirty sets of signed fields, in the header and in the query, over HTTP/1 and HTTP/2, through a `dynamodb` listener and
/// through an `http` route that says `signed: true`, with everything switched on that Weir may add.
fn signatures_stay_valid() {
    let mut server = python("signed.py");
    server.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = Process::start("signed.py", &mut server);
    let direct: u16 = server.line().parse().expect("it prints its port");
    let adds = "adds: { x_forwarded_port: true, x_real_ip: true, forwarded: true }";
    let weir = Weir::start(&format!(
        "listeners:\n  tables: {{ bind: \"127.0.0.1:0\", via: true, dynamodb: {{ {adds}, cluster: up }} }}\n\
         \x20 trusting: {{ bind: \"127.0.0.1:0\", trusted: [\"127.0.0.0/8\"], dynamodb: {{ {adds}, cluster: up }} }}\n\
         \x20 web: {{ bind: \"127.0.0.1:0\", via: true, http: {{ {adds}, routes: [{{ path_prefix: /signed, signed: true, cluster: up }}] }} }}\n\
         clusters: {{ up: {{ endpoints: [\"127.0.0.1:{direct}\"], via: true }} }}\n"
    ));
    let mut ask = python("signed.py");
    ask.arg("ask").arg(direct.to_string());
    ask.arg(weir.port("tables").to_string()).arg(weir.port("trusting").to_string());
    ask.arg(format!("{}=/signed/a-b_c.d~e", weir.port("web")));
    let printed = json(&mut ask);
    assert_eq!(printed["wrong"], serde_json::json!([]), "{printed:#}");
    assert_eq!((&printed["sets"], &printed["asked"]), (&30.into(), &360.into()), "{printed:#}");
    let numbers = weir.numbers();
    assert_eq!(numbers.sum("weir_http_signed_total", &[("result", "untouched")]), 360);
    assert_eq!(numbers.sum("weir_http_signed_total", &[("result", "changed")]), 0);
}
