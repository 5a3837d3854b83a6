//! Noticing that the configuration file, or a certificate, has changed, by looking once a second. Works where change
//! notification does not: network file systems, and files that are links swapped as a whole (Kubernetes).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Read as _;
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

/// Small files that are watched by what is in them, whatever their times say: certificates are also copied with the time of
/// their origin, and swapped for others of the same length and second.
#[derive(Default)]
pub struct Contents(HashMap<PathBuf, Seen>);

/// A digest of what is in a file; `None` where there is none.
type Digest = Option<u64>;

#[derive(Default)]
struct Seen {
    /// What was told of; `None`: nothing yet.
    told: Option<Digest>,
    /// What was seen once: told of when it is seen twice, so that a file is not read while it is being written.
    coming: Option<Digest>,
}

impl Contents {
    /// Watches these files from now on, and no others. One that was not watched before counts as changed: whoever has read it
    /// may have done so before it was as it is now.
    pub fn follow(&mut self, files: HashSet<PathBuf>) {
        self.0.retain(|known, _| files.contains(known));
        for file in files {
            self.0.entry(file).or_default();
        }
    }

    /// The files that have changed, and stayed so since the last look.
    pub fn changed(&mut self) -> HashSet<PathBuf> {
        let changed = self.0.iter_mut().filter_map(|(path, seen)| seen.look(digest(path)).then_some(path));
        changed.cloned().collect()
    }
}

impl Seen {
    fn look(&mut self, now: Digest) -> bool {
        if self.told == Some(now) {
            self.coming = None;
            return false;
        }
        if self.coming.replace(now) != Some(now) {
            return false;
        }
        self.coming = None;
        let before = self.told.replace(now);
        // One that has gone is told of too: who took a root away is to hear that it is still trusted.
        now.is_some() || before.flatten().is_some()
    }
}

/// Of at most so much as Weir reads of such a file. Only of a regular one: others might keep us waiting.
fn digest(path: &Path) -> Digest {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(weir_drive::tls::MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_of_by_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut contents = Contents::default();
        // As Kubernetes mounts a secret: a link to a folder is swapped.
        for (version, text) in [("v1", "one"), ("v2", "one"), ("v3", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("tls.crt"), text).unwrap();
        }
        let swap = |version: &str| {
            std::os::unix::fs::symlink(version, at("new")).unwrap();
            fs::rename(at("new"), at("..data")).unwrap();
        };
        swap("v1");
        std::os::unix::fs::symlink("..data/tls.crt", at("tls.crt")).unwrap();
        let (linked, plain) = (at("tls.crt"), at("plain.key"));
        fs::write(&plain, "key").unwrap();
        let only = |path: &PathBuf| HashSet::from([path.clone()]);
        contents.follow(HashSet::from([linked.clone(), plain.clone(), at("missing")]));
        let settled = |contents: &mut Contents| {
            assert_eq!(contents.changed(), HashSet::new(), "seen once");
            let changed = contents.changed();
            assert_eq!(contents.changed(), HashSet::new(), "told of once");
            changed
        };
        assert_eq!(settled(&mut contents), HashSet::from([linked.clone(), plain.clone()]), "new to it");
        swap("v2");
        assert_eq!(settled(&mut contents), HashSet::new(), "the same text");
        swap("v3");
        assert_eq!(settled(&mut contents), only(&linked));
        // The same length and time.
        let time = fs::metadata(&plain).unwrap().modified().unwrap();
        fs::write(&plain, "yek").unwrap();
        fs::File::options().write(true).open(&plain).unwrap().set_modified(time).unwrap();
        assert_eq!(settled(&mut contents), only(&plain));
        // One that is being written is told of when it is whole; one that goes is told of too, and so is its return.
        fs::write(&plain, "a").unwrap();
        assert_eq!(contents.changed(), HashSet::new());
        fs::write(&plain, "ab").unwrap();
        assert_eq!(settled(&mut contents), only(&plain));
        fs::remove_file(&plain).unwrap();
        assert_eq!(settled(&mut contents), only(&plain));
        fs::write(&plain, "ab").unwrap();
        assert_eq!(settled(&mut contents), only(&plain), "who failed to read it may try again");
        contents.follow(only(&linked));
        fs::write(&plain, "abc").unwrap();
        assert_eq!(settled(&mut contents), HashSet::new(), "not watched any more");
    }

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
