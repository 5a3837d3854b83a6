//! Where the configuration comes from: a file, which is followed; a pipe or standard input, which can be read once; a text of our own.
//!
//! Reading may take for ever (a mount that hangs, a pipe to which nobody writes), so it is done on a thread on which nobody waits
//! without a deadline.

use crate::filters;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_config::{Errors, Loaded, MAX_BYTES};

/// How long a configuration may take to be read at a start, or to be checked.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// This path; `-` is standard input.
    Path(PathBuf),
    /// A text, which does not change.
    #[cfg_attr(not(feature = "mongo"), allow(dead_code, reason = "of `weir mongo` and `weir demo`"))]
    Text(String),
}

impl Origin {
    /// What errors call it.
    pub fn name(&self) -> String {
        match self {
            Origin::Path(path) if is_standard_input(path) => "standard input".to_owned(),
            Origin::Path(path) => path.display().to_string(),
            Origin::Text(_) => "weir.yaml".to_owned(),
        }
    }

    /// Reads it for the first time. Says beside whether it can be read again, and followed. May wait for whoever writes it.
    pub fn read(&self) -> (Loaded, bool) {
        let sections = filters::sections();
        let here = Path::new("");
        match self {
            Origin::Text(text) => (weir_config::parse_traced(text, &self.name(), here, &sections), false),
            Origin::Path(path) if is_standard_input(path) => (self.stream(io::stdin().lock()), false),
            Origin::Path(path) if is_stream(path) => match std::fs::File::open(path) {
                Ok(file) => (self.stream(file), false),
                Err(error) => (self.unread(&error), false),
            },
            Origin::Path(path) => (weir_config::load_traced(path, &sections), true),
        }
    }

    /// Relative paths in it are relative to the current folder: it has none of its own.
    fn stream(&self, from: impl io::Read) -> Loaded {
        match weir_config::read_all(from, MAX_BYTES as u64) {
            Ok(text) => weir_config::parse_traced(&text, &self.name(), Path::new(""), &filters::sections()),
            Err(error) => self.unread(&error),
        }
    }

    fn unread(&self, error: &io::Error) -> Loaded {
        Loaded { config: Err(Errors::unread(&self.name(), error)), files: Vec::new() }
    }

    /// Whether somebody may be typing it.
    pub fn is_typed(&self) -> bool {
        matches!(self, Origin::Path(path) if is_standard_input(path))
            && io::IsTerminal::is_terminal(&io::stdin())
    }
}

fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdin")
}

/// A pipe, as of `<(..)`, or a device.
fn is_stream(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| data.file_type().is_fifo() || data.file_type().is_char_device())
}
