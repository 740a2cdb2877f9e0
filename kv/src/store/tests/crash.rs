//! Power loss: laws 1, 2, 4, 5, 7 and 14 at the level of keys.

mod collection;
mod expected;
mod random;
mod refusal;
mod small;

use cairn_log::vfs::simulated::Survival;

use super::*;
