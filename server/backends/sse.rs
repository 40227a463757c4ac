//! The decoder of server-sent events.
//!
//! It owns the grammar of the stream (WHATWG HTML, "server-sent events"): bytes go in as they come, whole events come out,
//! whichever way the bytes were split. It must never know what an event means or where the bytes come from.
//!
//! Two things differ from a browser, on purpose: an event has a largest size, and bytes that are not UTF-8 are an error and
//! not replaced. `id` and `retry` are read over: they serve reconnecting, and a backend's stream is never reconnected to.

use std::str;

use memchr::{memchr, memchr2};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The name of an event that does not say its own.
const UNNAMED: &str = "message";

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// What its `event` field says; `message` if it says nothing.
    pub name: &'a str,
    /// Its `data` fields, joined by LF.
    pub data: &'a str,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// An event, or one line, is larger than the limit.
    #[error("an event is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A line is not UTF-8.
    #[error("a line is not UTF-8")]
    NotUtf8,
}

/// Turns bytes into events. Use: [`push`](Self::push), then [`next_event`](Self::next_event) until it answers `None`, and again.
///
/// It holds at most the limit and what one push brought.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// What was pushed and not yet read, from `start` on.
    pushed: Vec<u8>,
    /// Where the first unread line begins.
    start: usize,
    /// How much of `pushed` is known to hold no end of the first unread line.
    scanned: usize,
    /// Nothing was read yet, so that a byte order mark may come.
    at_start: bool,
    /// The last line ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    /// The data of the event being read, each line with an LF.
    data: String,
    /// The name of the event being read.
    name: String,
    /// The bytes of the lines of the event being read.
    size: usize,
    /// `data` and `name` are of an event that was handed out.
    handed_out: bool,
    failed: Option<DecodeError>,
}

impl Decoder {
    /// A decoder for events of at most `limit` bytes: the lines of one event, its field names included, comments and line ends
    /// not. A comment line, too, must fit into what its event has left.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            pushed: Vec::new(),
            start: 0,
            scanned: 0,
            at_start: true,
            after_cr: false,
            data: String::new(),
            name: String::new(),
            size: 0,
            handed_out: false,
            failed: None,
        }
    }

    /// Takes more bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pushed.drain(..self.start);
        self.scanned = self.scanned.saturating_sub(self.start);
        self.start = 0;
        self.pushed.extend_from_slice(bytes);
    }

    /// The next whole event, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`DecodeError`], for good: the same again at each further call.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.handed_out {
            self.forget();
        }
        match self.read_event() {
            Ok(false) => Ok(None),
            Ok(true) => {
                self.handed_out = true;
                let name = if self.name.is_empty() { UNNAMED } else { &self.name };
                Ok(Some(Event { name, data: self.data.strip_suffix('\n').unwrap_or(&self.data) }))
            }
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// Whether the stream, if it ended here, would end inside of an event, which is then lost as the grammar demands.
    pub fn inside_event(&self) -> bool {
        self.start < self.pushed.len() || (!self.data.is_empty() && !self.handed_out)
    }

    /// Reads lines up to the end of an event. `false` if the bytes do not reach that far.
    fn read_event(&mut self) -> Result<bool, DecodeError> {
        if self.at_start && !self.skip_bom() {
            return Ok(false);
        }
        loop {
            self.skip_lf();
            let Some(length) = self.line_length() else {
                return if self.unread() > self.room() { Err(self.too_large()) } else { Ok(false) };
            };
            if length > self.room() {
                return Err(self.too_large());
            }
            if length == 0 {
                self.end_line(0);
                if !self.data.is_empty() {
                    return Ok(true);
                }
                self.forget();
            } else {
                self.read_line(length)?;
                self.end_line(length);
            }
        }
    }

    /// Passes a byte order mark. `false` if the bytes so far may be the beginning of one.
    fn skip_bom(&mut self) -> bool {
        if self.pushed.len() < BOM.len() && BOM.starts_with(&self.pushed) {
            return false;
        }
        if self.pushed.starts_with(BOM) {
            self.start = BOM.len();
            self.scanned = BOM.len();
        }
        self.at_start = false;
        true
    }

    /// Passes the LF of a CR LF whose CR has ended the last line already.
    fn skip_lf(&mut self) {
        let next = self.pushed.get(self.start).copied();
        if self.after_cr && next == Some(b'\n') {
            self.start += 1;
            self.scanned = self.start;
        }
        if next.is_some() {
            self.after_cr = false;
        }
    }

    /// The length of the first unread line, or `None` if its end has not come.
    fn line_length(&mut self) -> Option<usize> {
        let from = self.scanned.max(self.start);
        let found = memchr2(b'\r', b'\n', self.pushed.get(from..).unwrap_or_default());
        self.scanned = found.map_or(self.pushed.len(), |at| from + at);
        found.map(|_| self.scanned - self.start)
    }

    /// Passes the line of this length and the first byte of its end.
    fn end_line(&mut self, length: usize) {
        self.start += length;
        self.after_cr = self.pushed.get(self.start) == Some(&b'\r');
        self.start += 1;
        self.scanned = self.start;
    }

    fn read_line(&mut self, length: usize) -> Result<(), DecodeError> {
        let line = self.pushed.get(self.start..self.start + length).unwrap_or_default();
        let line = str::from_utf8(line).map_err(|_| DecodeError::NotUtf8)?;
        let (field, value) =
            match memchr(b':', line.as_bytes()).and_then(|colon| line.split_at_checked(colon)) {
                Some(("", _)) => return Ok(()),
                Some((field, rest)) => {
                    (field, rest.strip_prefix(": ").or_else(|| rest.strip_prefix(':')).unwrap_or(rest))
                }
                None => (line, ""),
            };
        self.size += length;
        match field {
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "event" => {
                self.name.clear();
                self.name.push_str(value);
            }
            _ => {}
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.data.clear();
        self.name.clear();
        self.size = 0;
        self.handed_out = false;
    }

    fn unread(&self) -> usize {
        self.pushed.len() - self.start
    }

    /// How many bytes the event being read may still have.
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.size)
    }

    fn too_large(&self) -> DecodeError {
        DecodeError::TooLarge { limit: self.limit }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 64;

    type Outcome = (Vec<(String, String)>, Option<DecodeError>, bool);

    /// What comes out if the bytes come in these pieces.
    fn decode<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
        let mut decoder = Decoder::new(limit);
        let mut events = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            loop {
                match decoder.next_event() {
                    Ok(Some(event)) => events.push((event.name.to_owned(), event.data.to_owned())),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(decoder.next_event(), Err(error), "an error is for good");
                        return (events, Some(error), false);
                    }
                }
            }
        }
        (events, None, decoder.inside_event())
    }

    fn data(texts: &[&str]) -> Vec<(String, String)> {
        texts.iter().map(|text| (UNNAMED.to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn reads_every_form_of_the_grammar() {
        let table: [(&str, &[&str]); 19] = [
            ("data: a\n\n", &["a"]),
            ("data:a\n\n", &["a"]),
            ("data:  a\n\n", &[" a"]),
            ("data: a\r\n\r\n", &["a"]),
            ("data: a\r\r", &["a"]),
            ("data: a\n\r\n", &["a"]),
            ("data: a\r\n\n", &["a"]),
            ("data: a\ndata:b\ndata\n\n", &["a\nb\n"]),
            ("data\n\n", &[""]),
            ("data:\ndata:\n\n", &["\n"]),
            (": a comment\n\ndata: a\n\n", &["a"]),
            ("data: a\n: a comment\ndata: b\n\n", &["a\nb"]),
            ("id: 7\nretry: 10\nunknown: x\nlonely\ndata: a\n\n", &["a"]),
            ("id: 7\n\ndata: a\n\n", &["a"]),
            ("\u{feff}data: a\n\n", &["a"]),
            ("\u{feff}\u{feff}data: a\n\ndata: b\n\n", &["b"]),
            ("data: a: b\n\n\n\ndata: ü€😀\n\n", &["a: b", "ü€😀"]),
            (" data: a\n\nDATA: b\n\n", &[]),
            ("data: a\u{2028}b\u{85}c\n\n", &["a\u{2028}b\u{85}c"]),
        ];
        for (text, expected) in table {
            assert_eq!(decode(LIMIT, [text.as_bytes()]), (data(expected), None, false), "{text:?}");
            assert_eq!(
                decode(LIMIT, text.as_bytes().chunks(1)),
                (data(expected), None, false),
                "{text:?} by the byte"
            );
        }
    }

    #[test]
    fn a_name_belongs_to_one_event() {
        let text = "event: one\nevent: error\ndata: a\n\nevent: lost\n\ndata: b\n\nevent:\ndata: c\n\n";
        let (events, ..) = decode(LIMIT, [text.as_bytes()]);
        assert_eq!(
            events,
            [("error", "a"), (UNNAMED, "b"), (UNNAMED, "c")].map(|(n, d)| (n.to_owned(), d.to_owned()))
        );
    }

    #[test]
    fn an_event_comes_out_at_the_carriage_return_that_ends_it() {
        assert_eq!(decode(LIMIT, [b"data: a\r\n\r".as_slice()]).0, data(&["a"]));
    }

    #[test]
    fn an_end_inside_of_an_event_is_told() {
        for unfinished in ["d", "data: a", "data: a\n", "data: a\r\n", "\u{feff}data: a", ": comment"] {
            assert_eq!(decode(LIMIT, [unfinished.as_bytes()]), (Vec::new(), None, true), "{unfinished:?}");
        }
        assert_eq!(decode(LIMIT, [b"\xef\xbb".as_slice()]), (Vec::new(), None, true));
        for finished in ["", "\u{feff}", "event: x\n", ": comment\n"] {
            assert_eq!(decode(LIMIT, [finished.as_bytes()]), (Vec::new(), None, false), "{finished:?}");
        }
    }

    #[test]
    fn the_limit_holds_for_events_and_lines_and_no_earlier() {
        let line = |length: usize| format!("data:{}\n", "x".repeat(length - 5));
        assert_eq!(decode(LIMIT, [(line(LIMIT) + "\n").as_bytes()]).0.len(), 1);
        let halves = line(LIMIT / 2).repeat(2);
        assert_eq!(
            decode(LIMIT, [(halves.clone() + ":\n\n").as_bytes()]).1,
            Some(DecodeError::TooLarge { limit: LIMIT })
        );
        assert_eq!(decode(LIMIT, [(halves.clone() + "\n").repeat(3).as_bytes()]).0.len(), 3);
        let endless = "x".repeat(LIMIT + 1);
        for text in [line(LIMIT + 1), halves + "id\n", endless.clone(), format!(":{endless}")] {
            let whole = decode(LIMIT, [text.as_bytes()]);
            assert_eq!(whole, (Vec::new(), Some(DecodeError::TooLarge { limit: LIMIT }), false), "{text}");
            assert_eq!(decode(LIMIT, text.as_bytes().chunks(1)), whole, "{text}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_an_error_after_the_events_before_it() {
        for bad in [b"data: \xff\n\n".as_slice(), b": \xc3\n", b"data: \xe2\x82\n\xac\n\n"] {
            let stream = [b"data: a\n\n".as_slice(), bad].concat();
            assert_eq!(decode(LIMIT, [stream.as_slice()]), (data(&["a"]), Some(DecodeError::NotUtf8), false));
        }
    }

    #[test]
    fn a_long_line_in_small_pieces_takes_linear_time() {
        let began = Instant::now();
        let mut decoder = Decoder::new(8 << 20);
        for _ in 0..(4 << 20) / 16 {
            decoder.push(b"0123456789abcdef");
            assert_eq!(decoder.next_event(), Ok(None));
        }
        assert!(began.elapsed() < Duration::from_secs(20), "scanned again from the start each time");
    }

    fn fragment() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::sample::select(vec![
                "data", "data:", "data: ", "event: e", "id: 1", "retry: 1", ":", "\n", "\r", "\r\n", "\n\n",
                "\r\n\r\n", "ü", "😀", "\u{feff}", " ",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            vec(any::<u8>(), 0..4),
            "[a-z]{0,40}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn the_way_the_bytes_are_split_changes_nothing(
            fragments in vec(fragment(), 0..40),
            lengths in vec(1..9_usize, 1..8),
        ) {
            let stream = fragments.concat();
            let whole = decode(LIMIT, [stream.as_slice()]);
            prop_assert_eq!(&decode(LIMIT, stream.chunks(1)), &whole);
            let (mut rest, mut pieces, mut lengths) = (stream.as_slice(), Vec::new(), lengths.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(lengths.next().unwrap().min(rest.len()));
                pieces.push(piece);
                rest = left;
            }
            prop_assert_eq!(&decode(LIMIT, pieces), &whole);
        }
    }
}
