//! A data directory with frames of every kind, as this version wrote it, and what may happen to one on a disk.
//!
//! `tests/fixtures/frames/` never changes: a format that changes gets a directory of its own beside it. `frames.txt` says what is in
//! it, one line for each log and record.

mod author;

use std::collections::BTreeSet;

use super::*;
use crate::embedded::change::{self, Change};
use crate::embedded::frame::{Frame, Lsn};
use crate::embedded::standing::{End, Standing};
use crate::types::{Frontier, Head};

const OPTIONS: fn(Durability) -> Options = |durability| Options {
    durability,
    caps: Caps { entries: Some(20), bytes: None },
    segment_bytes: 4 << 10,
    ..Options::default()
};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// A copy that may be changed.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(&fixtures().join("frames"), copy.path());
    copy
}

fn described() -> String {
    fs::read_to_string(fixtures().join("frames.txt")).unwrap()
}

fn open(dir: &Path) -> Result<Arc<EmbeddedStore>, OpenError> {
    EmbeddedStore::open(dir, OPTIONS(Durability::Sync)).map(Arc::new)
}

fn log(number: u8) -> LogId {
    LogId::from_bytes([number; 16])
}

/// What can be read of a store: a line for each log and record. Asserts that nothing that reads has a hole.
async fn tell(store: &EmbeddedStore) -> String {
    let mut lines = Vec::new();
    for id in store.logs(None, 1000).await.unwrap() {
        lines.push(tell_log(store, id).await);
    }
    for (key, record) in store.records(b"", None, 1000).await.unwrap() {
        let key = String::from_utf8_lossy(&key).into_owned();
        lines.push(format!("record {key}: version {}, {:?}", record.version.0, record.value));
    }
    lines.join("\n") + "\n"
}

async fn tell_log(store: &EmbeddedStore, id: LogId) -> String {
    let head = store.head(id).await.unwrap().unwrap();
    let document = store.document(id).await.map(|document| crc32c::crc32c(&document));
    let document = document.map_or_else(|_| "unreadable".to_owned(), |sum| format!("{sum:08x}"));
    let mut entries = Vec::new();
    let mut next = Seq::after(head.frontier.watermark);
    while next <= head.frontier.committed {
        let batch = match store.read(id, next.previous(), ReadLimit::default()).await {
            Ok(batch) => batch,
            Err(error) => {
                assert!(matches!(error, ReadError::Broken(_)), "{error}");
                entries.push("unreadable".to_owned());
                break;
            }
        };
        for entry in batch.entries {
            assert_eq!(entry.first, next, "log {id} has a hole");
            entries.push(format!("{}-{}:{:08x}", entry.first, entry.seq, crc32c::crc32c(&entry.payload)));
            next = entry.seq.next();
        }
    }
    format!("log {id} of {}: {}, document {document}, {}", head.owner, tell_head(&head), entries.join(" "))
}

fn tell_head(head: &Head) -> String {
    let Frontier { committed, watermark, closed, .. } = head.frontier;
    format!(
        "status {}, epoch {}, made at {}, committed {committed}, closed {closed}, watermark {watermark:?}, \
         recovered through {:?}, generation {}, compacts at {:?}, expires at {:?}, retains {} entries of {} bytes",
        head.status,
        head.epoch,
        head.created_at.0,
        head.recovered_through,
        head.generation,
        head.compacts_at,
        head.expires_at,
        head.retained_entries,
        head.retained_bytes,
    )
}

/// The frames of every segment and stub.
fn frames(dir: &Path) -> Vec<Frame> {
    let found = segment::list(&dir.join("log")).unwrap();
    let known = segment::Segments::new(dir.join("log"), &found);
    let of_file = |found: &segment::Found| match found.is_stub {
        true => stub::read(&known.path(found.base)).unwrap(),
        false => segment::Scan::open(&known, found.base, found.base).unwrap().collect(),
    };
    found.iter().flat_map(of_file).collect()
}

fn standing_of(change: &Change) -> Option<Standing> {
    match change {
        Change::Create(create) => Some(create.standing),
        Change::Append(append) => Some(append.standing),
        Change::Rewrite(rewrite) => Some(rewrite.standing),
        Change::Open { .. } | Change::Purge(_) | Change::Record(_) => None,
    }
}

#[tokio::test]
async fn all_that_this_format_can_say_is_found() {
    let copy = copy();
    let mut seen = BTreeSet::new();
    for frame in frames(copy.path()) {
        let change = Change::read(frame.kind, &frame.payload).unwrap();
        let mut written = Vec::new();
        change.put(&mut written);
        assert_eq!(written, frame.payload, "this version writes other bytes for {change:?}");
        seen.insert(format!("kind {}", frame.kind));
        if let Some(standing) = standing_of(&change) {
            seen.extend(standing.watermark.map(|_| "watermark".to_owned()));
            seen.extend(standing.recovered_through.map(|_| "recovered".to_owned()));
            seen.extend((standing.generation > 0).then(|| "generation".to_owned()));
            seen.extend(matches!(standing.end, End::Closed(_)).then(|| "closed".to_owned()));
            seen.extend(standing.has_blobs.then(|| "blobs".to_owned()));
        }
        match change {
            Change::Rewrite(change::Rewrite { merges, moved, .. }) => {
                seen.insert(format!("rewrite that merges: {merges}, moves: {}", moved.is_some()));
            }
            Change::Record(change::PutRecord { version, value, .. }) => {
                seen.insert(format!(
                    "record that is copied: {}, set: {}",
                    version.is_some(),
                    value.is_some()
                ));
            }
            Change::Open { durability, .. } => drop(seen.insert(format!("{durability:?}"))),
            Change::Create(_) | Change::Append(_) | Change::Purge(_) => {}
        }
    }
    for expected in [
        "Os",
        "Sync",
        "blobs",
        "closed",
        "generation",
        "kind 1",
        "kind 2",
        "kind 3",
        "kind 4",
        "kind 5",
        "kind 6",
        "record that is copied: false, set: false",
        "record that is copied: false, set: true",
        "record that is copied: true, set: true",
        "recovered",
        "rewrite that merges: false, moves: true",
        "rewrite that merges: true, moves: false",
        "watermark",
    ] {
        assert!(seen.contains(expected), "no frame has: {expected}");
    }
    let found = segment::list(&copy.path().join("log")).unwrap();
    assert!(found.iter().any(|found| found.is_stub));
    assert_eq!(tell(&open(copy.path()).unwrap()).await, described());
}

/// Asserts that the store in `dir` is opened and has everything, with its index and without.
async fn assert_recovers(dir: &Path, what: &str) {
    assert_eq!(tell(&open(dir).unwrap()).await, described(), "{what}");
    fs::remove_dir_all(dir.join("index")).unwrap();
    assert_eq!(tell(&open(dir).unwrap()).await, described(), "{what}, without its index");
}

/// Asserts that the store in `dir` is refused in these words, and stays as it is.
fn assert_refused(dir: &Path, words: &[&str]) {
    let before: Vec<_> = segments(dir).iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    let error = open(dir).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    }
    let after: Vec<_> = segments(dir).iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    assert!(before == after, "something was changed after all: {error}");
}

/// The problems that a check finds, a line for each.
fn problems(dir: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    EmbeddedStore::check(dir, &mut |problem| problems.push(problem.to_string())).unwrap();
    problems
}

/// Asserts that what can be read is what was written, and that something cannot.
async fn assert_says_what_is_lost(dir: &Path) {
    let told = tell(&open(dir).unwrap()).await;
    let lost: Vec<_> = told.lines().filter(|line| line.contains("unreadable")).collect();
    assert!(!lost.is_empty());
    let described = described();
    for line in told.lines().filter(|line| !line.contains("unreadable")) {
        assert!(described.lines().any(|written| written == line), "nobody wrote {line}");
    }
    assert_eq!(told.lines().count(), described.lines().count());
}

fn without_index(dir: &Path) {
    fs::remove_dir_all(dir.join("index")).unwrap();
}

/// The segments that are no stubs, the oldest first.
fn real_segments(dir: &Path) -> Vec<PathBuf> {
    let found = segment::list(&dir.join("log")).unwrap();
    let known = segment::Segments::new(dir.join("log"), &found);
    found.iter().filter(|found| !found.is_stub).map(|found| known.path(found.base)).collect()
}

#[tokio::test]
async fn a_torn_tail_is_cut_off() {
    let last = {
        let copy = copy();
        let path = segments(copy.path()).pop().unwrap();
        fs::read(path).unwrap()
    };
    for torn in [1, 19, 20, 300] {
        let copy = copy();
        let path = segments(copy.path()).pop().unwrap();
        // What follows begins like a frame that has its place elsewhere.
        fs::write(&path, [&last[..], &last[32..32 + torn]].concat()).unwrap();
        assert_recovers(copy.path(), &format!("{torn} bytes of a torn write")).await;
    }
}

#[tokio::test]
async fn a_flipped_bit_is_refused_or_is_an_error_to_whoever_reads_there() {
    let whole = copy();
    for (nth, path) in real_segments(whole.path()).into_iter().enumerate() {
        let bytes = fs::read(&path).unwrap();
        let name = path.file_name().unwrap();
        // The end of the newest could be a torn write.
        for at in (40..bytes.len().saturating_sub(600)).step_by(311) {
            let copy = copy();
            let path = copy.path().join("log").join(name);
            let mut damaged = bytes.clone();
            damaged[at] ^= 16;
            fs::write(&path, damaged).unwrap();
            let problems = problems(copy.path());
            let place = path.display().to_string();
            assert!(
                problems
                    .iter()
                    .any(|found| found.contains(&place) && found.contains("restore the data directory")),
                "segment {nth}, byte {at}: {problems:?}"
            );
            // The index covers it: nobody reads the frame before somebody asks for what is in it.
            let told = tell(&open(copy.path()).unwrap()).await;
            let described = described();
            for line in told.lines().filter(|line| !line.contains("unreadable")) {
                assert!(described.lines().any(|written| written == line), "nobody wrote {line}");
            }
            without_index(copy.path());
            assert_refused(
                copy.path(),
                &[&place, "is damaged at byte", "restore the data directory from a copy"],
            );
        }
    }
}

#[tokio::test]
async fn a_missing_segment_or_stub_is_refused() {
    let count = segments(copy().path()).len();
    for nth in 1..count - 1 {
        let copy = copy();
        fs::remove_file(&segments(copy.path())[nth]).unwrap();
        assert_refused(copy.path(), &["a segment is missing", "restore the data directory from a copy"]);
        without_index(copy.path());
        assert_refused(copy.path(), &["a segment is missing", "restore the data directory from a copy"]);
    }
    let copy = copy();
    fs::remove_file(segments(copy.path()).pop().unwrap()).unwrap();
    assert_refused(copy.path(), &["the end of the log is missing", "restore the data directory from a copy"]);
    let problems = problems(copy.path());
    assert!(problems[0].contains("or give up what is missing with `tidemark store rebuild`"), "{problems:?}");
}

#[tokio::test]
async fn a_missing_oldest_segment_is_refused_as_long_as_the_index_knows_of_it() {
    let copy = copy();
    let oldest = segments(copy.path()).remove(0);
    fs::remove_file(&oldest).unwrap();
    let words = [oldest.to_str().unwrap(), "a segment is missing", "restore the data directory from a copy"];
    assert_refused(copy.path(), &words);
    let problems = problems(copy.path());
    assert!(problems.iter().any(|problem| problem.contains("restore the data directory")), "{problems:?}");
}

#[tokio::test]
async fn a_missing_or_damaged_blob_is_an_error_to_whoever_reads_it() {
    for damage in [|path: &Path| fs::remove_file(path).unwrap(), |path: &Path| fs::write(path, "x").unwrap()]
    {
        let copy = copy();
        let dir = copy.path().join("blobs/04").join(log(4).to_string());
        let path = fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
        damage(&path);
        let problems = problems(copy.path());
        let named = problems.iter().any(|problem| {
            problem.contains(path.to_str().unwrap()) && problem.contains("restore the file from a copy")
        });
        assert!(named, "{problems:?}");
        assert_says_what_is_lost(copy.path()).await;
        without_index(copy.path());
        assert_says_what_is_lost(copy.path()).await;
    }
}

#[tokio::test]
async fn an_index_that_is_gone_or_cannot_be_opened_is_made_anew() {
    let copy = copy();
    without_index(copy.path());
    assert_eq!(tell(&open(copy.path()).unwrap()).await, described());
    for damage in ["db", "conf"] {
        for bytes in [&b""[..], b"garbage"] {
            fs::write(copy.path().join("index").join(damage), bytes).unwrap();
            assert_eq!(tell(&open(copy.path()).unwrap()).await, described(), "{damage}");
        }
    }
}

#[tokio::test]
async fn an_index_behind_the_log_catches_up_and_one_beyond_its_end_is_refused() {
    let copy = copy();
    let newest = segments(copy.path()).pop().unwrap();
    let (old_index, old_log) = (tempfile::tempdir().unwrap(), fs::read(&newest).unwrap());
    copy_dir(&copy.path().join("index"), old_index.path());
    let store = open(copy.path()).unwrap();
    let tested: Tested = store.clone();
    let head = store.head(log(7)).await.unwrap().unwrap();
    let next = head.frontier.committed.get() + 1;
    store.append(append(&tested, log(7), next, next + 3)).await.unwrap();
    let told = tell(&store).await;
    drop((store, tested));
    let (new_index, new_log) = (tempfile::tempdir().unwrap(), fs::read(&newest).unwrap());
    copy_dir(&copy.path().join("index"), new_index.path());

    without_index(copy.path());
    copy_dir(old_index.path(), &copy.path().join("index"));
    assert_eq!(tell(&open(copy.path()).unwrap()).await, told);

    without_index(copy.path());
    copy_dir(new_index.path(), &copy.path().join("index"));
    fs::write(&newest, &old_log).unwrap();
    assert_refused(copy.path(), &["the end of the log is missing", "`tidemark store rebuild`"]);
    fs::write(&newest, &new_log).unwrap();
    assert_eq!(tell(&open(copy.path()).unwrap()).await, told);
    fs::write(&newest, &old_log).unwrap();
    EmbeddedStore::rebuild(copy.path(), OPTIONS(Durability::Sync)).unwrap();
    assert_eq!(tell(&open(copy.path()).unwrap()).await, described());
}

#[test]
fn what_another_version_wrote_is_refused_and_not_called_damage() {
    let copy = copy();
    let path = segments(copy.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let mut later = whole.clone();
    later[8..12].copy_from_slice(&(segment::FORMAT_VERSION + 1).to_le_bytes());
    let sum = crc32c::crc32c(&later[..24]);
    later[24..28].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, later).unwrap();
    assert_refused(copy.path(), &["use the version of the program that wrote it"]);

    let base: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let lsn = Lsn(base).plus(whole.len());
    let mut later = whole;
    let begun = frame::begin(&mut later);
    later.extend_from_slice(b"what nobody knows yet");
    frame::finish(&mut later, begun, 200, lsn, lsn).unwrap();
    fs::write(&path, later).unwrap();
    let words = ["is not damaged", "a kind of change", "use the version of the program that wrote it"];
    assert_refused(copy.path(), &words);
    let problems = problems(copy.path());
    assert!(problems[0].ends_with("use the version of the program that wrote it"), "{problems:?}");
}
