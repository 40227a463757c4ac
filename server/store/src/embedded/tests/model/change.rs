//! What both stores are to do, and what each says of it.

use super::super::*;
use crate::api::{NewLog, Store, Version};
use crate::compaction::Compact;
use crate::types::Head;

/// A change that both stores are to make.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Create(NewLog),
    Append(Append),
    Compact(Compact),
    Purge(LogId),
    Put { key: u8, expected: Option<Versions>, value: Option<bytes::Bytes> },
}

/// The version of a record in either store.
pub(super) type Versions = (Version, Version);

/// What it led to.
#[derive(Debug)]
pub(super) enum Done {
    Log(Head),
    Purged,
    Put(Version),
}

impl Done {
    pub(super) fn head(self) -> Head {
        match self {
            Self::Log(head) => head,
            other => panic!("{other:?} is no head"),
        }
    }
}

impl Change {
    pub(super) fn log(&self) -> Option<LogId> {
        match self {
            Self::Create(new) => Some(new.id),
            Self::Append(append) => Some(append.id),
            Self::Compact(compact) => Some(compact.id),
            Self::Purge(id) => Some(*id),
            Self::Put { .. } => None,
        }
    }

    /// Has a store make it.
    pub(super) async fn of(
        self,
        store: &impl Store,
        version: fn(Versions) -> Version,
    ) -> Result<Done, WriteError> {
        match self {
            Self::Create(new) => store.create(new).await.map(Done::Log),
            Self::Append(append) => {
                store.append(Append { epoch: store.epoch(), ..append }).await.map(Done::Log)
            }
            Self::Compact(compact) => store.compact(compact).await.map(Done::Log),
            Self::Purge(id) => store.purge(id).await.map(|()| Done::Purged),
            Self::Put { key, expected, value } => {
                store.put_record(&[b'k', key], expected.map(version), value).await.map(Done::Put)
            }
        }
    }
}
