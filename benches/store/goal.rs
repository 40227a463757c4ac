//! Goals, and the rows that say whether they are met.

/// What a figure shall be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
    /// It only explains another one.
    None,
}

/// One goal and what was measured.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) goal: String,
    pub(crate) unit: &'static str,
    /// What the plain file does; absent = it has no such thing.
    pub(crate) file: Option<f64>,
    pub(crate) store: f64,
    pub(crate) aim: Aim,
}

impl Row {
    pub(crate) fn print(&self) {
        let Self { goal, unit, store, aim, .. } = self;
        let file = self.file.map_or(String::new(), number);
        let (aim, met) = match *aim {
            Aim::AtLeast(least) => (format!("≥ {}", number(least)), yes_or_no(*store >= least)),
            Aim::AtMost(most) => (format!("≤ {}", number(most)), yes_or_no(*store <= most)),
            Aim::None => (String::new(), ""),
        };
        println!("| {goal} | {unit} | {file} | {} | {aim} | {met} |", number(*store));
    }
}

pub(crate) fn print_head() {
    println!("| goal | unit | plain file | store | aim | met |\n|---|---|---:|---:|---:|---|");
}

fn yes_or_no(met: bool) -> &'static str {
    if met { "yes" } else { "**no**" }
}

/// Three digits that count, and no fraction where it says nothing.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.2} M", value / 1e6),
        size if size >= 1e4 => format!("{:.0} k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
