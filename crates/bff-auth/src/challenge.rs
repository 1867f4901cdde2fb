//! The `WWW-Authenticate` challenges of a 401 response (RFC 9110 §11.6.1).

use http::{HeaderMap, HeaderValue, header};

/// The challenges of one gateway: one for each accepted kind of credential.
#[derive(Clone, Debug)]
pub(super) struct Challenges {
    bearer: Option<BearerChallenge>,
    api_key: Option<HeaderValue>,
}

/// The two challenges for bearer tokens (RFC 6750 §3).
#[derive(Clone, Debug)]
struct BearerChallenge {
    /// For a request without a token: it must not contain an error.
    missing: HeaderValue,
    /// For a request with an invalid token.
    invalid: HeaderValue,
}

impl Challenges {
    /// The challenges of a gateway. `realm` is the gateway's name.
    pub(super) fn new(realm: &HeaderValue, bearer: bool, api_key: bool) -> Result<Self, String> {
        let realm = realm.to_str().map_err(|error| error.to_string())?;
        let value = |text: String| HeaderValue::try_from(text).map_err(|error| error.to_string());
        let bearer = bearer.then(|| {
            let missing = format!("Bearer realm=\"{realm}\"");
            let error =
                "error=\"invalid_token\", error_description=\"The access token is not valid\"";
            Ok::<_, String>(BearerChallenge {
                invalid: value(format!("{missing}, {error}"))?,
                missing: value(missing)?,
            })
        });
        // No scheme is registered for API keys, and a 401 must have a challenge. So this uses a private scheme.
        let api_key = api_key.then(|| value(format!("ApiKey realm=\"{realm}\"")));
        Ok(Self {
            bearer: bearer.transpose()?,
            api_key: api_key.transpose()?,
        })
    }

    /// Adds the challenges to the headers of a 401 response. `invalid_token` says that the request had an invalid
    /// token.
    pub(super) fn add(&self, invalid_token: bool, headers: &mut HeaderMap) {
        let bearer = self.bearer.as_ref();
        let bearer = bearer.map(|b| {
            if invalid_token {
                &b.invalid
            } else {
                &b.missing
            }
        });
        for challenge in bearer.into_iter().chain(&self.api_key) {
            headers.append(header::WWW_AUTHENTICATE, challenge.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenges(bearer: bool, api_key: bool, invalid_token: bool) -> Vec<String> {
        let realm = HeaderValue::from_static("web");
        let mut headers = HeaderMap::new();
        let challenges = Challenges::new(&realm, bearer, api_key).unwrap();
        challenges.add(invalid_token, &mut headers);
        let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
        values.map(|v| v.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn each_kind_of_credential_has_its_challenge() {
        let invalid = "Bearer realm=\"web\", error=\"invalid_token\", \
                       error_description=\"The access token is not valid\"";
        assert_eq!(challenges(true, false, false), ["Bearer realm=\"web\""]);
        assert_eq!(challenges(true, false, true), [invalid]);
        assert_eq!(challenges(false, true, true), ["ApiKey realm=\"web\""]);
        assert_eq!(
            challenges(true, true, true),
            [invalid, "ApiKey realm=\"web\""]
        );
        assert!(challenges(false, false, true).is_empty());
    }
}
