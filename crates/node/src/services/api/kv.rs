//! Keys with their values, and locks to look at.

use bytes::Bytes;
use convoke_types::wire::store::{
    self, Command, Done, Expect, Found, KvCommand, LockFound, LockQuery, Query, Range, Revision,
};
use convoke_web::backend::{Caller, Condition, Consistency, KeyRead, Part};
use convoke_web::model::{Found as One, KeyEntry, KeyWritten, Lock, LockHolder, Page};
use convoke_web::text::{base64_encode, percent_decode, percent_encode};
use convoke_web::{Code, Fault};

use super::ask::{Desk, strange};

/// How often a key that others write meanwhile is tried to be written on condition that it is there.
const TRIES: usize = 8;

impl Desk {
    pub(super) async fn list_keys(
        &self,
        prefix: &[u8],
        part: Part,
        how: Consistency,
    ) -> Result<Page<KeyEntry>, Fault> {
        let mut range = Range::prefix(prefix);
        if let Some(after) = &part.after {
            let after = percent_decode(after).filter(|key| key.starts_with(prefix));
            range.from = after.ok_or_else(bad_place)?;
            range.after = true;
        }
        range.limit = part.limit;
        let read = self.read(Query::List(range), how).await?;
        let stamp = read.stamp();
        let Found::Page(page) = read.found else {
            return Err(strange());
        };
        let last = page.items.last().filter(|_| page.more);
        let next = last.map(|listed| percent_encode(&listed.key));
        let entry = |listed: store::Listed| KeyEntry {
            key: percent_encode(&listed.key),
            value_base64: base64_encode(&listed.item.value),
            revision: listed.item.changed.0,
        };
        Ok(Page {
            next,
            items: page.items.into_iter().map(entry).collect(),
            stamp,
        })
    }

    pub(super) async fn read_key(&self, key: &[u8], how: Consistency) -> Result<KeyRead, Fault> {
        let read = self.read(Query::Get(key.to_vec()), how).await?;
        let stamp = read.stamp();
        let Found::Item(item) = read.found else {
            return Err(strange());
        };
        let item = item.ok_or_else(|| Fault::not_found("there is no such key"))?;
        Ok(KeyRead {
            value: item.value.into(),
            written: item.changed.0,
            stamp,
        })
    }

    /// Writes a key, or removes it when there is no value.
    pub(super) async fn write_key(
        &self,
        by: &Caller,
        key: &[u8],
        value: Option<Bytes>,
        only_if: Condition,
    ) -> Result<KeyWritten, Fault> {
        let key = key.to_vec();
        let value = value.map(|value| value.to_vec());
        let swap = |expect: Expect| KvCommand::Swap {
            key: key.clone(),
            expect,
            value: value.clone(),
        };
        match only_if {
            Condition::Always => {
                let command = match &value {
                    Some(value) => KvCommand::Put {
                        key: key.clone(),
                        value: value.clone(),
                    },
                    None => KvCommand::Delete { key: key.clone() },
                };
                self.written(by, command).await?.ok_or_else(strange)
            }
            Condition::Absent => {
                let written = self.written(by, swap(Expect::Absent)).await?;
                written.ok_or_else(|| unmet("the key is there"))
            }
            Condition::Revision(revision) => {
                let expect = Expect::Revision(Revision(revision));
                let written = self.written(by, swap(expect)).await?;
                written.ok_or_else(|| {
                    unmet(&format!(
                        "the key was not written last in revision {revision}"
                    ))
                })
            }
            Condition::Present => {
                for _ in 0..TRIES {
                    let read = self.read(Query::Get(key.clone()), Consistency::Linearizable);
                    let Found::Item(item) = read.await?.found else {
                        return Err(strange());
                    };
                    // No key was ever written in revision 0: the try is refused where it is remembered who tried.
                    let seen = item.as_ref().map_or(Revision(0), |item| item.changed);
                    let written = self.written(by, swap(Expect::Revision(seen))).await?;
                    match written {
                        Some(written) => return Ok(written),
                        None if item.is_none() => return Err(unmet("the key is not there")),
                        None => {}
                    }
                }
                Err(Fault::new(
                    Code::Conflict,
                    "others write this key all the time, and nothing was changed",
                )
                .advise("try again"))
            }
        }
    }

    /// What came of it; nothing when a condition did not hold.
    async fn written(&self, by: &Caller, command: KvCommand) -> Result<Option<KeyWritten>, Fault> {
        let done = self.change(by, Command::Kv(command)).await?;
        if let Done::NotSwapped(_) = done {
            return Ok(None);
        }
        if let Done::Deleted(None) = done {
            // Nothing changed, so that is said of the revision in which it is so.
            let read = self.read(Query::Get(Vec::new()), Consistency::Stale).await;
            return Ok(Some(KeyWritten {
                revision: read.map_or(0, |read| read.revision.0),
                changed: false,
            }));
        }
        let (Done::Put(revision) | Done::Swapped(revision) | Done::Deleted(Some(revision))) = done
        else {
            return Err(strange());
        };
        Ok(Some(KeyWritten {
            revision: revision.0,
            changed: true,
        }))
    }

    pub(super) async fn list_locks(
        &self,
        part: Part,
        how: Consistency,
    ) -> Result<Page<Lock>, Fault> {
        let after = match &part.after {
            None => String::new(),
            Some(after) => percent_decode(after)
                .and_then(|name| String::from_utf8(name).ok())
                .ok_or_else(bad_place)?,
        };
        let page = |after: String, limit: u32| Query::Lock(LockQuery::List { after, limit });
        let read = self.read(page(after, part.limit), how).await?;
        let stamp = read.stamp();
        let Found::Lock(LockFound::Locks(locks)) = read.found else {
            return Err(strange());
        };
        // Pages have bounds in bytes, too: only asking for one more tells whether this was the last.
        let mut next = None;
        if let Some(last) = locks.last() {
            let more = self.read(page(last.name.clone(), 1), Consistency::Stale);
            if let Found::Lock(LockFound::Locks(more)) = more.await?.found
                && !more.is_empty()
            {
                next = Some(percent_encode(last.name.as_bytes()));
            }
        }
        Ok(Page {
            items: locks.into_iter().map(|it| lock(self, it)).collect(),
            next,
            stamp,
        })
    }

    pub(super) async fn see_lock(&self, name: &str, how: Consistency) -> Result<One<Lock>, Fault> {
        let query = Query::Lock(LockQuery::Get(name.to_owned()));
        let read = self.read(query, how).await?;
        let stamp = read.stamp();
        let Found::Lock(LockFound::Lock(found)) = read.found else {
            return Err(strange());
        };
        let found = found.ok_or_else(|| Fault::not_found("nobody holds a lock of this name"))?;
        Ok(One {
            item: lock(self, found),
            stamp,
        })
    }
}

fn lock(desk: &Desk, lock: store::Lock) -> Lock {
    let holder = lock.holder;
    Lock {
        name: lock.name,
        waiting: lock.queue.len() as u64,
        holder: LockHolder {
            node: holder.node.to_string(),
            note: holder.note,
            fence: holder.fence.0,
            since_unix_ms: desk.unix_ms(holder.since),
            until_unix_ms: desk.unix_ms(holder.until),
            lease_ms: holder.lease_ms,
        },
    }
}

fn unmet(what: &str) -> Fault {
    Fault::new(Code::ConditionFailed, format!("{what}; nothing changed"))
}

/// A place in a list that is none.
pub(super) fn bad_place() -> Fault {
    Fault::new(
        Code::BadParameter,
        "`after` is no place in this list: take `next` of the page before as it is",
    )
}
