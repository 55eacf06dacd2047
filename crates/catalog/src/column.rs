//! The columns lists may ask for, and the values they hold.

use model::{Id, JobStatus, Kind, PointStatus, RegionId, SnapshotStatus, TaskStatus, Timestamp};

macro_rules! columns {
    ($($(#[$doc:meta])* $column:ident = $name:literal, $form:ident;)*) => {
        /// A typed, usually indexed column. Which table has which: its record's [`Table`](crate::Table).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Column {
            $($(#[$doc])* $column,)*
        }

        impl Column {
            pub const ALL: &'static [Self] = &[$(Self::$column),*];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$column => $name,)*
                }
            }

            pub(crate) const fn form(self) -> Form {
                match self {
                    $(Self::$column => Form::$form,)*
                }
            }
        }
    };
}

// A name here is a name in the schema: change it only together with a schema step.
columns! {
    Active = "active", Int;
    Binding = "binding", Text;
    Completed = "completed", Int;
    Created = "created", Int;
    Disk = "disk", Text;
    Expires = "expires", Int;
    Group = "in_group", Text;
    Holder = "holder", Text;
    Instance = "instance", Text;
    Job = "job", Text;
    Kind = "kind", Text;
    Name = "name", Text;
    Parent = "parent", Text;
    Policy = "policy", Text;
    Region = "region", Text;
    Released = "released", Int;
    Root = "root", Int;
    Settled = "settled", Int;
    Source = "source", Text;
    Status = "status", Text;
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Int,
    Text,
}

/// One value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
}

impl Value {
    pub(crate) fn fits(&self, form: Form) -> bool {
        match self {
            Self::Null => true,
            Self::Int(_) => form == Form::Int,
            Self::Text(_) => form == Form::Text,
        }
    }

    /// PostgreSQL cannot hold the character NUL in a text.
    pub(crate) fn is_storable(&self) -> bool {
        match self {
            Self::Null | Self::Int(_) => true,
            Self::Text(text) => !text.contains('\0'),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}
impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Int(truth.into())
    }
}
impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Int(time.0)
    }
}
impl From<&RegionId> for Value {
    fn from(region: &RegionId) -> Self {
        Self::Text(region.0.clone())
    }
}
impl From<RegionId> for Value {
    fn from(region: RegionId) -> Self {
        Self::Text(region.0)
    }
}
impl<K: Kind> From<Id<K>> for Value {
    fn from(id: Id<K>) -> Self {
        Self::Text(id.to_string())
    }
}
impl<K: Kind> From<&Id<K>> for Value {
    fn from(id: &Id<K>) -> Self {
        Self::Text(id.to_string())
    }
}
impl<V: Into<Value>> From<Option<V>> for Value {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! words {
    ($($enumeration:ident { $($state:ident),* })*) => {
        $(
            impl From<$enumeration> for Value {
                fn from(state: $enumeration) -> Self {
                    let word = match state {
                        $($enumeration::$state => stringify!($state),)*
                    };
                    Self::Text(word.to_owned())
                }
            }
        )*
    };
}

words! {
    JobStatus {
        Created, Queued, Running, Canceling, Complete, PartialComplete, Failed, Canceled, Expired
    }
    PointStatus { Creating, Available, Unusable, Failed, Deleting, Deleted }
    SnapshotStatus { Progressing, Accomplished, Failed }
    TaskStatus { Running, Done, Failed, Canceled }
}
