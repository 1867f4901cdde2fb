//! Open enums: a value that this gateway does not know still decodes.

/// Defines an enum of the values that a backend sends today. Any other value decodes as the last variant.
macro_rules! open_enum {
    (
        $(#[$doc:meta])* $name:ident {
            $($(#[$variant_doc:meta])* $variant:ident = $value:literal,)*
            ..
            $(#[$other_doc:meta])* $other:ident = $other_value:literal
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $value)] $variant,)*
            $(#[$other_doc])* #[serde(other, rename = $other_value)] $other,
        }

        impl $name {
            /// The value on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $value,)*
                    Self::$other => $other_value,
                }
            }
        }
    };
}

pub(crate) use open_enum;
