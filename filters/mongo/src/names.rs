//! The metrics that only MongoDB has. What every protocol has is in [`weir_measure::names`], and so are the conventions.

weir_measure::families! {
    MONGO_RULE_ACTIONS = Counter "weir_mongo_rule_actions_total" ["listener", "rule", "action", "dry_run"] max 8192:
        "What rules did: refused, limited, cut short or disturbed an operation, by rule and what it does. Under `dry_run` `true`: what a rule would have done, had it not only run dry.";
    MONGO_AWAITED_CURSORS_FORGOTTEN = Counter "weir_mongo_awaited_cursors_forgotten_total" []:
        "Cursors that wait for data and are no longer known to, because there are too many; their getMores may count in latencies.";
    MONGO_HELLOS = Counter "weir_mongo_hellos_total" ["listener", "result"]:
        "Answers to hello in members mode: `rewritten` to name Weir, `incomplete` too, but without a member for which no address was there within a second, `passed` because they name nobody, `refused` because they could not be rewritten, which ended the connection.";
    MONGO_MEMBERS_REFUSED = Counter "weir_mongo_members_refused_total" ["listener", "reason"]:
        "Members that a server named and that are not believed in, each time that these change: `too_many` (beyond 50), `malformed`, `near` (on this host or its link, where no server of the configuration is).";
    MONGO_MEMBERS = Gauge "weir_mongo_members" ["listener"]:
        "Members of the replica set that have an address at the listener.";

    MONGO_MEMBER_ROLE = Gauge "weir_mongo_member_role" ["listener", "member", "role"]:
        "1 for what a server was when it was last heard of: primary, secondary, arbiter, other (starting, recovering, just replaced), unreachable, standalone, router.";
    MONGO_ELECTIONS = Counter "weir_mongo_elections_total" ["listener"]:
        "Elections that were seen, by a primary that names a later one than the one before.";
    MONGO_MEMBER_ROUND_TRIP = Gauge "weir_mongo_member_round_trip_seconds" ["listener", "member"]:
        "How long the latest hello to a server took, connecting left out: Weir's own in members mode, otherwise one of a client that did not wait for news.";

    MONGO_CONNECTIONS = Counter "weir_mongo_connections_total" ["listener", "application", "driver", "version", "framework"]:
        "Connections by the application and driver that their first hello names, and by the framework upon that, if there is one.";
    MONGO_CONNECTIONS_REFUSED = Counter "weir_mongo_connections_refused_total" ["listener", "application"]:
        "Connections that were closed because their application has max_connections_per_application.";
    MONGO_CONNECTIONS_OPEN = Gauge "weir_mongo_connections_open" ["listener", "application", "driver", "version", "framework"]:
        "Connections that are open, by the application and driver that their first hello names, and by the framework upon that.";
    MONGO_AUTHENTICATIONS = Counter "weir_mongo_authentications_total" ["listener", "mechanism", "result"]:
        "Authentications that have ended, by mechanism and result: ok, failed.";
    MONGO_COMPRESSED_BYTES = Counter "weir_mongo_compressed_bytes_total" ["listener", "compressor", "direction"]:
        "Bytes of compressed messages (request, reply), as they are on the wire.";
    MONGO_UNCOMPRESSED_BYTES = Counter "weir_mongo_uncompressed_bytes_total" ["listener", "compressor", "direction"]:
        "The same messages' bytes when decompressed; by those on the wire, what compression saves.";
    MONGO_CURSORS_OPEN = Gauge "weir_mongo_cursors_open" ["listener"]:
        "Cursors that are open on the server, as far as is known.";
    MONGO_CURSORS = Counter "weir_mongo_cursors_total" ["listener", "end"]:
        "Cursors of more than one batch that have ended, by how: exhausted, killed (also with the transaction in which they were opened), failed, abandoned (idle for too long), forgotten (no room).";
    MONGO_COLLECTION_CURSORS_OPEN = Gauge "weir_mongo_collection_cursors_open" ["listener", "resource"]:
        "Cursors that are open on the server, as far as is known, by collection.";
    MONGO_COLLECTION_CURSORS = Counter "weir_mongo_collection_cursors_total" ["listener", "resource", "end"]:
        "Cursors that have ended, by collection: as many as weir_mongo_cursors_total says. 256 collections of a listener, the others are _other.";
    MONGO_COLLECTION_CURSOR_BATCHES = Counter "weir_mongo_collection_cursor_batches_total" ["listener", "resource"]:
        "Batches of the cursors that have ended, by collection.";
    MONGO_CURSOR_BATCHES = Counts "weir_mongo_cursor_batches" ["listener", "end"]:
        "Batches of each cursor that has ended.";
    MONGO_CURSOR_DURATION = Spans "weir_mongo_cursor_duration_seconds" ["listener", "end"]:
        "How long each cursor that has ended was open.";
    MONGO_TRANSACTIONS_OPEN = Gauge "weir_mongo_transactions_open" ["listener"]:
        "Transactions under way.";
    MONGO_TRANSACTIONS_STARTED = Counter "weir_mongo_transactions_started_total" ["listener"]:
        "Transactions that were started.";
    MONGO_TRANSACTIONS = Counter "weir_mongo_transactions_total" ["listener", "end"]:
        "Transactions that have ended, by how: committed, aborted (also by the next one of their session), commit_failed, abandoned (idle for too long), forgotten (no room).";
    MONGO_TRANSACTION_STATEMENTS = Counts "weir_mongo_transaction_statements" ["listener", "end"]:
        "Statements of each transaction that has ended, commit and abort left out.";
    MONGO_TRANSACTION_DURATION = Spans "weir_mongo_transaction_duration_seconds" ["listener", "end"]:
        "How long each transaction that has ended took, from its first statement on.";
}
