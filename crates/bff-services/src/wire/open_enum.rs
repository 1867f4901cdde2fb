//! Words of a closed list on an open wire.

/// An enum of the words a backend uses today; any other word decodes as the last variant, which the
/// caller of the macro documents.
macro_rules! open_enum {
    (
        $(#[$doc:meta])* $name:ident {
            $($(#[$one:meta])* $variant:ident = $word:literal,)*
            ..
            $(#[$rest:meta])* $other:ident = $other_word:literal
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
        pub enum $name {
            $($(#[$one])* #[serde(rename = $word)] $variant,)*
            $(#[$rest])* #[serde(other, rename = $other_word)] $other,
        }

        impl $name {
            /// The word, as the wire has it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::$other => $other_word,
                }
            }
        }
    };
}

pub(crate) use open_enum;
