//! JSON files whose fields are the fields of a Rust struct: one declaration gives what is written, what is read and the
//! documentation.

/// A struct that is a JSON object.
pub trait Record {
    /// What the object is.
    const ABOUT: &'static str;
    /// Its fields in order.
    const FIELDS: &'static [FieldDoc];
}

/// What there is to say of a field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldDoc {
    /// Its name in the file.
    pub name: &'static str,
    /// Its Rust type; `Option` means that it may be null or missing.
    pub kind: &'static str,
    /// What it holds, with its unit.
    pub about: &'static str,
}

/// Declares a struct and makes it a [`Record`]. Derives that it has besides `Debug`, `Clone`, `PartialEq` and those of
/// serde stand between its documentation and its name.
macro_rules! record {
    (
        $(#[doc = $about:literal])*
        $(#[derive($($derive:path),+)])?
        $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $(#[serde($($serde:tt)*)])?
                $field:ident: $type:ty,
            )+
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        $(#[derive($($derive),+)])?
        pub struct $name {
            $(
                $(#[doc = $doc])*
                $(#[serde($($serde)*)])?
                pub $field: $type,
            )+
        }

        impl $crate::record::Record for $name {
            const ABOUT: &'static str = concat!($($about, "\n",)*);
            const FIELDS: &'static [$crate::record::FieldDoc] = &[
                $($crate::record::FieldDoc {
                    name: stringify!($field),
                    kind: stringify!($type),
                    about: concat!($($doc, "\n",)*),
                },)+
            ];
        }
    };
}
pub(crate) use record;
