//! What the embedded tables have in common: each is a file of SQLite with a write-ahead log beside it.

use std::{path::Path, time::Duration};

use rusqlite::Connection;

/// Another connection's lock is waited for so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Opens or makes the file. A power cut takes the last commits at most, never the file.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// Brings the log into the file, for the end of the daemon: who then copies the file alone has all of it.
pub(super) fn fold(connection: &Connection) {
    // Where it fails, the log stays beside the file and is read at the next start.
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
}
