//! Noticing that the configuration file has changed, by looking once a second. Works where change notification does not:
//! network file systems, and files that are links swapped as a whole (Kubernetes).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What tells one state of a file from another.
type Print = Option<(SystemTime, u64, PathBuf)>;

/// A file that is watched.
pub struct Watched {
    path: PathBuf,
    seen: Print,
    /// A state that was seen once: taken when it is seen twice, so that a file is not read while it is being written.
    coming: Option<Print>,
}

impl Watched {
    /// Begins to watch; the file as it is now is known.
    pub fn new(path: &Path) -> Watched {
        Watched { path: path.to_owned(), seen: print(path), coming: None }
    }

    /// The file as it is now is known (it has just been read).
    pub fn known(&mut self) {
        self.seen = print(&self.path);
        self.coming = None;
    }

    /// Whether it has changed, and stayed so since the last look.
    pub fn changed(&mut self) -> bool {
        let now = print(&self.path);
        if now == self.seen {
            self.coming = None;
            return false;
        }
        if self.coming.as_ref() == Some(&now) {
            self.seen = now;
            self.coming = None;
            return self.seen.is_some();
        }
        self.coming = Some(now);
        false
    }
}

fn print(path: &Path) -> Print {
    let real = fs::canonicalize(path).ok()?;
    let data = fs::metadata(&real).ok()?;
    Some((data.modified().ok()?, data.len(), real))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.yaml");
        fs::write(&path, "a").unwrap();
        let mut watched = Watched::new(&path);
        assert!(!watched.changed());
        fs::write(&path, "ab").unwrap();
        assert!(!watched.changed());
        assert!(watched.changed());
        assert!(!watched.changed());
        // A swapped link is a change, a missing file is none.
        let other = folder.path().join("other.yaml");
        fs::write(&other, "abc").unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!watched.changed() && !watched.changed());
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(!watched.changed());
        assert!(watched.changed());
    }
}
