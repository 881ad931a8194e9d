//! What the reader may see of the world besides the text: files that the text names, and the service's credentials.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Bytes of one named file that are read at most: a bundle of all public CA certificates has about 250 KB.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// Bytes of a configuration at most: a hundred thousand users have room.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 20;

/// Bytes of a prefix table's file at most: a million rows with long names have room.
pub const TABLE_FILE_BYTES_MAX: usize = 128 << 20;

/// Reads what a configuration names. Tests give a map; the daemon and the tool give [`SystemEnvironment`].
pub trait Environment {
    /// The content of a file, at most [`FILE_BYTES_MAX`].
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The content of a credential that the service manager handed over (`LoadCredential=NAME:...`).
    fn credential(&self, name: &str) -> io::Result<Vec<u8>>;
    /// The content of a prefix table, at most [`TABLE_FILE_BYTES_MAX`]. None: whoever asks has no use for its rows.
    fn table(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.read(path).map(Some)
    }
}

/// The real file system and `$CREDENTIALS_DIRECTORY`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_bounded(path, FILE_BYTES_MAX)
    }

    fn credential(&self, name: &str) -> io::Result<Vec<u8>> {
        let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "CREDENTIALS_DIRECTORY is not set"));
        };
        self.read(&PathBuf::from(folder).join(name))
    }

    fn table(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        read_bounded(path, TABLE_FILE_BYTES_MAX).map(Some)
    }
}

/// [`SystemEnvironment`] without the rows of prefix tables: for who wants something else of a configuration, and soon.
#[derive(Debug, Clone, Copy, Default)]
pub struct WithoutTables;

impl Environment for WithoutTables {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        SystemEnvironment.read(path)
    }

    fn credential(&self, name: &str) -> io::Result<Vec<u8>> {
        SystemEnvironment.credential(name)
    }

    fn table(&self, _: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// The text of a configuration file, for [`crate::load`]. A daemon that reloads must not hang on a pipe, nor swallow a device.
pub fn read_document(path: &Path) -> io::Result<String> {
    let bytes = read_bounded(path, DOCUMENT_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not text in UTF-8"))
}

fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    // Asked before opening: to open a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        let why = format!("larger than {} MB", bytes_max >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// A world without files: every read fails.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Environment for NoFiles {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn credential(&self, _: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_of_text_is_refused_without_waiting() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(read_document(&here.join("Cargo.toml")).is_ok());
        for nothing in ["/dev/zero", "/dev/null", "src", "none.yaml"] {
            assert!(read_document(&here.join(nothing)).is_err(), "{nothing}");
        }
    }
}
