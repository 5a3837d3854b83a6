//! One declaration for the keys of a section: from it come the struct, the field table (and with it the schema and the reference),
//! the reader and the defaults. A key that stands in one of them stands in all.

use crate::{Fields, Kind, Walk, scalar};
use std::time::Duration;

/// What a key's value becomes.
pub(crate) trait Value: Sized {
    /// The value of `key`; `None`: an error was recorded.
    fn read(walk: &mut Walk<'_>, fields: &Fields<'_>, key: &str) -> Option<Self>;
    /// The value that the text of a default stands for.
    fn of_default(kind: &Kind, text: &str) -> Option<Self>;
}

impl Value for u32 {
    fn read(walk: &mut Walk<'_>, fields: &Fields<'_>, key: &str) -> Option<u32> {
        fields.number(walk, key)
    }

    fn of_default(kind: &Kind, text: &str) -> Option<u32> {
        scalar::read(kind, text, true).ok()?.number()
    }
}

impl Value for Duration {
    fn read(walk: &mut Walk<'_>, fields: &Fields<'_>, key: &str) -> Option<Duration> {
        fields.duration(walk, key)
    }

    fn of_default(kind: &Kind, text: &str) -> Option<Duration> {
        scalar::read(kind, text, true).ok()?.duration()
    }
}

/// Declares a section: `keys { key: type = kind, "default", "doc"; }`, then, where there are any,
/// `sections { key: Type in TABLE, "doc"; }`.
macro_rules! keys {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident in $table:ident = $section:literal, $doc:expr;
        rules: $rules:expr;
        keys { $( $key:ident: $type:ty = $kind:expr, $default:literal, $what:expr; )* }
        $( sections { $( $inner:ident: $Inner:ident in $inner_table:ident, $inner_what:expr; )* } )?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            $( #[doc = $what] pub $key: $type, )*
            $( $( #[doc = $inner_what] pub $inner: $Inner, )* )?
        }

        pub(crate) static $table: $crate::Table = $crate::Table {
            name: $section,
            doc: $doc,
            fields: &[
                $( $crate::Field::with_default(stringify!($key), $kind, $default, $what), )*
                $( $( $crate::Field::optional(stringify!($inner), $crate::Kind::Table(&$inner_table), $inner_what), )* )?
            ],
            rules: $rules,
        };

        impl $name {
            /// Reads the section. Where a value is wrong, which is recorded, its default stands in.
            pub(crate) fn read(walk: &mut $crate::Walk<'_>, fields: &$crate::Fields<'_>) -> $name {
                let default = $name::default();
                $name {
                    $( $key: $crate::keys::Value::read(walk, fields, stringify!($key)).unwrap_or(default.$key), )*
                    $( $( $inner: {
                        let section = fields.table_or_default(walk, stringify!($inner));
                        $Inner::read(walk, &section)
                    }, )* )?
                }
            }
        }

        /// As with `{}`.
        impl Default for $name {
            fn default() -> $name {
                $name {
                    $( $key: $crate::keys::Value::of_default(&$kind, $default).unwrap_or_default(), )*
                    $( $( $inner: $Inner::default(), )* )?
                }
            }
        }
    };
}

pub(crate) use keys;
