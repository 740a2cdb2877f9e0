//! The names of a disk: what it holds, what the page cache shows, and the changes in between.
//!
//! A *link* is one name of a file or directory and keeps its identity when it is renamed. A change
//! says where a link stands from then on. So changes can be kept and lost independently: whatever
//! happened to an earlier one, a kept rename leaves the link at its new place only, and a lost one
//! leaves it where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::survival::Survivor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Directory,
    File(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    id: u64,
    pub(super) node: Node,
}

type Table = BTreeMap<PathBuf, Link>;

#[derive(Clone, Debug)]
struct Change {
    link: Link,
    from: Option<PathBuf>,
    to: Option<PathBuf>,
    /// The link that had the new name until then.
    replaced: Option<u64>,
}

impl Change {
    /// The directory whose sync makes the change durable: the one of the new name, if any.
    fn directory(&self) -> Option<&Path> {
        self.to
            .as_ref()
            .or(self.from.as_ref())
            .and_then(|path| path.parent())
    }

    fn apply(&self, table: &mut Table) {
        table.retain(|_, link| link.id != self.link.id);
        if let Some(to) = &self.to {
            table.insert(to.clone(), self.link);
        }
    }
}

/// Paths here are relative to the root, which always exists and is the empty path.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    cached: Table,
    durable: Table,
    pending: Vec<Change>,
    next_link: u64,
}

impl Names {
    pub(super) fn find(&self, path: &Path) -> Option<Node> {
        if path.as_os_str().is_empty() {
            return Some(Node::Directory);
        }
        self.cached.get(path).map(|link| link.node)
    }

    pub(super) fn list(&self, directory: &Path) -> Vec<String> {
        let inside = self
            .cached
            .keys()
            .filter(|path| path.parent() == Some(directory));
        let names = inside.filter_map(|path| path.file_name()?.to_str());
        names.map(str::to_owned).collect()
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let files = self
            .cached
            .iter()
            .filter(|(_, link)| link.node != Node::Directory);
        files.map(|(path, _)| path.clone()).collect()
    }

    /// Gives a node a name that is not taken.
    pub(super) fn add(&mut self, path: &Path, node: Node) {
        self.next_link += 1;
        let link = Link {
            id: self.next_link,
            node,
        };
        self.change(Change {
            link,
            from: None,
            to: Some(path.into()),
            replaced: None,
        });
    }

    /// Gives a node a name at once and for good.
    pub(super) fn add_durable(&mut self, path: &Path, node: Node) {
        self.add(path, node);
        if let Some(change) = self.pending.pop() {
            change.apply(&mut self.durable);
        }
    }

    /// Removes a name at once and for good.
    pub(super) fn remove_durable(&mut self, path: &Path) {
        self.remove(path);
        if let Some(change) = self.pending.pop() {
            change.apply(&mut self.durable);
            self.pending
                .retain(|earlier| earlier.link.id != change.link.id);
        }
    }

    pub(super) fn remove(&mut self, path: &Path) {
        if let Some(link) = self.cached.get(path).copied() {
            self.change(Change {
                link,
                from: Some(path.into()),
                to: None,
                replaced: None,
            });
        }
    }

    /// Moves a link; the node it replaced, if any, has one link less.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        if let Some(link) = self.cached.get(from).copied() {
            let replaced = self.cached.get(to).map(|link| link.id);
            self.change(Change {
                link,
                from: Some(from.into()),
                to: Some(to.into()),
                replaced,
            });
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    /// Makes the changes in a directory durable, with the earlier ones that they build on.
    pub(super) fn sync(&mut self, directory: &Path) {
        for change in self.take_pending(directory) {
            change.apply(&mut self.durable);
        }
    }

    /// A failed sync: some of the changes reached the disk, none of them will be tried again.
    pub(super) fn fail_sync(&mut self, directory: &Path, survivor: &mut Survivor) {
        let changes = self.take_pending(directory);
        self.durable = survive(self.durable.clone(), &changes, survivor);
    }

    fn take_pending(&mut self, directory: &Path) -> Vec<Change> {
        let mut paths = BTreeSet::new();
        let mut taken = Vec::new();
        let mut left = Vec::new();
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            let its_paths = || change.from.iter().chain(&change.to);
            if change.directory() == Some(directory) || its_paths().any(|path| paths.contains(path))
            {
                paths.extend(its_paths().cloned());
                taken.push(change);
            } else {
                left.push(change);
            }
        }
        left.reverse();
        taken.reverse();
        self.pending = left;
        taken
    }

    /// The names that are found after a power loss, all durable.
    pub(super) fn after_power_loss(&self, survivor: &mut Survivor) -> Self {
        let mut found = survive(self.durable.clone(), &self.pending, survivor);
        remove_unreachable(&mut found);
        let next_link = self.next_link;
        Self {
            cached: found.clone(),
            durable: found,
            pending: Vec::new(),
            next_link,
        }
    }

    /// Whether a power loss could still find this file.
    pub(super) fn may_return(&self, inode: u64) -> bool {
        let node = Node::File(inode);
        self.durable.values().any(|link| link.node == node)
            || self.pending.iter().any(|change| change.link.node == node)
    }
}

/// Applies the changes that survive.
fn survive(mut table: Table, changes: &[Change], survivor: &mut Survivor) -> Table {
    survivor.next_group();
    let mut ended = BTreeSet::new();
    for change in changes {
        let occupant = change
            .to
            .as_ref()
            .and_then(|to| table.get(to))
            .map(|link| link.id);
        if change.to.is_none() {
            ended.insert(change.link.id);
        }
        ended.extend(change.replaced);
        // A name freed by a rename is not free while that rename is lost: taking it would leave
        // the renamed file without any name.
        let displaces_a_living_link = occupant
            .is_some_and(|occupant| occupant != change.link.id && !ended.contains(&occupant));
        if survivor.keeps() && !displaces_a_living_link {
            change.apply(&mut table);
        }
    }
    table
}

/// Drops what stands in a directory that was lost.
fn remove_unreachable(table: &mut Table) {
    loop {
        let lost = |path: &PathBuf| {
            path.parent().is_some_and(|parent| {
                !parent.as_os_str().is_empty()
                    && table
                        .get(parent)
                        .is_none_or(|link| link.node != Node::Directory)
            })
        };
        let unreachable: Vec<PathBuf> = table.keys().filter(|path| lost(path)).cloned().collect();
        if unreachable.is_empty() {
            return;
        }
        for path in unreachable {
            table.remove(&path);
        }
    }
}
