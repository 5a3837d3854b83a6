//! What the head of a call says: which protocol, which method, and on the way back whether to try again.

/// Which of the gRPC family a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `application/grpc`, with any `+codec` or parameters.
    Grpc,
    /// `application/grpc-web` or `application/grpc-web-text`: trailers travel in the body.
    GrpcWeb,
}

impl Protocol {
    /// Reads a `content-type`. `None`: not of the family (`application/grpcx` is not).
    pub fn of(content_type: &[u8]) -> Option<Protocol> {
        const GRPC: &[u8] = b"application/grpc";
        let (start, rest) = content_type.split_at_checked(GRPC.len())?;
        if !start.eq_ignore_ascii_case(GRPC) {
            return None;
        }
        let ends = |rest: &[u8]| matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'));
        if ends(rest) {
            return Some(Protocol::Grpc);
        }
        let (web, rest) = rest.split_at_checked(4)?;
        if !web.eq_ignore_ascii_case(b"-web") {
            return None;
        }
        let rest = match rest.split_at_checked(5) {
            Some((text, rest)) if text.eq_ignore_ascii_case(b"-text") => rest,
            _ => rest,
        };
        ends(rest).then_some(Protocol::GrpcWeb)
    }
}

/// What a call calls: `/package.Service/Method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method<'a> {
    /// The service with its package.
    pub service: &'a str,
    /// The method.
    pub method: &'a str,
}

impl<'a> Method<'a> {
    /// Splits a path (without a query) at its last slash; a service name may hold slashes of its own. `None` if either
    /// half is empty or holds anything but visible ASCII.
    pub fn parse(path: &'a [u8]) -> Option<Method<'a>> {
        if !path.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let path = std::str::from_utf8(path).ok()?.strip_prefix('/')?;
        let (service, method) = path.rsplit_once('/')?;
        if service.is_empty() || method.is_empty() {
            return None;
        }
        Some(Method { service, method })
    }
}

/// What `grpc-retry-pushback-ms` says (gRFC A6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pushback {
    /// Try again after this many milliseconds, and not before.
    After(u32),
    /// Do not try again: the value is negative, too large or not a number.
    Never,
}

impl Pushback {
    /// Reads the header.
    pub fn parse(value: &[u8]) -> Pushback {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number =
            std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse::<i32>().ok());
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(millis) => Pushback::After(millis),
            None => Pushback::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        let cases: &[(&str, Option<Protocol>)] = &[
            ("application/grpc", Some(Protocol::Grpc)),
            ("application/grpc+proto", Some(Protocol::Grpc)),
            ("application/grpc+json; charset=utf-8", Some(Protocol::Grpc)),
            ("application/grpc;x", Some(Protocol::Grpc)),
            ("Application/GRPC+Proto", Some(Protocol::Grpc)),
            ("application/grpc-web", Some(Protocol::GrpcWeb)),
            ("application/grpc-web+proto", Some(Protocol::GrpcWeb)),
            ("application/grpc-web-text", Some(Protocol::GrpcWeb)),
            ("application/grpc-web-text+proto", Some(Protocol::GrpcWeb)),
            ("application/grpc-webx", None),
            ("application/grpc-we", None),
            ("application/grpcx", None),
            ("application/grpc/x", None),
            ("application/grp", None),
            ("application/json", None),
            ("", None),
        ];
        for (value, expected) in cases {
            assert_eq!(Protocol::of(value.as_bytes()), *expected, "{value}");
        }
    }

    #[test]
    fn methods() {
        let cases: &[(&str, Option<(&str, &str)>)] = &[
            ("/shop.Cart/Add", Some(("shop.Cart", "Add"))),
            ("/a/b/Add", Some(("a/b", "Add"))),
            ("/Add", None),
            ("//Add", None),
            ("/shop.Cart/", None),
            ("shop.Cart/Add", None),
            ("/shop Cart/Add", None),
            ("/sh\u{f6}p/Add", None),
            ("/", None),
            ("", None),
            ("*", None),
        ];
        for (path, expected) in cases {
            let found = Method::parse(path.as_bytes()).map(|found| (found.service, found.method));
            assert_eq!(found, *expected, "{path}");
        }
    }

    #[test]
    fn pushbacks() {
        let cases = [
            ("0", Pushback::After(0)),
            ("250", Pushback::After(250)),
            ("2147483647", Pushback::After(2_147_483_647)),
            ("2147483648", Pushback::Never),
            ("-1", Pushback::Never),
            ("+1", Pushback::Never),
            ("1.5", Pushback::Never),
            ("", Pushback::Never),
            ("soon", Pushback::Never),
        ];
        for (value, expected) in cases {
            assert_eq!(Pushback::parse(value.as_bytes()), expected, "{value}");
        }
    }
}
