//! How large the pages of lists are (U-15).
//!
//! It owns the rule for what a caller asks for. It must never know what is listed.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_clamped() {
        let sizes = Sizes { default: 20, max: 100 };
        assert_eq!([0, 1, 100, 101, u32::MAX].map(|asked| sizes.of(asked)), [20, 1, 100, 100, 100]);
    }
}
