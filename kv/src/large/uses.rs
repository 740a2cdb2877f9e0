//! Which uploads are written or read in this process, so that nobody takes their pieces away.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Uploads in use, and by how many. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uses(Arc<Mutex<HashMap<u64, usize>>>);

/// Keeps the pieces of an upload until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    uses: Uses,
    upload: u64,
}

impl Uses {
    pub(super) fn hold(&self, upload: u64) -> Hold {
        *self.0.lock().entry(upload).or_default() += 1;
        Hold {
            uses: self.clone(),
            upload,
        }
    }

    pub(super) fn is_held(&self, upload: u64) -> bool {
        self.0.lock().contains_key(&upload)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut uses = self.uses.0.lock();
        if let Some(count) = uses.get_mut(&self.upload) {
            *count -= 1;
            if *count == 0 {
                uses.remove(&self.upload);
            }
        }
    }
}
