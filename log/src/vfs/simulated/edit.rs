//! Looking at files and damaging them behind the store's back.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::super::plain::plain;
use super::SimulatedDisk;
use super::content::{Content, pieces};
use super::names::Node;
use super::state::State;

/// Direct edits: in the page cache and on the disk at once, no call, never a fault. Each makes
/// everything else of that file durable too, and panics if there is no such file.
impl SimulatedDisk {
    /// The paths of all files, in order, relative to the root.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state.lock().names.files()
    }

    /// The length of a file, in bytes.
    pub fn length(&self, path: impl AsRef<Path>) -> u64 {
        self.content(path.as_ref()).length()
    }

    /// The bytes of a file as the page cache shows them.
    pub fn read(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let content = self.content(path.as_ref());
        let length = usize::try_from(content.length()).expect("a file that fits in memory");
        let mut bytes = vec![0; length];
        content.read(&mut bytes, 0);
        bytes
    }

    /// Replaces a file, or makes one; its directory exists.
    pub fn write(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = plain(path.as_ref()).expect("a plain path");
        let mut state = self.state.lock();
        if state.names.find(&path).is_none() {
            state.directory_of(&path).expect("a directory for the file");
            let id = state.new_inode();
            state.names.add_durable(&path, Node::File(id));
            state.inode(id).expect("the new inode").links += 1;
        }
        state.edit(&path, |content| {
            content.set_length(0);
            write_content(content, bytes, 0);
        });
    }

    /// Replaces bytes of a file, growing it if needed.
    pub fn overwrite(&self, path: impl AsRef<Path>, bytes: &[u8], offset: u64) {
        self.state.lock().edit(path.as_ref(), |content| {
            write_content(content, bytes, offset)
        });
    }

    /// Flips one bit (0 to 7) of a byte that the file has.
    pub fn flip_bit(&self, path: impl AsRef<Path>, offset: u64, bit: u32) {
        self.state.lock().edit(path.as_ref(), |content| {
            assert!(offset < content.length(), "offset {offset} is past the end");
            let mut byte = [0];
            content.read(&mut byte, offset);
            write_content(content, &[byte[0] ^ (1 << bit)], offset);
        });
    }

    /// Cuts or grows a file.
    pub fn truncate(&self, path: impl AsRef<Path>, length: u64) {
        self.state
            .lock()
            .edit(path.as_ref(), |content| content.set_length(length));
    }

    /// Copies bytes of one file over those of another or the same one, as a misdirected write does.
    pub fn copy_block(
        &self,
        from: impl AsRef<Path>,
        range: Range<u64>,
        to: impl AsRef<Path>,
        offset: u64,
    ) {
        let length = usize::try_from(range.end - range.start).expect("a block that fits in memory");
        let mut bytes = vec![0; length];
        self.content(from.as_ref()).read(&mut bytes, range.start);
        self.overwrite(to, &bytes, offset);
    }

    /// Removes a file's name at once and for good.
    pub fn erase(&self, path: impl AsRef<Path>) {
        let path = plain(path.as_ref()).expect("a plain path");
        let mut state = self.state.lock();
        let id = state.file_at(&path).expect("a file");
        state.names.remove_durable(&path);
        state.unlinked(id);
    }

    fn content(&self, path: &Path) -> Content {
        let state = self.state.lock();
        let id = plain(path)
            .and_then(|path| state.file_at(&path))
            .expect("a file");
        state.inodes[&id].cached.clone()
    }
}

impl State {
    fn edit(&mut self, path: &Path, edit: impl FnOnce(&mut Content)) {
        let id = plain(path)
            .and_then(|path| self.file_at(&path))
            .expect("a file");
        let inode = self.inode(id).expect("the inode of a name");
        let mut content = inode.cached.clone();
        edit(&mut content);
        inode.settle(content);
    }
}

fn write_content(content: &mut Content, bytes: &[u8], offset: u64) {
    for piece in pieces(offset, bytes.len()) {
        content.write_page(piece.page, piece.of_page, &bytes[piece.of_buffer]);
    }
    content.set_length(content.length().max(offset + bytes.len() as u64));
}
