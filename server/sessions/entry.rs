//! One entry of a history, as it lies in the log.
//!
//! It owns the form, and who sees what. Every entry has the stamp of the append that brought it, which no other append has: with a
//! number it says which entry a position has seen, also when a power cut took entries and their numbers were given again (D-16).

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidemark_store::{LogId, UnixMillis};

use crate::error::Error;
use crate::sessions::record::log_id;

/// The form that this code writes. A later form gets a higher number.
const VERSION: u8 = 1;

/// Labels of a session.
pub(super) type Labels = BTreeMap<String, String>;

/// Which items of a history somebody wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Messages alone.
    Messages,
    /// All items.
    All,
}

/// An entry.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// The append that brought it.
    pub(super) stamp: LogId,
    /// When it was added.
    pub(super) at: UnixMillis,
    pub(super) what: What,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// The labels of the session, until the next of its kind. Never shown.
    About(Labels),
    /// An item.
    Item(Item),
    /// An item was here. Never shown.
    Removed,
    /// An item was taken out elsewhere: for those who have seen it.
    Removal { seq: u64, id: String },
}

/// An item of a history.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) id: String,
    /// The item as one line.
    pub(super) json: Bytes,
    /// The response that it entered with; absent = it was added by a call.
    pub(super) response: Option<LogId>,
    pub(super) is_message: bool,
    /// Whether it is a piece that was broken off and means nothing to anybody. Never shown.
    pub(super) is_broken: bool,
}

#[derive(Serialize, Deserialize)]
struct Form<'a> {
    version: u8,
    stamp: Cow<'a, str>,
    at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<Labels>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_false")]
    message: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    broken: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    removes: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    item: Option<&'a RawValue>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Entry {
    pub(super) fn encode(&self) -> Result<Bytes, Error> {
        let mut form = Form {
            version: VERSION,
            stamp: self.stamp.to_string().into(),
            at: self.at.0,
            about: None,
            id: None,
            response: None,
            message: false,
            broken: false,
            removes: None,
            item: None,
        };
        match &self.what {
            What::About(labels) => form.about = Some(labels.clone()),
            What::Item(item) => {
                form.id = Some(Cow::Borrowed(item.id.as_str()));
                form.response = item.response.map(|response| response.to_string().into());
                (form.message, form.broken) = (item.is_message, item.is_broken);
                form.item = Some(serde_json::from_slice(&item.json).map_err(Error::internal)?);
            }
            What::Removed => {}
            What::Removal { seq, id } => {
                (form.removes, form.id) = (Some(*seq), Some(Cow::Borrowed(id.as_str())))
            }
        }
        serde_json::to_vec(&form).map(Bytes::from).map_err(Error::internal)
    }

    pub(super) fn decode(payload: &Bytes) -> Result<Self, Error> {
        let form: Form<'_> = serde_json::from_slice(payload).map_err(Error::internal)?;
        if form.version > VERSION {
            let text = format!("an entry of a history has form {}, this is {VERSION}", form.version);
            return Err(Error::internal(text));
        }
        let stamp = log_id(&form.stamp)?;
        let response = form.response.as_deref().map(log_id).transpose()?;
        let id = form.id.map(Cow::into_owned);
        let what = match (form.about, form.item, form.removes, id) {
            (Some(labels), ..) => What::About(labels),
            (None, Some(item), _, Some(id)) => What::Item(Item {
                id,
                json: payload.slice_ref(item.get().as_bytes()),
                response,
                is_message: form.message,
                is_broken: form.broken,
            }),
            (None, None, Some(seq), Some(id)) => What::Removal { seq, id },
            _ => What::Removed,
        };
        Ok(Self { stamp, at: UnixMillis(form.at), what })
    }

    /// The item, if it is there for whoever sees all.
    pub(super) fn item(&self) -> Option<&Item> {
        match &self.what {
            What::Item(item) if !item.is_broken => Some(item),
            _ => None,
        }
    }

    /// The item, if it is to be seen.
    pub(super) fn shown(&self, view: View) -> Option<&Item> {
        self.item().filter(|item| view == View::All || item.is_message)
    }

    /// What stands in its place once it was taken out: its number and its stamp stay.
    pub(super) fn removed(&self) -> Self {
        Self { what: What::Removed, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(what: What) -> Entry {
        Entry { stamp: LogId::from_bytes([0xcd; 16]), at: UnixMillis(7), what }
    }

    fn item(is_message: bool, is_broken: bool) -> What {
        let json = Bytes::from_static(br#"{"id":"msg_1","text":"h\u00e4\n"}"#);
        What::Item(Item {
            id: "msg_\"1".to_owned(),
            json,
            response: Some(LogId::from_bytes([0xef; 16])),
            is_message,
            is_broken,
        })
    }

    #[test]
    fn entries_read_back() {
        let labels = Labels::from([("a".to_owned(), "ü".to_owned())]);
        let removal = What::Removal { seq: 9, id: "msg_1".to_owned() };
        for what in [
            What::About(Labels::new()),
            What::About(labels),
            item(true, false),
            item(false, true),
            What::Removed,
            removal,
        ] {
            let entry = entry(what);
            assert_eq!(Entry::decode(&entry.encode().unwrap()).unwrap(), entry);
        }
        let later = r#"{"version":2,"stamp":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","at":0}"#;
        for wrong in ["{}", "", later, r#"{"version":1,"stamp":"x","at":0}"#] {
            assert!(Entry::decode(&Bytes::copy_from_slice(wrong.as_bytes())).is_err(), "{wrong}");
        }
    }

    #[test]
    fn o_21_who_sees_what() {
        let shown = |what: &What| {
            let entry = entry(what.clone());
            [View::Messages, View::All].map(|view| entry.shown(view).is_some())
        };
        assert_eq!(shown(&item(true, false)), [true, true]);
        assert_eq!(shown(&item(false, false)), [false, true]);
        for hidden in [item(true, true), What::Removed, What::About(Labels::new())] {
            assert_eq!(shown(&hidden), [false, false]);
        }
    }
}
