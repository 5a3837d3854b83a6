//! The metrics that only DynamoDB has. What every protocol has is in [`weir_measure::names`], and so are the conventions.

weir_measure::families! {
    DYNAMODB_TABLE_OPERATIONS = Counter "weir_dynamodb_table_operations_total" ["listener", "table", "operation"] max tables:
        "Calls by each table that they touch: one on several tables counts for each of them.";
    DYNAMODB_UNPROCESSED = Counter "weir_dynamodb_unprocessed_total" ["listener", "table", "operation"] max tables:
        "Keys and items that batches left undone (UnprocessedKeys, UnprocessedItems).";
    DYNAMODB_ITEM_ERRORS = Counter "weir_dynamodb_item_errors_total" ["listener", "table", "operation", "code"] max tables:
        "Statements of batches that failed, and items that cancelled a transaction, by why.";
    DYNAMODB_THROTTLES = Counter "weir_dynamodb_throttles_total" ["listener", "table", "index", "access", "cause"] max tables:
        "Throttling reasons that DynamoDB gave: `key_range_throughput` is a hot partition.";
    DYNAMODB_OPAQUE = Counter "weir_dynamodb_opaque_bodies_total" ["listener", "body"]:
        "Bodies (request, reply) that could not be read: not JSON, broken, cut short, in a coding nobody knows.";
}
