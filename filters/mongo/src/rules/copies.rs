//! Collections that hold, or show, what is in others: whoever reads them reads those.
//!
//! | which | shows |
//! |---|---|
//! | `local.oplog.*` and the buffers of an initial sync | what is written, of all databases |
//! | `config.image_collection`, `config.system.preimages` | documents before and after they were changed |
//! | `config.chunks`, `config.cache.chunks.*`, `config.tags`, `config.changelog`, `config.rangeDeletions`, `config.migrationCoordinators`, what resharding and migrations keep | values of shard keys, documents |
//! | `config.sampledQueries*`, `config.analyzeShardKey*` | queries of others with their values |
//! | `system.profile` | operations on its database with their values |
//! | `system.views` | stands for the views of its database |
//! | `system.resharding.*`, `system.drop.*`, `tmp*` that are made by the server | another collection of its database |
//! | `system.buckets.x` | the time series `x` |
//! | `$cmd.*` | what runs |

use weir_decide::rules::Touch;

const BUCKETS: &[u8] = b"system.buckets.";

/// Of which collections something is a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of<'a> {
    Itself,
    One(&'a [u8]),
    Database,
    All,
}

/// Adds what the touched collections are copies of.
pub(super) fn widen(touches: &mut Vec<Touch<'_>>) {
    for n in 0..touches.len() {
        let Some(touch) = touches.get(n).copied() else { break };
        let [_, copied] = widened(touch);
        if copied != touch {
            touches.push(copied);
        }
    }
}

/// What is touched, and what that is a copy of: the same where it is none.
pub(super) fn widened(touch: Touch<'_>) -> [Touch<'_>; 2] {
    let (Some(database), Some(collection)) = (touch.database, touch.collection) else { return [touch; 2] };
    let copied = match of(database, collection) {
        Of::Itself => touch,
        Of::One(collection) => Touch { collection: Some(collection), ..touch },
        Of::Database => Touch { collection: None, ..touch },
        Of::All => Touch { database: None, collection: None, ..touch },
    };
    [touch, copied]
}

/// Whether a collection of this name may be a copy of others, in whichever database it is.
pub(super) fn may_be(collection: &[u8]) -> bool {
    [&b"local"[..], b"config", b""].iter().any(|database| of(database, collection) != Of::Itself)
}

fn of<'a>(database: &[u8], collection: &'a [u8]) -> Of<'a> {
    let begins = |with: &[&[u8]]| with.iter().any(|with| collection.starts_with(with));
    if collection.starts_with(b"$cmd") {
        return Of::All;
    }
    let all = match database {
        b"local" => begins(&[
            b"oplog",
            b"temp_oplog_buffer",
            b"initialSync",
            b"tenantMigration",
            b"system.tenantMigration",
            b"system.healthlog",
        ]),
        b"config" => begins(&[
            b"image_collection",
            b"system.preimages",
            b"chunks",
            b"cache.chunks.",
            b"tags",
            b"changelog",
            b"rangeDeletions",
            b"migrationCoordinators",
            b"migrationRecipients",
            b"reshardingOperations",
            b"localResharding",
            b"tenantMigration",
            b"sampledQueries",
            b"analyzeShardKey",
        ]),
        _ => false,
    };
    match collection.strip_prefix(BUCKETS) {
        _ if all => Of::All,
        Some(series) => Of::One(series),
        None if matches!(collection, b"system.profile" | b"system.views") => Of::Database,
        None if begins(&[b"system.resharding.", b"system.drop.", b"tmp.agg_out.", b"tmp.mr."]) => {
            Of::Database
        }
        None => Of::Itself,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_copies_counts_as_what_it_shows() {
        for (database, collection, expected) in [
            ("shop", "orders", Of::Itself),
            ("shop", "oplog.rs", Of::Itself),
            ("shop", "chunks", Of::Itself),
            ("shop", "system.profile", Of::Database),
            ("config", "system.profile", Of::Database),
            ("shop", "system.views", Of::Database),
            ("shop", "system.buckets.weather", Of::One(b"weather")),
            ("shop", "system.resharding.0b", Of::Database),
            ("shop", "$cmd.sys.inprog", Of::All),
            ("local", "oplog.rs", Of::All),
            ("local", "oplog.$main", Of::All),
            ("local", "startup_log", Of::Itself),
            ("config", "image_collection", Of::All),
            ("config", "system.preimages", Of::All),
            ("config", "cache.chunks.shop.orders", Of::All),
            ("config", "transactions", Of::Itself),
        ] {
            assert_eq!(of(database.as_bytes(), collection.as_bytes()), expected, "{database}.{collection}");
            let unnamed = may_be(collection.as_bytes());
            assert!(unnamed || expected == Of::Itself, "{collection}");
        }
        assert!(may_be(b"oplog.rs") && may_be(b"image_collection") && !may_be(b"orders"));
    }
}
