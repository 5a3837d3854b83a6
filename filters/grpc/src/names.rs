//! The metrics that only gRPC has. What every protocol has is in [`weir_measure::names`], and so are the conventions.

weir_measure::families! {
    GRPC_MESSAGES = Counter "weir_grpc_messages_total" ["listener", "direction", "compressed"]:
        "Messages that came whole, by direction (request, reply) and whether they were compressed (true, false).";
    GRPC_MESSAGE_BYTES = Counter "weir_grpc_message_bytes_total" ["listener", "direction"]:
        "Bytes of messages, without their prefixes.";
    GRPC_BROKEN = Counter "weir_grpc_broken_streams_total" ["listener", "direction"]:
        "Directions of calls whose bytes are no gRPC messages, or ended inside one though the call was complete.";
}
