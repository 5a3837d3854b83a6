//! Upstream connections that a filter has ended, because it knows that nothing more will come of them: the server is silent, and
//! another one has taken its place. To their clients it is as if the server had closed them.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};

/// The upstream connections of a listener on one worker: none is noted before somebody may want to end some.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    wanted: Cell<bool>,
    all: RefCell<Vec<Weak<Cut>>>,
}

/// One of them. Noted when it is made, and looked at whenever its task runs.
#[derive(Debug)]
pub(crate) struct Cut {
    address: Arc<str>,
    is_cut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Cuts {
    /// From now on connections can be ended.
    pub(crate) fn want(&self) {
        self.wanted.set(true);
    }

    /// Notes a connection to the endpoint `address`.
    pub(crate) fn note(&self, address: &Arc<str>) -> Option<Rc<Cut>> {
        if !self.wanted.get() {
            return None;
        }
        let cut = Rc::new(Cut {
            address: Arc::clone(address),
            is_cut: Cell::new(false),
            waker: RefCell::default(),
        });
        let mut all = self.all.borrow_mut();
        // As often as it would grow, so that it is never more than twice as long as it has to be.
        if all.len() == all.capacity() {
            all.retain(|one| one.strong_count() > 0);
        }
        all.push(Rc::downgrade(&cut));
        Some(cut)
    }

    /// Ends those to the endpoint `address`. Says how many.
    pub(crate) fn cut(&self, address: &str) -> usize {
        let all: Vec<_> = self.all.borrow().iter().filter_map(Weak::upgrade).collect();
        let of_it = all.iter().filter(|one| *one.address == *address && !one.is_cut.replace(true));
        of_it.filter_map(|one| one.waker.borrow_mut().take()).map(Waker::wake).count()
    }
}

impl Cut {
    /// Whether it has been ended; if not, the task is woken when it is.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> bool {
        if self.is_cut.get() {
            return true;
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        false
    }
}
