//! Registered devices, and messages that wait for users, in SQLite, so that they are known after a restart: `devices.db` in the state folder.
//!
//! One thread writes, a commit each 200 ms under load; a kill takes what came since. It is soft state: a device that is missing here is back
//! with its next refresh, and one too many ends by its time. So a file that cannot be read is put aside, and the daemon starts.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use postern_api::StoreError;
use postern_types::{
    UserName,
    device::{Device, DeviceChange},
    mailbox::{Mailbox, Waiting},
};
use rusqlite::{Connection, params};

use super::{DriverInput, Report, database};

/// What waits for the writer: all devices of a box with twenty thousand users that come back in one moment. What is beyond is not
/// remembered and counted.
const QUEUE_MAX: usize = 65_536;
/// Changes in one commit.
const GROUP_MAX: usize = 4096;
/// Commits follow each other at this distance.
const GROUP_EVERY: Duration = Duration::from_millis(200);
/// After a write that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often a group is tried before it is given up: a full disk holds up the file, not the memory.
const TRIES_MAX: u32 = 30;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS mailboxes (user TEXT PRIMARY KEY, waiting TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS devices (user TEXT NOT NULL, key TEXT NOT NULL, device TEXT NOT NULL, PRIMARY KEY (user, key)) WITHOUT ROWID;
";

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Devices {
    queue: SyncSender<Job>,
    dropped: Arc<AtomicU64>,
}

/// What was written before.
#[derive(Debug, Default, PartialEq)]
pub struct Kept {
    /// Devices.
    pub devices: Vec<Device>,
    /// Messages that wait.
    pub mailboxes: Vec<Mailbox>,
}

enum Job {
    Change(DeviceChange),
    Mailbox(Mailbox),
    Flush(SyncSender<()>),
}

impl Devices {
    /// Opens or makes the tables, and what is in them.
    pub fn start(state_folder: &Path, report: Report) -> Result<(Self, Kept), StoreError> {
        let path = state_folder.join("devices.db");
        let opened = open(&path).or_else(|error| {
            let aside = state_folder.join("devices.db.broken");
            eprintln!("posternd: {}: {error}; put aside as {}", path.display(), aside.display());
            let _ = fs::rename(&path, aside);
            open(&path)
        });
        let (connection, kept) = opened.map_err(|error| StoreError(format!("{}: {error}", path.display())))?;
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        thread::Builder::new()
            .name("devices".into())
            .spawn(move || write(connection, &jobs, &path, &report))
            .map_err(|error| StoreError(error.to_string()))?;
        Ok((Self { queue, dropped: Arc::default() }, kept))
    }

    /// Hands in a change; never waits.
    pub fn put(&self, change: DeviceChange) {
        self.hand_in(Job::Change(change));
    }

    /// The same for how many messages wait for a user.
    pub fn put_mailbox(&self, mailbox: Mailbox) {
        self.hand_in(Job::Mailbox(mailbox));
    }

    fn hand_in(&self, job: Job) {
        if self.queue.try_send(job).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Changes that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything handed in is written, for the end of the daemon; `patience` bounds it.
    pub fn flush(&self, patience: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        self.queue.try_send(Job::Flush(done)).is_ok() && wait.recv_timeout(patience).is_ok()
    }
}

fn open(path: &Path) -> rusqlite::Result<(Connection, Kept)> {
    let connection = database::open(path)?;
    connection.execute_batch(SCHEMA)?;
    let devices = {
        let mut rows = connection.prepare("SELECT device FROM devices ORDER BY user, key")?;
        let texts = rows.query_map([], |row| row.get::<_, String>(0))?;
        // What a later release wrote and this one cannot read comes back with its next refresh.
        texts
            .filter_map(|text| text.map(|text| serde_json::from_str(&text).ok()).transpose())
            .collect::<Result<_, _>>()?
    };
    let mailboxes = {
        let mut rows = connection.prepare("SELECT user, waiting FROM mailboxes ORDER BY user")?;
        let texts = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let read = |(user, text): (String, String)| {
            serde_json::from_str(&text).ok().map(|waiting| Mailbox { user: UserName::new(&user), waiting })
        };
        texts.filter_map(|row| row.map(read).transpose()).collect::<Result<_, _>>()?
    };
    Ok((connection, Kept { devices, mailboxes }))
}

fn write(mut connection: Connection, jobs: &Receiver<Job>, path: &Path, report: &Report) {
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        group.extend(jobs.try_iter().take(GROUP_MAX - 1));
        for tries in 0..TRIES_MAX {
            let Err(error) = commit(&mut connection, &group) else { break };
            if tries == 0 {
                report(DriverInput::StoreFailed { file: path.display().to_string(), why: error.to_string() });
            }
            thread::sleep(RETRY_AFTER);
        }
        let mut hurry = false;
        for job in group {
            if let Job::Flush(done) = job {
                hurry = true;
                database::fold(&connection);
                let _ = done.try_send(());
            }
        }
        if !hurry {
            thread::sleep(GROUP_EVERY);
        }
    }
}

fn commit(to: &mut Connection, group: &[Job]) -> rusqlite::Result<()> {
    let transaction = to.transaction()?;
    for job in group {
        match job {
            Job::Change(DeviceChange::Keep(device)) => {
                let text = serde_json::to_string(device).expect("a device has string keys only");
                let mut statement = transaction
                    .prepare_cached("INSERT OR REPLACE INTO devices (user, key, device) VALUES (?1, ?2, ?3)")?;
                statement.execute(params![device.user.as_str(), device.key(), text])?;
            }
            Job::Change(DeviceChange::Forget { user, key }) => {
                let mut statement = transaction.prepare_cached("DELETE FROM devices WHERE user = ?1 AND key = ?2")?;
                statement.execute(params![user.as_str(), key])?;
            }
            Job::Mailbox(Mailbox { user, waiting }) if *waiting == Waiting::default() => {
                let mut statement = transaction.prepare_cached("DELETE FROM mailboxes WHERE user = ?1")?;
                statement.execute(params![user.as_str()])?;
            }
            Job::Mailbox(Mailbox { user, waiting }) => {
                let text = serde_json::to_string(waiting).expect("it has string keys only");
                let mut statement =
                    transaction.prepare_cached("INSERT OR REPLACE INTO mailboxes (user, waiting) VALUES (?1, ?2)")?;
                statement.execute(params![user.as_str(), text])?;
            }
            Job::Flush(_) => {}
        }
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use postern_types::{Transport, UnixMicros};

    use super::*;
    use crate::drivers::test_folder::TestFolder;

    fn device(user: &str, port: u16) -> Device {
        Device {
            user: UserName::new(user),
            contact: format!("sip:{user}@192.0.2.7:{port}"),
            instance: None,
            reg_id: None,
            transport: Transport::Udp,
            local: ([192, 0, 2, 1], 5060).into(),
            remote: ([192, 0, 2, 7], port).into(),
            call_id: "c".into(),
            cseq: 1,
            expires: UnixMicros(7),
        }
    }

    fn quiet() -> Report {
        Arc::new(|_| {})
    }

    #[test]
    fn devices_and_messages_are_there_after_a_restart_and_those_that_left_are_not() {
        let folder = TestFolder::new("devices");
        let (devices, before) = Devices::start(folder.path(), quiet()).unwrap();
        assert_eq!(before, Kept::default());
        let moved = Device { cseq: 2, ..device("alice", 5060) };
        for known in [device("alice", 5060), device("alice", 5062), device("bob", 5060), moved.clone()] {
            devices.put(DeviceChange::Keep(Box::new(known)));
        }
        devices.put(DeviceChange::Forget { user: UserName::new("bob"), key: device("bob", 5060).key() });
        let mailbox = |user, new| Mailbox { user: UserName::new(user), waiting: Waiting { new, ..Waiting::default() } };
        for (user, new) in [("alice", 1), ("bob", 2), ("alice", 3), ("bob", 0)] {
            devices.put_mailbox(mailbox(user, new));
        }
        assert!(devices.flush(Duration::from_secs(10)));
        let (_, after) = Devices::start(folder.path(), quiet()).unwrap();
        assert_eq!(after.devices, [moved, device("alice", 5062)]);
        assert_eq!(after.mailboxes, [mailbox("alice", 3)]);
    }

    #[test]
    fn a_file_that_is_no_database_is_put_aside() {
        let folder = TestFolder::new("devices-broken");
        fs::write(folder.path().join("devices.db"), b"this is no database, whatever its name says; it is long enough")
            .unwrap();
        let (devices, before) = Devices::start(folder.path(), quiet()).unwrap();
        devices.put(DeviceChange::Keep(Box::new(device("alice", 5060))));
        assert!(devices.flush(Duration::from_secs(10)) && before == Kept::default());
        assert!(folder.path().join("devices.db.broken").exists());
        assert_eq!(Devices::start(folder.path(), quiet()).unwrap().1.devices.len(), 1);
    }
}
