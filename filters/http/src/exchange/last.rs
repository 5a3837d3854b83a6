//! What RFC 9110 asks of whoever stands between: Max-Forwards (section 7.6.2), and a Date (section 6.6.1).

use super::Exchange;
use super::answer::http_date;
use super::switch::allowed;
use crate::dialect::LocalReply;
use crate::fields::Fields;
use crate::seam::Downstream;
use crate::site::{Route, Site};
use std::borrow::Cow;
use weir_codecs::http1::Method;
use weir_drive::time;

const MAX_FORWARDS: &[u8] = b"max-forwards";

/// What a TRACE must not show to whoever reads the reply (section 9.3.8).
const SECRET: [&[u8]; 3] = [b"authorization", b"proxy-authorization", b"cookie"];

impl<D: Downstream> Exchange<'_, D> {
    /// Whether the request may be forwarded no further. One hop is taken off what it may.
    pub(super) fn ends_here(&mut self) -> bool {
        if !matches!(self.request.method, Method::Options | Method::Trace) {
            return false;
        }
        let fields = &mut self.request.fields;
        let digits = fields.value(MAX_FORWARDS).and_then(|value| std::str::from_utf8(value).ok());
        let Some(left) = digits
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse::<u64>().ok())
        else {
            return false;
        };
        let Some(left) = left.checked_sub(1) else { return true };
        fields.set(MAX_FORWARDS, left.to_string().as_bytes());
        false
    }

    /// Answer as the last one of the way.
    pub(super) async fn answer_here(&mut self, site: &Site, route: &Route) {
        let mut reply = LocalReply { status: 200, fields: Fields::new(), body: Cow::Borrowed(b"") };
        if self.request.method == Method::Trace {
            reply.fields.push(b"content-type", b"message/http");
            reply.body = Cow::Owned(self.as_it_came());
        } else {
            reply.fields.push(b"allow", allowed(Some(route)).as_bytes());
        }
        self.local(site, route, reply).await;
    }

    fn as_it_came(&self) -> Vec<u8> {
        let request = &*self.request;
        let mut text = [&request.method_text, &b" "[..], &request.target, b" HTTP/1.1\r\n"].concat();
        for (name, value) in request
            .fields
            .iter()
            .filter(|(name, _)| !SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret)))
        {
            text.extend_from_slice(name);
            text.extend_from_slice(b": ");
            text.extend_from_slice(value);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        text
    }

    /// A reply that says when it was made says it; of any other the time of now is told.
    pub(super) fn date(&mut self) {
        if self.reply.status >= 200 && self.reply.fields.value(b"date").is_none() {
            self.reply.fields.push(b"date", &http_date(time::wall()));
        }
    }
}
