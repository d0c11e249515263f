//! Where a web address leads, as far as a probe must know.

/// Where a web address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpTarget {
    /// The port, also when the address names none.
    pub port: u16,
    /// Whether it is on the machine that asks.
    pub is_local: bool,
}

/// Reads an `http://` or `https://` address; `None` when it is none.
#[must_use]
pub fn http_target(url: &str) -> Option<HttpTarget> {
    let (rest, default) = match url.split_once("://")? {
        ("http", rest) => (rest, 80),
        ("https", rest) => (rest, 443),
        _ => return None,
    };
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let place = authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place);
    let (host, port) = match place.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']')?;
            (
                host,
                after.strip_prefix(':').or(after.is_empty().then_some(""))?,
            )
        }
        None => place.split_once(':').unwrap_or((place, "")),
    };
    let port = match port {
        "" => default,
        digits => digits.parse().ok().filter(|port| *port > 0)?,
    };
    if host.is_empty() {
        return None;
    }
    let is_local = match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    };
    Some(HttpTarget { port, is_local })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_where_they_say() {
        let target = |url: &str| http_target(url).map(|target| (target.port, target.is_local));
        for (url, expected) in [
            ("http://localhost:8000/health", Some((8000, true))),
            ("http://127.0.0.1", Some((80, true))),
            ("https://[::1]:8443/", Some((8443, true))),
            ("https://[::1]", Some((443, true))),
            ("http://server:8000?x=1", Some((8000, false))),
            ("http://me@example.com/", Some((80, false))),
            ("localhost:8000", None),
            ("ftp://localhost", None),
            ("http://:80/", None),
            ("http://localhost:0/", None),
            ("http://localhost:x/", None),
            ("http://a b/", None),
            ("http://[::1", None),
        ] {
            assert_eq!(target(url), expected, "{url}");
        }
    }
}
