//! Any bytes as a DynamoDB request and reply: cut anywhere, the scanners find the same; what they call JSON is JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_codecs::dynamodb::{ApiOperation, Coding, Inflater, ReplyScanner, RequestScanner, Target};

fn request(scanner: &mut RequestScanner, target: Target, parts: &[&[u8]]) -> String {
    scanner.begin(target);
    parts.iter().for_each(|part| scanner.feed(part));
    let end = format!("{:?}", scanner.finish());
    end + &format!("{:?}", scanner.request())
}

fn reply(scanner: &mut ReplyScanner, parts: &[&[u8]]) -> String {
    scanner.begin();
    parts.iter().for_each(|part| scanner.feed(part));
    let end = format!("{:?}", scanner.finish());
    end + &format!("{:?}", scanner.reply())
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, body)) = data.split_first() else { return };
    let operation = ApiOperation::ALL[usize::from(first) % ApiOperation::ALL.len()];
    let target = Target { service: operation.service(), operation: Some(operation) };
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    let chunks: Vec<&[u8]> = body.chunks(usize::from(first).max(1)).collect();

    let mut requests = RequestScanner::new();
    let whole = request(&mut requests, target, &[body]);
    assert_eq!(request(&mut requests, target, &bytes), whole);
    assert_eq!(request(&mut requests, target, &chunks), whole);
    let accepted = matches!(requests.finish(), Ok(Some(_)));
    let oracle = serde_json::from_slice::<serde_json::Value>(body);
    match &oracle {
        Ok(_) => assert!(accepted),
        // Numbers that are too large for an f64, and nesting between 128 and our own limit.
        Err(error) if error.to_string().contains("out of range") => {}
        Err(error) if error.to_string().contains("recursion limit") => {}
        // A surrogate that is alone is in the grammar.
        Err(error) if error.to_string().contains("hex escape") => {}
        Err(_) => assert!(!accepted),
    }

    let mut replies = ReplyScanner::new();
    let whole = reply(&mut replies, &[body]);
    assert_eq!(reply(&mut replies, &bytes), whole);
    assert_eq!(reply(&mut replies, &chunks), whole);

    let mut inflater = Inflater::new();
    let coding = [Coding::Gzip, Coding::Deflate, Coding::Identity][usize::from(first) % 3];
    let mut outcomes = [&[body][..], &bytes].map(|parts| {
        inflater.begin(coding);
        let mut length = 0u64;
        let fed = parts.iter().try_for_each(|part| inflater.feed(part, |plain| length += plain.len() as u64));
        (fed.and_then(|()| inflater.finish()).is_ok(), length)
    });
    if !outcomes[0].0 {
        // How much comes out before broken input is noticed depends on the cuts.
        outcomes.iter_mut().for_each(|outcome| outcome.1 = 0);
    }
    assert_eq!(outcomes[0], outcomes[1]);
});
