//! The names of collections by what a worker has seen of late: an application works on a few of them, and finding the name of one by
//! the worker's table takes longer than everything else that a request's name does.

use std::cell::{Cell, RefCell};

use weir_decide::exchange::NameId;
use weir_measure::MAX_NAME;

/// How many are remembered; one that comes to stand in another's place takes it.
const PLACES: usize = 32;

/// The latest collections of a listener on one worker, and their names.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    places: [RefCell<Place>; PLACES],
    /// How many names had given way to others when all of these had not.
    gone: Cell<u64>,
}

#[derive(Debug)]
struct Place {
    database: Vec<u8>,
    collection: Vec<u8>,
    name: NameId,
}

impl Default for Place {
    fn default() -> Place {
        Place { database: Vec::new(), collection: Vec::new(), name: NameId::NONE }
    }
}

impl Resources {
    /// Forgets all of them if names have given way to others since: `gone` counts those.
    pub(crate) fn renew(&self, gone: u64) {
        if self.gone.replace(gone) != gone {
            self.places.iter().for_each(|place| place.borrow_mut().name = NameId::NONE);
        }
    }

    /// The name of this collection; `find` says it where it is not remembered.
    pub(crate) fn name(&self, database: &[u8], collection: &[u8], find: impl FnOnce() -> NameId) -> NameId {
        let Some(place) = self.places.get(place(database, collection)) else { return find() };
        let place = &mut *place.borrow_mut();
        if place.name != NameId::NONE && place.collection == collection && place.database == database {
            return place.name;
        }
        let name = find();
        // One that is too long is cut, which counts each time.
        if database.len() + collection.len() >= MAX_NAME {
            return name;
        }
        // What has no name for now may have one later, when there is room.
        if name != NameId::NONE && name != NameId::OTHER {
            database.clone_into(&mut place.database);
            collection.clone_into(&mut place.collection);
            place.name = name;
        }
        name
    }
}

/// A few bytes tell collections apart that are worked on together.
fn place(database: &[u8], collection: &[u8]) -> usize {
    let ends = |name: &[u8]| {
        let [first, last] = [name.first(), name.last()].map(|end| usize::from(end.copied().unwrap_or(0)));
        first.wrapping_mul(3) ^ last.wrapping_mul(7) ^ name.len()
    };
    (ends(collection).wrapping_mul(5) ^ ends(database)) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_was_found() {
        let resources = Resources::default();
        let asked = Cell::new(0);
        let name = |database: &str, collection: &str, id: NameId| {
            resources.name(database.as_bytes(), collection.as_bytes(), || {
                asked.set(asked.get() + 1);
                id
            })
        };
        let ids: Vec<NameId> = (0..100).map(|n| NameId(n + 2)).collect();
        for round in 0..3 {
            for (n, id) in ids.iter().enumerate() {
                assert_eq!(name(&format!("shop{}", n % 7), &format!("orders_{n}"), *id), *id, "{round}");
            }
        }
        // Those beside one another in the same place take it from one another; one alone keeps it.
        asked.set(0);
        for _ in 0..3 {
            assert_eq!(name("other", "things", ids[5]), ids[5]);
        }
        assert_eq!(asked.get(), 1);
        // The dot stands where it stands, and a missing part is none.
        assert_eq!(name("othert", "hings", ids[6]), ids[6]);
        assert_eq!(name("other", "", ids[7]), ids[7]);
        // A name that is cut is looked for each time: each time counts.
        let long = "x".repeat(250);
        for (database, times) in [("other", 1), ("others", 3)] {
            asked.set(0);
            (0..3).for_each(|_| assert_eq!(name(database, &long, ids[9]), ids[9]));
            assert_eq!(asked.get(), times);
        }
        // A name that has given way to others is another one when it comes again.
        assert_eq!(name("renewed", "x", ids[8]), ids[8]);
        resources.renew(0);
        assert_eq!(name("renewed", "x", ids[9]), ids[8]);
        resources.renew(1);
        assert_eq!(name("renewed", "x", ids[9]), ids[9]);
        // No name is no name for ever.
        assert_eq!(name("full", "x", NameId::OTHER), NameId::OTHER);
        assert_eq!(name("full", "x", ids[8]), ids[8]);
    }
}
