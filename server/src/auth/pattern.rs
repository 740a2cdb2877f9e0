//! Patterns of bucket names: `*` stands for any run of characters, also none; every other
//! character for itself.

/// A pattern of bucket names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// The text between the stars; one piece without a star.
    pieces: Vec<String>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self {
            pieces: text.split('*').map(str::to_owned).collect(),
        }
    }

    /// Whether every name fits: it is stars alone.
    pub(crate) fn is_everything(&self) -> bool {
        self.pieces.len() > 1 && self.pieces.iter().all(String::is_empty)
    }

    /// Whether a name fits, in time linear in it for each piece.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let [first, rest @ ..] = &self.pieces[..] else {
            return false;
        };
        let Some(mut name) = name.strip_prefix(first.as_str()) else {
            return false;
        };
        let [between @ .., last] = rest else {
            return name.is_empty();
        };
        // Taking each piece where it first occurs leaves the most for those after it.
        for piece in between {
            match name.split_once(piece.as_str()) {
                Some((_, after)) => name = after,
                None => return false,
            }
        }
        name.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests;
