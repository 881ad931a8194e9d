//! The macro by which a fact is written once: struct, enum variant, and its row in the catalog.

macro_rules! facts {
    ($(
        $(#[doc = $doc:literal])+
        $variant:ident = $name:literal, $id:literal, $level:ident $(, advice $advice:literal)? {
            $( $(#[doc = $fdoc:literal])+ $field:ident : $ty:ty, )*
        }
    )*) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
            pub struct $variant {
                $( $(#[doc = $fdoc])+ pub $field: $ty, )*
            }

            impl From<$variant> for Fact {
                fn from(fact: $variant) -> Self {
                    Self::$variant(Box::new(fact))
                }
            }
        )*

        /// Any fact. Serialized as `{"type": NAME, "data": {…}}`.
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "type", content = "data")]
        pub enum Fact {
            $( $(#[doc = $doc])+ #[serde(rename = $name)] $variant(Box<$variant>), )*
        }

        impl Fact {
            /// The row that documents this kind of fact.
            pub fn meta(&self) -> &'static crate::Meta {
                match self { $( Self::$variant(_) => &$variant::META, )* }
            }
        }

        $(
            impl $variant {
                /// The row that documents this kind of fact.
                pub const META: crate::Meta = crate::Meta {
                    name: $name,
                    message_id: $id,
                    level: crate::Level::$level,
                    doc: concat!($($doc),+),
                    advice: concat!("" $(, $advice)?),
                    fields: &[ $( (stringify!($field), stringify!($ty), concat!($($fdoc),+)), )* ],
                };
            }
        )*

        /// Every kind of fact, in the order of the documentation.
        pub fn catalog() -> &'static [&'static crate::Meta] {
            &[ $( &$variant::META, )* ]
        }
    };
}
