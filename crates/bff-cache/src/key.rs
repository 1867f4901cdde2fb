//! The key of a cache entry: backend, request, audience, and the decoded type.

use std::any::TypeId;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use super::hash::{ChainedXxh3, Tag};
use bff_context::scope::{Audience, Scope};

/// The key of a response. Two keys are equal only if all parts are. The audience comes only from the scope of the
/// call. Cheap to clone.
#[derive(Clone)]
pub struct Key(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    hash: u64,
    request: KeyedRequest,
}

#[derive(PartialEq, Eq, Hash)]
struct KeyedRequest {
    upstream: &'static str,
    method: Method,
    /// Path and query as sent. For gRPC: the method's path, a zero byte and the message.
    target: Bytes,
    audience: Audience,
    /// One response decoded into two types is two entries.
    value_type: TypeId,
}

impl Key {
    /// The key of a response that is decoded as `T`, to a request of `scope`.
    pub(super) fn new<T: 'static>(
        seed: u64,
        upstream: &'static str,
        method: Method,
        target: Bytes,
        scope: &impl Scope,
    ) -> Self {
        let request = KeyedRequest {
            upstream,
            method,
            target,
            audience: bff_context::trusted::audience(scope),
            value_type: TypeId::of::<T>(),
        };
        let hash = ChainedXxh3::hash(seed, &request);
        Self(Arc::new(Parts { hash, request }))
    }

    /// The name of the backend.
    pub(super) fn upstream(&self) -> &'static str {
        self.0.request.upstream
    }

    /// The key in the shared tier of `gateway`; `None` for a response of one caller, which never leaves the process.
    /// The type is not part of it, because the shared tier holds responses as received.
    pub(super) fn shared_key(&self, gateway: &str) -> Option<Vec<u8>> {
        let KeyedRequest {
            upstream,
            method,
            target,
            audience,
            ..
        } = &self.0.request;
        let audience = audience.shared()?;
        let mut key = Vec::with_capacity(64 + target.len());
        for part in [
            gateway.as_bytes(),
            upstream.as_bytes(),
            method.as_str().as_bytes(),
            &audience,
            target,
        ] {
            key.extend_from_slice(&part.len().to_le_bytes());
            key.extend_from_slice(part);
        }
        Some(key)
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Parts>() + self.0.request.target.len()
    }

    /// The tags of every entry under this key: its backend, its path, its path with the query.
    pub(super) fn tags(&self) -> [Tag; 3] {
        let KeyedRequest {
            upstream, target, ..
        } = &self.0.request;
        let path = target.split(|b| matches!(b, b'?' | 0)).next();
        [
            Tag::upstream(upstream),
            Tag::path(upstream, path.unwrap_or_default()),
            Tag::target(upstream, target),
        ]
    }

    /// The tag that a write of the same caller at the same backend invalidates; `None` for a response of several
    /// callers.
    pub(super) fn caller_tag(&self) -> Option<Tag> {
        let KeyedRequest {
            upstream, audience, ..
        } = &self.0.request;
        caller_tag(upstream, audience)
    }

    pub(super) fn hash(&self) -> u64 {
        self.0.hash
    }
}

/// The tag of everything of one caller at one backend.
pub(super) fn caller_tag(upstream: &str, audience: &Audience) -> Option<Tag> {
    let hash = || Tag(ChainedXxh3::hash(0, &(upstream, audience)));
    audience.is_personal().then(hash)
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

/// Without the target, which may hold a user's search text.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {}",
            self.0.request.method, self.0.request.upstream
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bff_context::scope::{Caller, Identity, Language, Public, Region, Segment};

    fn key<T: 'static>(target: &'static str, scope: &impl Scope) -> Key {
        Key::new::<T>(7, "alpha", Method::GET, target.into(), scope)
    }

    fn caller(account: &str, profile: Option<&str>, role: &str) -> Caller {
        Caller::new(Identity {
            account: account.into(),
            profile: profile.map(Into::into),
            roles: vec![role.into()],
            ..Identity::default()
        })
        .unwrap()
    }

    fn segment(language: &str, region: &str) -> Segment {
        let (language, region): (Language, Region) =
            (language.parse().unwrap(), region.parse().unwrap());
        bff_context::trusted::segment(language, region, None)
    }

    #[test]
    fn keys_differ_in_every_part() {
        let base = key::<u8>("/a", &Public);
        assert_eq!(base, key::<u8>("/a", &Public));
        assert_ne!(base, key::<u8>("/a?", &Public));
        assert_ne!(base, key::<u16>("/a", &Public));
        let head = Key::new::<u8>(7, "alpha", Method::HEAD, "/a".into(), &Public);
        assert_ne!(base, head);
        let beta = Key::new::<u8>(7, "beta", Method::GET, "/a".into(), &Public);
        assert_ne!(base, beta);
    }

    #[test]
    fn keys_of_different_scopes_differ() {
        let ada = caller("ada", None, "customer");
        let scopes: [Key; 9] = [
            key::<u8>("/a", &Public),
            key::<u8>("/a", &segment("en", "DE")),
            key::<u8>("/a", &segment("en", "DE").by_language()),
            key::<u8>("/a", &segment("de", "DE").by_language()),
            key::<u8>("/a", &segment("en", "DE").by_region()),
            key::<u8>("/a", &ada),
            key::<u8>("/a", &caller("ada", Some("kids"), "customer")),
            key::<u8>("/a", &caller("ada", None, "ADMIN")),
            key::<u8>("/a", &caller("ben", None, "customer")),
        ];
        for (n, key) in scopes.iter().enumerate() {
            for other in &scopes[n + 1..] {
                assert_ne!(key, other);
            }
        }
        assert_eq!(key::<u8>("/a", &ada), key::<u8>("/a", &ada.clone()));
        // The key has only the parts that the segment depends on.
        let (de, at) = (segment("en", "DE"), segment("de", "AT"));
        assert_eq!(key::<u8>("/a", &de), key::<u8>("/a", &at));
    }

    #[test]
    fn a_path_tag_covers_every_query() {
        let [upstream, path, target] = key::<u8>("/a/b?c=1", &Public).tags();
        assert_eq!(upstream, Tag::upstream("alpha"));
        assert_eq!(path, Tag::path("alpha", b"/a/b"));
        assert_eq!(target, Tag::target("alpha", b"/a/b?c=1"));
        assert_ne!(path, Tag::path("beta", b"/a/b"));
        assert!(key::<u8>("/a", &Public).caller_tag().is_none());
    }
}
