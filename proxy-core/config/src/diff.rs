//! What has to be done to come from one configuration to the next.

use crate::model::{Config, Limits};
use std::collections::HashMap;
use std::sync::Arc;

/// The difference between two configurations, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// The listeners.
    pub listeners: Changes,
    /// The clusters.
    pub clusters: Changes,
    /// Keys of the file that changed and hold only from the next start: `workers`, `admin`, `admin_hosts`, `log.format`, `limits`.
    pub needs_restart: Vec<&'static str>,
    /// Keys of the file that changed and hold at once: `drain_timeout`, `drain_delay`, `log.level`, `limits.replay_memory`.
    pub at_once: Vec<&'static str>,
}

/// What became of the named things of one kind, in the order of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Only in the new one.
    pub added: Vec<Arc<str>>,
    /// Only in the old one.
    pub removed: Vec<Arc<str>>,
    /// In both, and not the same.
    pub changed: Vec<Arc<str>>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    fn between<'c, T: 'c>(
        old: &'c [Arc<T>],
        new: &'c [Arc<T>],
        name: impl Fn(&T) -> &Arc<str>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Changes {
        let before: HashMap<&str, &T> = old.iter().map(|t| (&**name(t), &**t)).collect();
        let after: HashMap<&str, &T> = new.iter().map(|t| (&**name(t), &**t)).collect();
        let mut changes = Changes::default();
        for item in new {
            match before.get(&**name(item)) {
                None => changes.added.push(name(item).clone()),
                Some(was) if !same(was, item) => changes.changed.push(name(item).clone()),
                Some(_) => {}
            }
        }
        let gone = old.iter().filter(|item| !after.contains_key(&**name(item)));
        changes.removed = gone.map(|item| name(item).clone()).collect();
        changes
    }
}

impl Diff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
            && self.clusters.is_empty()
            && self.needs_restart.is_empty()
            && self.at_once.is_empty()
    }
}

impl Config {
    /// What has to be done to come from `old` to `new`. Files that both name (certificates, keys) are not looked into.
    pub fn diff(old: &Config, new: &Config) -> Diff {
        let at_once = [
            ("drain_timeout", old.drain_timeout != new.drain_timeout),
            ("drain_delay", old.drain_delay != new.drain_delay),
            ("log.level", old.log.level != new.log.level),
            ("limits.replay_memory", old.limits.replay_memory != new.limits.replay_memory),
        ];
        Diff {
            listeners: Changes::between(&old.listeners, &new.listeners, |l| &l.name, |a, b| a.same(b)),
            clusters: Changes::between(&old.clusters, &new.clusters, |c| &c.name, |a, b| a.same(b)),
            needs_restart: Config::needs_restart(old, new),
            at_once: at_once.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect(),
        }
    }

    /// Keys of the file that are not the same in `started` and in `now`, and hold only from the next start.
    pub fn needs_restart(started: &Config, now: &Config) -> Vec<&'static str> {
        let limits = Limits { replay_memory: now.limits.replay_memory, ..started.limits };
        let keys = [
            ("workers", started.workers != now.workers),
            ("admin", started.admin != now.admin),
            ("admin_hosts", started.admin_hosts != now.admin_hosts),
            ("log.format", started.log.format != now.log.format),
            ("limits", limits != now.limits),
        ];
        keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
    }
}
