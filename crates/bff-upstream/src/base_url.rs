//! The base URL of a backend, parsed once.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A base URL: `http://host[:port][/prefix]` or `https://…`, without query, fragment or user information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    /// The path prefix, without a trailing slash.
    prefix: String,
}

impl BaseUrl {
    /// The request target in origin form (RFC 9112 §3.2.1). `path` is percent-encoded and begins with a slash.
    pub fn origin_form(&self, path: String) -> Result<PathAndQuery, http::Error> {
        let path = if self.prefix.is_empty() {
            path
        } else {
            format!("{}{path}", self.prefix)
        };
        Ok(PathAndQuery::from_maybe_shared(bytes::Bytes::from(path))?)
    }

    /// The request target in absolute form, from the result of [`Self::origin_form`].
    pub fn absolute(&self, target: PathAndQuery) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(target)
            .build()
    }

    /// Whether the scheme is `https`.
    pub fn is_tls(&self) -> bool {
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
        // The message omits the text, because the text may contain a password.
        let invalid = |why: &str| format!("invalid base URL: {why}");
        let uri: Uri = text.parse().map_err(|_| invalid("not a URL"))?;
        let parts = uri.into_parts();
        let scheme = parts
            .scheme
            .filter(|s| *s == Scheme::HTTP || *s == Scheme::HTTPS)
            .ok_or_else(|| invalid("the scheme must be http:// or https://"))?;
        let authority = parts
            .authority
            .ok_or_else(|| invalid("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("it must not contain credentials"));
        }
        // `port_u16` returns `None` for an invalid port too. Without this check the scheme's default would be used.
        if authority.as_str() != authority.host() && authority.port_u16().is_none() {
            return Err(invalid("port must be between 0 and 65535"));
        }
        let path = parts.path_and_query;
        if path.as_ref().is_some_and(|p| p.query().is_some()) || text.contains('#') {
            return Err(invalid("it must not have a query or a fragment"));
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
    fn a_path_prefix_is_used_without_its_trailing_slash() {
        let base: BaseUrl = "https://api.example/shop/".parse().unwrap();
        assert_eq!(base.to_string(), "https://api.example/shop");
        let target = base.origin_form("/a?b=c".into()).unwrap();
        assert_eq!(target, "/shop/a?b=c");
        let uri = base.absolute(target).unwrap();
        assert_eq!(uri, "https://api.example/shop/a?b=c");
    }

    #[test]
    fn invalid_base_urls_are_rejected() {
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
