//! How durable a write is asked to be, and how durable it became.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a reply to a write vouches for. Each level includes those before it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Durability {
    /// The write reached the kernel: it survives a killed process, not a power loss.
    Buffered,
    /// The write is synced to the local disk.
    #[default]
    Local,
    /// A committee has certified the write.
    Certified,
}

impl Durability {
    /// The text of the header `Cairn-Durability`.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Buffered => "buffered",
            Durability::Local => "local",
            Durability::Certified => "certified",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "buffered" => Ok(Durability::Buffered),
            "local" => Ok(Durability::Local),
            "certified" => Ok(Durability::Certified),
            other => Err(format!(
                "unknown durability {other:?}: it is buffered, local or certified"
            )),
        }
    }
}
