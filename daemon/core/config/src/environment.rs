//! What the reader may see of the world besides the text: files that the text names, and the service's credentials.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Bytes of one named file that are read at most: a bundle of all public CA certificates has about 250 KB.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// Reads what a configuration names. Tests give a map; the daemon and the tool give [`SystemEnvironment`].
pub trait Environment {
    /// The content of a file, at most [`FILE_BYTES_MAX`].
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The content of a credential that the service manager handed over (`LoadCredential=NAME:...`).
    fn credential(&self, name: &str) -> io::Result<Vec<u8>>;
}

/// The real file system and `$CREDENTIALS_DIRECTORY`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Asked before opening: to open a pipe would wait for its writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4 MB"));
        }
        Ok(bytes)
    }

    fn credential(&self, name: &str) -> io::Result<Vec<u8>> {
        let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "CREDENTIALS_DIRECTORY is not set"));
        };
        self.read(&PathBuf::from(folder).join(name))
    }
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
