//! What each owner keeps in the store, and all owners together (D-18).
//!
//! The index has a count for each owner and one of all ([`Count`]). Memory has the sum of all, and of an owner only what the index
//! does not have yet; nothing stays for an owner whose logs merely exist. The writer alone admits new logs, so that two of them
//! never take one place; whoever makes a log brings what the index says of its owner ([`Hold`]), because the writer never reads the
//! disk.
//!
//! A count is written before the heads that it counts, and says which of these it took in. So a crash between the two is seen: what
//! the count says of a log is what it took in, and not what the head says ([`Count::take_in`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::index::{Index, IndexError};
use super::log::Stored;
use crate::api::WriteError;
use crate::quota::{Kept, Quotas};
use crate::types::{LogId, Owner};

/// So many logs are counted at once. A count says of each of them what it took in, and must stay below 6 KiB also when several
/// crashes left some behind (D-38).
pub(crate) const GROUP: usize = 32;

/// What a log keeps, in bytes; absent = it does not exist.
type Size = Option<u64>;

/// What the index says of one owner, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) kept: Kept,
    /// The logs that were counted last, as they were counted.
    pub(crate) counted: Vec<(LogId, Size)>,
}

/// A log that is about to change in the index.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    id: LogId,
    owner: Owner,
    /// As the index has it.
    before: Size,
    after: Size,
}

/// What a log keeps, in bytes.
pub(crate) fn size(stored: &Stored) -> Size {
    (!stored.head.frontier.gone).then(|| stored.kept_bytes())
}

impl Change {
    /// The change of a log from what the index has, `before`, to `stored`.
    pub(crate) fn to(id: LogId, before: Option<&Stored>, stored: &Stored) -> Self {
        let before = before.and_then(size);
        Self { id, owner: stored.head.owner.clone(), before, after: size(stored) }
    }
}

impl Count {
    /// Counts changes; `is_stale` says of a log that was counted before whether the index has something else.
    fn take_in<E>(
        &mut self,
        changes: &[&Change],
        mut is_stale: impl FnMut(LogId, Size) -> Result<bool, E>,
    ) -> Result<(), E> {
        let counted = std::mem::take(&mut self.counted);
        for change in changes {
            let known = counted.iter().find(|(id, _)| *id == change.id);
            self.kept.change(known.map_or(change.before, |(_, size)| *size), change.after);
            self.counted.push((change.id, change.after));
        }
        for (id, size) in counted {
            if !changes.iter().any(|change| change.id == id) && is_stale(id, size)? {
                self.counted.push((id, size));
            }
        }
        Ok(())
    }
}

impl Kept {
    /// A log has become larger or smaller, has come or gone.
    pub(crate) fn change(&mut self, before: Size, after: Size) {
        self.logs = self.logs.saturating_add(after.map_or(0, |_| 1)).saturating_sub(before.map_or(0, |_| 1));
        self.bytes = self.bytes.saturating_add(after.unwrap_or(0)).saturating_sub(before.unwrap_or(0));
    }
}

/// The counts that are in memory.
#[derive(Debug)]
pub(crate) struct Accounts {
    quotas: Quotas,
    books: Mutex<Books>,
    /// Held while counts are written, and while one is read beside what memory has: so that no change is counted twice or not at
    /// all. Before `books`; the writer never takes it.
    counting: Mutex<()>,
}

#[derive(Debug, Default)]
struct Books {
    /// Whether the index has everything. Until then it may have been left in the middle of a group.
    begun: bool,
    /// All owners, with what the index does not have yet.
    total: Kept,
    reserved: Kept,
    owners: HashMap<Owner, Account>,
}

/// An owner with changes that the index does not have, or with new logs under way.
#[derive(Debug, Default)]
struct Account {
    /// What the index says; known as long as there are holds.
    indexed: Kept,
    holds: usize,
    /// What came, and what went, since.
    gained: Kept,
    lost: Kept,
    /// What was admitted and is not shown yet.
    reserved: Kept,
}

impl Account {
    fn kept(&self, indexed: Kept) -> Kept {
        indexed.plus(self.gained).minus(self.lost)
    }

    fn is_idle(&self) -> bool {
        self.holds == 0 && self.gained == self.lost
    }

    fn change(&mut self, before: Size, after: Size) {
        self.gained.change(None, after);
        self.lost.change(None, before);
        // Only the difference matters; without this they would grow for ever.
        let both = Kept {
            logs: self.gained.logs.min(self.lost.logs),
            bytes: self.gained.bytes.min(self.lost.bytes),
        };
        (self.gained, self.lost) = (self.gained.minus(both), self.lost.minus(both));
    }
}

impl Kept {
    fn plus(self, other: Self) -> Self {
        Self { logs: self.logs.saturating_add(other.logs), bytes: self.bytes.saturating_add(other.bytes) }
    }

    fn minus(self, other: Self) -> Self {
        Self { logs: self.logs.saturating_sub(other.logs), bytes: self.bytes.saturating_sub(other.bytes) }
    }
}

/// Keeps in memory what the index says of an owner, for a log of it that is about to be made.
#[derive(Debug)]
pub(crate) struct Hold {
    accounts: Arc<Accounts>,
    owner: Owner,
    reserved: Kept,
}

impl Hold {
    /// Takes a place for a log of `bytes` bytes, until this value is dropped. Only the writer may call this.
    ///
    /// # Errors
    /// [`WriteError::Full`].
    pub(crate) fn admit(&mut self, bytes: u64) -> Result<(), WriteError> {
        let new = Kept { logs: 1, bytes };
        let mut books = self.accounts.books();
        let total = books.total.plus(books.reserved).plus(new);
        let account = books.owners.entry(self.owner.clone()).or_default();
        let own = account.kept(account.indexed).plus(account.reserved).plus(new);
        self.accounts.quotas.check(own, total).map_err(WriteError::Full)?;
        account.reserved = account.reserved.plus(new);
        books.reserved = books.reserved.plus(new);
        self.reserved = new;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut books = self.accounts.books();
        books.reserved = books.reserved.minus(self.reserved);
        if let Some(account) = books.owners.get_mut(&self.owner) {
            account.reserved = account.reserved.minus(self.reserved);
            account.holds = account.holds.saturating_sub(1);
            if account.is_idle() {
                books.owners.remove(&self.owner);
            }
        }
    }
}

impl Accounts {
    pub(crate) fn new(quotas: Quotas) -> Arc<Self> {
        Arc::new(Self { quotas, books: Mutex::default(), counting: Mutex::default() })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with what the index says, which has everything now.
    pub(crate) fn begin(&self, index: &Index) -> Result<(), IndexError> {
        let total = index.count_of(None)?.unwrap_or_default().kept;
        *self.books() = Books { begun: true, total, ..Books::default() };
        Ok(())
    }

    /// What all owners keep.
    pub(crate) fn total(&self) -> Kept {
        self.books().total
    }

    /// What an owner keeps. Blocks on the disk.
    pub(crate) fn of(&self, index: &Index, owner: &Owner) -> Result<Kept, IndexError> {
        let _counting = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        let indexed = index.count_of(Some(owner))?.unwrap_or_default().kept;
        Ok(self.books().owners.get(owner).map_or(indexed, |account| account.kept(indexed)))
    }

    /// Whether new logs need a [`Hold`] at all.
    pub(crate) fn has_quotas(&self) -> bool {
        self.quotas != Quotas::default()
    }

    /// A hold on an owner that memory knows well enough.
    pub(crate) fn hold_known(self: &Arc<Self>, owner: &Owner) -> Option<Hold> {
        let mut books = self.books();
        let account = books.owners.get_mut(owner).filter(|account| account.holds > 0)?;
        account.holds += 1;
        Some(Hold { accounts: Arc::clone(self), owner: owner.clone(), reserved: Kept::default() })
    }

    /// A hold on an owner. Blocks on the disk.
    pub(crate) fn hold(self: &Arc<Self>, index: &Index, owner: &Owner) -> Result<Hold, IndexError> {
        let _counting = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        let indexed = index.count_of(Some(owner))?.unwrap_or_default().kept;
        let mut books = self.books();
        let account = books.owners.entry(owner.clone()).or_default();
        account.indexed = indexed;
        account.holds += 1;
        Ok(Hold { accounts: Arc::clone(self), owner: owner.clone(), reserved: Kept::default() })
    }

    /// A log has changed, and memory alone knows.
    pub(crate) fn show(&self, before: Option<&Stored>, after: &Stored) {
        let (before, after_size) = (before.and_then(size), size(after));
        if before == after_size {
            return;
        }
        let mut books = self.books();
        books.total.change(before, after_size);
        match books.owners.get_mut(&after.head.owner) {
            Some(account) => account.change(before, after_size),
            None => {
                let mut account = Account::default();
                account.change(before, after_size);
                books.owners.insert(after.head.owner.clone(), account);
            }
        }
    }

    /// Counts logs in the index that are about to change there: at most [`GROUP`]. Returns the owners that keep nothing any more:
    /// their counts may go once the logs have.
    pub(crate) fn count(&self, index: &Index, changes: &[Change]) -> Result<Vec<Owner>, IndexError> {
        let _counting = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        let replays = !self.books().begun;
        let is_stale = |id, size_then| -> Result<bool, IndexError> {
            Ok(replays && index.head(id)?.and_then(|stored| size(&stored)) != size_then)
        };
        let mut of_owner: BTreeMap<&Owner, Vec<&Change>> = BTreeMap::new();
        for change in changes {
            of_owner.entry(&change.owner).or_default().push(change);
        }
        let (mut counts, mut emptied) = (Vec::with_capacity(of_owner.len()), Vec::new());
        for (owner, changes) in &of_owner {
            let mut count = index.count_of(Some(owner))?.unwrap_or_default();
            count.take_in(changes, is_stale)?;
            index.put_count(Some(owner), &count)?;
            if count.kept.logs == 0 && count.counted.len() == changes.len() {
                emptied.push(Owner::clone(owner));
            }
            counts.push((*owner, count.kept));
        }
        let mut total = index.count_of(None)?.unwrap_or_default();
        total.take_in(&changes.iter().collect::<Vec<_>>(), is_stale)?;
        index.put_count(None, &total)?;
        let mut books = self.books();
        for (owner, indexed) in counts {
            let Some(account) = books.owners.get_mut(owner) else { continue };
            account.indexed = indexed;
            for change in of_owner.get(owner).into_iter().flatten() {
                // What the index has now is no difference any more.
                account.change(change.after, change.before);
            }
            if account.is_idle() {
                books.owners.remove(owner);
            }
        }
        Ok(emptied)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> LogId {
        LogId::from_bytes([number; 16])
    }

    /// An index with one owner: the heads of its logs, and their count.
    #[derive(Default)]
    struct Indexed {
        heads: BTreeMap<LogId, u64>,
        count: Count,
    }

    impl Indexed {
        /// Writes what a part of the log says, in groups; stops after so many writes, as a crash does. Returns whether it came to
        /// the end.
        fn run(&mut self, part: &[(u8, Size)], group: usize, replays: bool, mut writes: usize) -> bool {
            let last: BTreeMap<LogId, Size> =
                part.iter().map(|(number, size)| (id(*number), *size)).collect();
            let changes: Vec<Change> = last
                .into_iter()
                .map(|(id, after)| {
                    let before = self.heads.get(&id).copied();
                    Change { id, owner: Owner::new("a").unwrap(), before, after }
                })
                .collect();
            for changes in changes.chunks(group) {
                let mut next = || {
                    let is_left = writes > 0;
                    writes = writes.saturating_sub(1);
                    is_left
                };
                if !next() {
                    return false;
                }
                let heads = &self.heads;
                let is_stale = |id, size| Ok::<_, Infallible>(replays && heads.get(&id).copied() != size);
                self.count.take_in(&changes.iter().collect::<Vec<_>>(), is_stale).unwrap();
                for change in changes {
                    if !next() {
                        return false;
                    }
                    match change.after {
                        Some(size) => self.heads.insert(change.id, size),
                        None => self.heads.remove(&change.id),
                    };
                }
            }
            true
        }
    }

    proptest! {
        /// A count is right whatever crashes come between it and the heads that it counts, however the log is cut into groups then.
        #[test]
        fn a_count_survives_crashes_at_any_write(
            log in prop::collection::vec((0u8..9, prop::option::of(0u16..1000)), 1..80),
            runs in prop::collection::vec((1usize..30, 1usize..5, 0usize..40), 1..30),
        ) {
            let log: Vec<(u8, Size)> = log.into_iter().map(|(id, size)| (id, size.map(u64::from))).collect();
            let mut index = Indexed::default();
            let (mut covered, mut seen) = (0, 0);
            let whole = (log.len(), 3, usize::MAX);
            for (length, group, writes) in runs.into_iter().chain([whole]) {
                let end = (covered + length).min(log.len());
                let replays = covered < seen;
                seen = seen.max(end);
                if index.run(&log[covered..end], group, replays, writes) {
                    covered = end;
                }
            }
            prop_assert_eq!(covered, log.len());
            let kept = Kept { logs: index.heads.len() as u64, bytes: index.heads.values().sum() };
            prop_assert_eq!(index.count.kept, kept);
        }
    }
}
