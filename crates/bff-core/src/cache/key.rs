//! What an answer is kept and shared under: backend, request, who may share it, and what it was made into.

use std::any::TypeId;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use super::hash::{ChainedXxh3, Tag};
use crate::scope::{Audience, Scope};

/// The identity of an answer. Two calls have the same only if every part is the same; who may share it comes from
/// the call's scope and from nowhere else. Cheap to clone.
#[derive(Clone)]
pub struct Key(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    hash: u64,
    asked: Asked,
}

#[derive(PartialEq, Eq, Hash)]
struct Asked {
    upstream: &'static str,
    method: Method,
    /// Path and query as sent; for gRPC the method's path, a zero byte and the message.
    target: Bytes,
    audience: Audience,
    /// One answer made into two types is two values.
    value_type: TypeId,
}

impl Key {
    /// The key of an answer of type `T` to a request of `scope`.
    pub(super) fn new<T: 'static>(
        seed: u64,
        upstream: &'static str,
        method: Method,
        target: Bytes,
        scope: &impl Scope,
    ) -> Self {
        let asked = Asked {
            upstream,
            method,
            target,
            audience: scope.audience(),
            value_type: TypeId::of::<T>(),
        };
        let hash = ChainedXxh3::hash(seed, &asked);
        Self(Arc::new(Parts { hash, asked }))
    }

    /// The backend.
    pub(super) fn upstream(&self) -> &'static str {
        self.0.asked.upstream
    }

    /// What replicas of `gateway` know it by; `None` for what is one caller's, which never leaves the process. What it
    /// was made into is no part of it: what is shared is the answer as it came.
    pub(super) fn shared_key(&self, gateway: &str) -> Option<Vec<u8>> {
        let Asked {
            upstream,
            method,
            target,
            audience,
            ..
        } = &self.0.asked;
        let readers = audience.shared()?;
        let mut name = Vec::with_capacity(64 + target.len());
        for part in [
            gateway.as_bytes(),
            upstream.as_bytes(),
            method.as_str().as_bytes(),
            &readers,
            target,
        ] {
            name.extend_from_slice(&part.len().to_le_bytes());
            name.extend_from_slice(part);
        }
        Some(name)
    }

    /// Bytes it holds on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Parts>() + self.0.asked.target.len()
    }

    /// What every answer under this key can be purged by: its backend, its path, its whole target.
    pub(super) fn tags(&self) -> [Tag; 3] {
        let Asked {
            upstream, target, ..
        } = &self.0.asked;
        let path = target.split(|b| matches!(b, b'?' | 0)).next();
        [
            Tag::upstream(upstream),
            Tag::path(upstream, path.unwrap_or_default()),
            Tag::target(upstream, target),
        ]
    }

    /// What a write of the same caller at the same backend outdates; `None` for what is nobody's own.
    pub(super) fn caller_tag(&self) -> Option<Tag> {
        let Asked {
            upstream, audience, ..
        } = &self.0.asked;
        own(upstream, audience)
    }

    pub(super) fn hash(&self) -> u64 {
        self.0.hash
    }
}

/// Everything of one caller at one backend.
pub(super) fn own(upstream: &str, audience: &Audience) -> Option<Tag> {
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

/// The target may hold what somebody searched for.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.0.asked.method, self.0.asked.upstream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{Caller, Identity, Language, Public, Region, Segment};

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
        Segment::of(language, region, None)
    }

    #[test]
    fn every_part_tells_two_keys_apart() {
        let here = key::<u8>("/a", &Public);
        assert_eq!(here, key::<u8>("/a", &Public));
        assert_ne!(here, key::<u8>("/a?", &Public));
        assert_ne!(here, key::<u16>("/a", &Public));
        let head = Key::new::<u8>(7, "alpha", Method::HEAD, "/a".into(), &Public);
        assert_ne!(here, head);
        let beta = Key::new::<u8>(7, "beta", Method::GET, "/a".into(), &Public);
        assert_ne!(here, beta);
    }

    #[test]
    fn scopes_never_meet() {
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
        for (n, one) in scopes.iter().enumerate() {
            for other in &scopes[n + 1..] {
                assert_ne!(one, other);
            }
        }
        assert_eq!(key::<u8>("/a", &ada), key::<u8>("/a", &ada.clone()));
        // What a segment was not asked for is no part of it.
        let (de, at) = (segment("en", "DE"), segment("de", "AT"));
        assert_eq!(key::<u8>("/a", &de), key::<u8>("/a", &at));
    }

    #[test]
    fn a_path_is_purged_with_all_its_queries() {
        let [upstream, path, target] = key::<u8>("/a/b?c=1", &Public).tags();
        assert_eq!(upstream, Tag::upstream("alpha"));
        assert_eq!(path, Tag::path("alpha", b"/a/b"));
        assert_eq!(target, Tag::target("alpha", b"/a/b?c=1"));
        assert_ne!(path, Tag::path("beta", b"/a/b"));
        assert!(key::<u8>("/a", &Public).caller_tag().is_none());
    }
}
