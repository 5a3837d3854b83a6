//! Noticing that the configuration file, or a certificate, has changed, by looking once a second. Works where change
//! notification does not: network file systems, and files that are links swapped as a whole (Kubernetes).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use weir_config::Seen;

/// What tells one state of a file from another; `None`: it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Print {
    real: PathBuf,
    modified: SystemTime,
    length: u64,
    /// What is in it: times and lengths stay the same where a file is copied with them. Of a large one, when anything of it
    /// was last changed instead.
    content: u64,
}

/// The largest file that is read at every look, in bytes.
const SMALL: u64 = 1 << 20;

/// The configuration file and those that it names by `${file:PATH}`.
pub struct Watched {
    seen: BTreeMap<PathBuf, Option<Print>>,
    /// A state that was seen once: taken when it is seen twice, so that a file is not read while it is being written.
    coming: Option<BTreeMap<PathBuf, Option<Print>>>,
    /// The configuration file itself: while it is not there nothing has changed.
    first: PathBuf,
}

impl Watched {
    /// Begins to watch what a configuration was made of; the first is its file.
    pub fn new(first: &Path, read: Vec<Seen>) -> Watched {
        let mut watched = Watched { seen: BTreeMap::new(), coming: None, first: first.to_owned() };
        watched.known(read);
        watched
    }

    /// These files are known as they were read.
    pub fn known(&mut self, read: Vec<Seen>) {
        self.coming = None;
        self.seen = read
            .into_iter()
            .map(|(path, content)| {
                let mut print = print(&path);
                // It may have changed since: that is seen at the next look.
                match (&mut print, content) {
                    (Some(print), Some(content)) if print.length <= SMALL => print.content = content,
                    (Some(_), None) => print = None,
                    _ => {}
                }
                (path, print)
            })
            .collect();
    }

    /// Whether any has changed, and all have stayed as they are since the last look.
    pub fn changed(&mut self) -> bool {
        let now: BTreeMap<_, _> = self.seen.keys().map(|path| (path.clone(), print(path))).collect();
        if now == self.seen {
            self.coming = None;
            return false;
        }
        if self.coming.as_ref() != Some(&now) {
            self.coming = Some(now);
            return false;
        }
        self.coming = None;
        self.seen = now;
        self.seen.get(&self.first).is_some_and(Option::is_some)
    }
}

fn print(path: &Path) -> Option<Print> {
    let real = fs::canonicalize(path).ok()?;
    let mut file = weir_config::open_regular(&real).ok()?;
    let data = file.metadata().ok()?;
    let content = if data.len() <= SMALL {
        let mut bytes = Vec::new();
        file.by_ref().take(SMALL).read_to_end(&mut bytes).ok()?;
        weir_config::print(&bytes)
    } else {
        weir_config::print(format!("{} {} {}", data.ino(), data.ctime(), data.ctime_nsec()).as_bytes())
    };
    Some(Print { real, modified: data.modified().ok()?, length: data.len(), content })
}

/// Small files that are watched by what is in them, whatever their times say: certificates are also copied with the time of
/// their origin, and swapped for others of the same length and second.
#[derive(Default)]
pub struct Contents(HashMap<PathBuf, Look>);

/// A digest of what is in a file; `None` where there is none.
type Digest = Option<u64>;

#[derive(Default)]
struct Look {
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

impl Look {
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
    let mut bytes = Vec::new();
    weir_config::open_regular(path).ok()?.take(weir_drive::tls::MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
    Some(weir_config::print(&bytes))
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
        let read =
            |path: &Path| (path.to_owned(), fs::read(path).ok().map(|bytes| weir_config::print(&bytes)));
        let mut watched = Watched::new(&path, vec![read(&path)]);
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
        // The same length and time.
        let time = fs::metadata(&other).unwrap().modified().unwrap();
        fs::write(&other, "cba").unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        assert!(!watched.changed());
        assert!(watched.changed());
        // What it names is followed too, also what is not there yet; what it has not been read as has changed.
        let named = folder.path().join("named");
        watched.known(vec![read(&path), read(&named)]);
        assert!(!watched.changed());
        fs::write(&named, "1").unwrap();
        assert!(!watched.changed());
        assert!(watched.changed());
        watched.known(vec![read(&path), (named.clone(), Some(7))]);
        assert!(!watched.changed());
        assert!(watched.changed());
        // A pipe is as good as nothing, and nobody waits for it.
        fs::remove_file(&named).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&named).status().unwrap();
        assert!(made.success() && !watched.changed() && watched.changed());
    }
}
