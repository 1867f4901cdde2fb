//! What a 401 says about the credential that is wanted (RFC 9110 §11.6.1).

use http::{HeaderMap, HeaderValue, header};

/// The challenges of one gateway: one for each kind of credential it takes.
#[derive(Clone, Debug)]
pub(super) struct Challenges {
    bearer: Option<Bearer>,
    api_key: Option<HeaderValue>,
}

/// RFC 6750 §3: who sent no token is told no error.
#[derive(Clone, Debug)]
struct Bearer {
    wanted: HeaderValue,
    refused: HeaderValue,
}

impl Challenges {
    /// The challenges of the gateway called `realm`.
    pub(super) fn new(realm: &HeaderValue, bearer: bool, api_key: bool) -> Result<Self, String> {
        let realm = realm.to_str().map_err(|error| error.to_string())?;
        let value = |text: String| HeaderValue::try_from(text).map_err(|error| error.to_string());
        let bearer = bearer.then(|| {
            let wanted = format!("Bearer realm=\"{realm}\"");
            let why =
                "error=\"invalid_token\", error_description=\"The access token is not valid\"";
            Ok::<_, String>(Bearer {
                refused: value(format!("{wanted}, {why}"))?,
                wanted: value(wanted)?,
            })
        });
        // No scheme is registered for API keys. One of our own is better than none, which a 401 may not have,
        // and better than Bearer, which would ask for something else.
        let api_key = api_key.then(|| value(format!("ApiKey realm=\"{realm}\"")));
        Ok(Self {
            bearer: bearer.transpose()?,
            api_key: api_key.transpose()?,
        })
    }

    /// Adds them to a 401 of a request whose token was refused, or that had none.
    pub(super) fn add(&self, token_refused: bool, headers: &mut HeaderMap) {
        let bearer = self.bearer.as_ref();
        let bearer = bearer.map(|b| if token_refused { &b.refused } else { &b.wanted });
        for challenge in bearer.into_iter().chain(&self.api_key) {
            headers.append(header::WWW_AUTHENTICATE, challenge.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bearer: bool, api_key: bool, token_refused: bool) -> Vec<String> {
        let realm = HeaderValue::from_static("web");
        let mut headers = HeaderMap::new();
        let challenges = Challenges::new(&realm, bearer, api_key).unwrap();
        challenges.add(token_refused, &mut headers);
        let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
        values.map(|v| v.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn each_kind_of_credential_has_its_challenge() {
        let refused = "Bearer realm=\"web\", error=\"invalid_token\", \
                       error_description=\"The access token is not valid\"";
        assert_eq!(told(true, false, false), ["Bearer realm=\"web\""]);
        assert_eq!(told(true, false, true), [refused]);
        assert_eq!(told(false, true, true), ["ApiKey realm=\"web\""]);
        assert_eq!(told(true, true, true), [refused, "ApiKey realm=\"web\""]);
        assert!(told(false, false, true).is_empty());
    }
}
