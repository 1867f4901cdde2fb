//! `X-App: <platform>/<version>`: the build of the client.

use std::fmt;
use std::str::FromStr;

use http::{HeaderMap, HeaderName};

use crate::field_value;

/// The header.
pub const X_APP: HeaderName = HeaderName::from_static("x-app");

/// A client build, such as `ios/3.2.1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppVersion {
    platform: Box<str>,
    version: [u32; 3],
}

impl AppVersion {
    /// The version that the client sent; `None` if it sent none, or an invalid one.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        field_value::single(headers, &X_APP)?.parse().ok()
    }

    /// The platform: lower-case letters and digits.
    pub fn platform(&self) -> &str {
        &self.platform
    }

    /// Major, minor, patch.
    pub fn version(&self) -> [u32; 3] {
        self.version
    }
}

impl FromStr for AppVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORMAT: &str = "must be <platform>/<major>[.<minor>[.<patch>]]";
        let (platform, numbers) = text.split_once('/').ok_or(FORMAT)?;
        let valid_platform = (1..=16).contains(&platform.len())
            && platform
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let mut version = [0; 3];
        let mut count = 0;
        for (i, number) in numbers.split('.').enumerate() {
            let digits =
                (1..=9).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
            *version.get_mut(i).filter(|_| digits).ok_or(FORMAT)? =
                number.parse().map_err(|_| FORMAT)?;
            count += 1;
        }
        if !valid_platform || count == 0 {
            return Err(FORMAT);
        }
        Ok(Self {
            platform: platform.into(),
            version,
        })
    }
}

impl fmt::Display for AppVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.version;
        write!(f, "{}/{major}.{minor}.{patch}", self.platform)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_compare_by_number() {
        let app = |s: &str| s.parse::<AppVersion>();
        assert!(app("ios/3.10").unwrap() > app("ios/3.9.9").unwrap());
        for invalid in ["", "ios", "ios/", "iOS/1", "ios/1.2.3.4", "ios/x", "/1"] {
            assert!(app(invalid).is_err(), "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn a_version_round_trips(platform in "[a-z0-9]{1,16}", version in proptest::array::uniform3(0_u32..1_000_000_000)) {
            let app = AppVersion { platform: platform.into(), version };
            prop_assert_eq!(app.to_string().parse(), Ok(app));
        }
    }
}
