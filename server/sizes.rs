//! Lists: how large their pages are, and in which order they come (U-15).
//!
//! It owns the rule for what a caller asks for, and the bounds of a page. It must never know what is listed.

/// The most bytes of JSON in one page, unless its first entry alone has more: half of what a message may hold.
pub(crate) const MAX_PAGE_BYTES: usize = tidemark_proto::MAX_MESSAGE_BYTES / 2;

/// In which order a list comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first one first.
    Ascending,
    /// The last one first.
    Descending,
}

/// How many entries the pages of one kind of list have.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// When the caller does not say.
    pub default: u32,
    /// At most.
    pub max: u32,
}

impl Sizes {
    /// The size to use when `asked` was asked for; 0 = nothing was asked for.
    pub fn of(self, asked: u32) -> u32 {
        if asked == 0 { self.default } else { asked.min(self.max) }
    }
}

/// A page being filled: bounded in entries and in bytes.
#[derive(Debug)]
pub(crate) struct Page<T> {
    entries: Vec<T>,
    size: usize,
    bytes: usize,
}

impl<T> Page<T> {
    /// An empty page for at most `size` entries.
    pub(crate) fn new(size: u32) -> Self {
        Self { entries: Vec::new(), size: usize::try_from(size).unwrap_or(usize::MAX), bytes: 0 }
    }

    /// Whether it takes no further entry, however small.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.size
    }

    /// Adds an entry of so many bytes, unless it does not fit. The first one always does.
    pub(crate) fn push(&mut self, entry: T, bytes: usize) -> bool {
        let total = self.bytes.saturating_add(bytes);
        let fits = self.entries.is_empty() || (!self.is_full() && total <= MAX_PAGE_BYTES);
        if fits {
            self.entries.push(entry);
            self.bytes = total;
        }
        fits
    }

    /// The entry that was added last.
    pub(crate) fn last(&self) -> Option<&T> {
        self.entries.last()
    }

    /// All entries in their order.
    pub(crate) fn into_entries(self) -> Vec<T> {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_clamped() {
        let sizes = Sizes { default: 20, max: 100 };
        assert_eq!([0, 1, 100, 101, u32::MAX].map(|asked| sizes.of(asked)), [20, 1, 100, 100, 100]);
    }

    #[test]
    fn a_page_ends_at_its_size_or_its_bytes_but_takes_one_entry_always() {
        let mut page = Page::new(3);
        assert!(page.push('a', MAX_PAGE_BYTES * 2));
        assert!(!page.push('b', 1));
        assert_eq!((page.last(), page.is_full()), (Some(&'a'), false));
        let mut page = Page::new(3);
        assert!(page.push('a', 1) && page.push('b', MAX_PAGE_BYTES - 1) && page.push('c', 0));
        assert!(page.is_full() && !page.push('d', 0));
        assert_eq!(page.into_entries(), ['a', 'b', 'c']);
    }
}
