//! Which names fail to resolve, and why: what is told of them is what changes, not each try.

use hashbrown::HashMap;

/// The names of one cluster that failed when they were asked for last.
#[derive(Debug, Default)]
pub(super) struct Failing {
    names: HashMap<String, Failure>,
}

#[derive(Debug)]
struct Failure {
    why: String,
    /// It failed in this round too.
    now: bool,
}

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told<'a> {
    /// It fails, or for another reason than before.
    Failed(&'a str),
    /// It failed before and does not any more.
    Recovered,
}

impl Failing {
    /// What the answer for `name` changes.
    pub(super) fn next<'a, T>(&mut self, name: &str, answer: &'a Result<T, String>) -> Option<Told<'a>> {
        let Err(why) = answer else { return self.names.remove(name).map(|_| Told::Recovered) };
        let failure = Failure { why: why.clone(), now: true };
        let before = self.names.insert(name.to_owned(), failure);
        before.is_none_or(|before| before.why != *why).then_some(Told::Failed(why))
    }

    /// Every name has been asked for once: those that were not are gone.
    pub(super) fn round(&mut self) {
        self.names.retain(|_, failure| std::mem::take(&mut failure.now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(why: &str) -> Result<(), String> {
        Err(why.to_owned())
    }

    #[test]
    fn what_changes_is_told_once() {
        let mut failing = Failing::default();
        for (answer, told) in [
            (Ok(()), None),
            (failed("unknown"), Some(Told::Failed("unknown"))),
            (failed("unknown"), None),
            (failed("late"), Some(Told::Failed("late"))),
            (failed("late"), None),
            (Ok(()), Some(Told::Recovered)),
            (Ok(()), None),
            (failed("late"), Some(Told::Failed("late"))),
        ] {
            assert_eq!(failing.next("a", &answer), told, "{answer:?}");
            failing.round();
        }
        assert_eq!(failing.next("b", &failed("late")), Some(Told::Failed("late")), "another name");
    }

    #[test]
    fn a_name_that_is_not_asked_for_any_more_is_forgotten() {
        let mut failing = Failing::default();
        failing.next("a", &failed("late"));
        failing.round();
        failing.round();
        assert!(failing.names.is_empty());
    }
}
