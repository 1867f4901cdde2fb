//! Where a backend is: an address parsed once.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `http://host[:port][/prefix]` or `https://…`, without query, fragment or user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    /// Without a final slash.
    prefix: String,
}

impl BaseUrl {
    /// The target of a request for `path`, which begins with a slash and is encoded (RFC 9112 §3.2.1).
    pub(crate) fn origin_form(&self, path: String) -> Result<PathAndQuery, http::Error> {
        let path = if self.prefix.is_empty() {
            path
        } else {
            format!("{}{path}", self.prefix)
        };
        Ok(PathAndQuery::from_maybe_shared(bytes::Bytes::from(path))?)
    }

    /// The whole address of a target made by [`Self::origin_form`].
    pub(crate) fn absolute(&self, target: PathAndQuery) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(target)
            .build()
    }

    /// Whether it is reached over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Host and port.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}

impl FromStr for BaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Without the text: it may hold a password.
        let refuse = |why: &str| format!("this is not a backend's address: {why}");
        let uri: Uri = text.parse().map_err(|_| refuse("not a URL"))?;
        let parts = uri.into_parts();
        let scheme = parts
            .scheme
            .filter(|s| *s == Scheme::HTTP || *s == Scheme::HTTPS)
            .ok_or_else(|| refuse("it begins with http:// or https://"))?;
        let authority = parts.authority.ok_or_else(|| refuse("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("credentials do not belong in it"));
        }
        // To whoever only asks for it, a port that is none is no port, and so the scheme's own.
        if authority.as_str() != authority.host() && authority.port_u16().is_none() {
            return Err(refuse("its port is no number up to 65535"));
        }
        let path = parts.path_and_query;
        if path.as_ref().is_some_and(|p| p.query().is_some()) || text.contains('#') {
            return Err(refuse("a query or fragment does not belong in it"));
        }
        let prefix = path.map_or(String::new(), |p| p.path().trim_end_matches('/').to_owned());
        Ok(Self {
            scheme,
            authority,
            prefix,
        })
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

impl Serialize for BaseUrl {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BaseUrl {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_kept_and_a_final_slash_is_not() {
        let base: BaseUrl = "https://api.example/shop/".parse().unwrap();
        assert_eq!(base.to_string(), "https://api.example/shop");
        let target = base.origin_form("/a?b=c".into()).unwrap();
        assert_eq!(target, "/shop/a?b=c");
        let uri = base.absolute(target).unwrap();
        assert_eq!(uri, "https://api.example/shop/a?b=c");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for bad in [
            "",
            "product",
            "ftp://x",
            "http://",
            "http://ada:hunter2@b",
            "http://a:65536",
            "http://a:99999/b",
            "http://[::1]:",
            "http://a?b",
            "http://a/#b",
        ] {
            let line = bad.parse::<BaseUrl>().unwrap_err();
            assert!(!line.contains("hunter2"), "{line}");
        }
        for good in ["http://a:65535", "http://[::1]:80", "http://[::1]"] {
            assert_eq!(good.parse::<BaseUrl>().unwrap().to_string(), good);
        }
    }
}
