//! `Host` and `Origin`: against pages of others that reach this node through somebody's browser.
//!
//! A page whose name is made to point at this machine (DNS rebinding) sends its own name as `Host`; a page of another
//! site sends its `Origin`. Neither can lie about it. The local socket has no `Host` worth checking, since no browser
//! can open it; an `Origin` is checked there all the same.

use std::net::IpAddr;

use hyper::header::{HOST, ORIGIN};
use hyper::{HeaderMap, Uri};

use crate::problem::{Code, Fault};
use crate::text::shown;

/// What a listener goes by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Names beside `localhost` and the addresses, in small letters.
    pub(crate) hosts: Vec<String>,
    /// Origins beside the same one, as `https://panel.example`.
    pub(crate) origins: Vec<String>,
}

impl Names {
    pub(crate) fn new(hosts: &[String], origins: &[String]) -> Self {
        let small = |names: &[String]| {
            let plain = |name: &String| name.trim_end_matches('/').to_ascii_lowercase();
            names.iter().map(plain).collect()
        };
        Self {
            hosts: small(hosts),
            origins: small(origins),
        }
    }

    /// Whether a request over the network names this node. `own` is the address on which it came.
    pub(crate) fn check_host(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        own: IpAddr,
    ) -> Result<(), Fault> {
        let host = one(headers, HOST.as_str())?
            .ok_or_else(|| Fault::new(Code::BadRequest, "the request has no `Host`"))?;
        let named = uri.authority().map(|authority| authority.as_str());
        for name in [Some(host), named].into_iter().flatten() {
            if !self.knows(name, own) {
                return Err(Fault::new(
                    Code::HostNotAllowed,
                    format!("this node does not go by the name {:?}", shown(name)),
                )
                .advise("use its address or `localhost`, or add the name to its configuration"));
            }
        }
        Ok(())
    }

    /// Whether a request that says from which page it comes may come from there.
    pub(crate) fn check_origin(
        &self,
        headers: &HeaderMap,
        scheme: Option<&str>,
    ) -> Result<bool, Fault> {
        let Some(origin) = one(headers, ORIGIN.as_str())? else {
            return Ok(false);
        };
        let origin = origin.to_ascii_lowercase();
        let same = match (scheme, one(headers, HOST.as_str())?) {
            (Some(scheme), Some(host)) => {
                origin == format!("{scheme}://{}", host.to_ascii_lowercase())
            }
            (Some(_) | None, _) => false,
        };
        if same || self.origins.contains(&origin) {
            return Ok(true);
        }
        Err(Fault::new(
            Code::OriginNotAllowed,
            format!("pages of {:?} may not ask this node", shown(&origin)),
        )
        .advise(
            "open the dashboard by the node's own address, or add the origin to its configuration",
        ))
    }

    fn knows(&self, host: &str, own: IpAddr) -> bool {
        let Some(name) = without_port(host) else {
            return false;
        };
        if let Ok(address) = name.parse::<IpAddr>() {
            return address.is_loopback() || address.to_canonical() == own.to_canonical();
        }
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        name == "localhost" || self.hosts.iter().any(|known| known == name)
    }
}

/// The only value of a header, if it is there. Two values are how proxies and servers are played off against each other.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Fault> {
    let bad = |what| Fault::new(Code::BadRequest, format!("`{name}` {what}"));
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(bad("is there twice"));
    }
    value.to_str().map(Some).map_err(|_| bad("is not ASCII"))
}

/// The name of `name`, `name:port`, `[v6]` or `[v6]:port`.
fn without_port(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = rest.strip_prefix(':');
    let fits = rest.is_empty() || port.is_some_and(|port| port.parse::<u16>().is_ok());
    (fits && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    fn host(value: &str) -> Option<Code> {
        let names = Names::new(&["Node.Example".to_owned()], &[]);
        let uri = Uri::from_static("/v1/status");
        let checked = names.check_host(&uri, &headers(&[("host", value)]), OWN);
        checked.err().map(|fault| fault.code)
    }

    #[test]
    fn a_node_goes_by_loopback_its_address_and_configured_names() {
        for known in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:7001",
            "[::1]:7001",
            "[::1]",
            "192.0.2.7:1",
            "node.example",
            "node.example.:443",
            "127.9.9.9",
        ] {
            assert_eq!(host(known), None, "{known}");
        }
        for unknown in [
            "evil.example",
            "localhost.evil.example",
            "192.0.2.8",
            "",
            ":80",
            "localhost:x",
            "[::1",
            "[::1]x",
            "::1",
            "localhost:99999",
            "node.example..",
        ] {
            assert_eq!(host(unknown), Some(Code::HostNotAllowed), "{unknown}");
        }
    }

    #[test]
    fn a_name_in_the_request_line_counts_as_well() {
        let uri: Uri = "http://evil.example/v1/status".parse().expect("a uri");
        let checked = Names::default().check_host(&uri, &headers(&[("host", "localhost")]), OWN);
        assert_eq!(checked.expect_err("refused").code, Code::HostNotAllowed);
    }

    #[test]
    fn no_host_and_two_hosts_make_no_sense() {
        let uri = Uri::from_static("/");
        for set in [&[][..], &[("host", "localhost"), ("host", "localhost")]] {
            let checked = Names::default().check_host(&uri, &headers(set), OWN);
            assert_eq!(checked.expect_err("refused").code, Code::BadRequest);
        }
    }

    #[test]
    fn pages_of_the_same_origin_or_a_configured_one_may_ask_and_no_others() {
        let names = Names::new(&[], &["https://Panel.example/".to_owned()]);
        let ask = |origin: &str, scheme| {
            let set = headers(&[("host", "localhost:7001"), ("origin", origin)]);
            names.check_origin(&set, scheme).map_err(|fault| fault.code)
        };
        assert_eq!(ask("http://localhost:7001", Some("http")), Ok(true));
        assert_eq!(ask("https://panel.example", Some("http")), Ok(true));
        for (origin, scheme) in [
            ("http://localhost:7001", Some("https")),
            ("http://localhost:7002", Some("http")),
            ("http://localhost", Some("http")),
            ("http://localhost:7001", None),
            ("null", Some("http")),
            ("https://panel.example.evil", Some("http")),
        ] {
            assert_eq!(ask(origin, scheme), Err(Code::OriginNotAllowed), "{origin}");
        }
        assert_eq!(
            names.check_origin(&HeaderMap::new(), Some("http")),
            Ok(false)
        );
    }
}
