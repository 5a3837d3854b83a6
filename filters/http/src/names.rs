//! The metrics that only listeners of HTTP have, whatever the dialect. What every protocol has is in
//! [`weir_measure::names`], and so are the conventions.

weir_measure::families! {
    HTTP_REJECTS = Counter "weir_http_rejects_total" ["listener", "rule"] max 8192:
        "Messages that broke a rule of HTTP, by rule; requests are answered and their connection is closed, replies become a 502.";
    HTTP_REPLAY_EXCEEDED = Counter "weir_http_replay_exceeded_total" ["listener"]:
        "Requests whose body was too large to be kept for another try.";
    HTTP_FLOODS = Counter "weir_http_floods_total" ["listener"]:
        "HTTP/2 connections that were ended because the client reset too many streams, or sent too many frames that say nothing.";
    HTTP_STALE_CONNECTIONS = Counter "weir_http_stale_connections_total" ["listener"]:
        "Tries that found a kept connection closed, or their stream refused, and went on another at once.";
    HTTP_CLIENT_FIELDS = Counter "weir_http_client_fields_total" ["listener"]:
        "Requests of peers that are not `trusted` from which fields about the client (x-forwarded-for and the like) were removed.";
    HTTP_AMBIGUOUS_FIELDS = Counter "weir_http_ambiguous_fields_total" ["listener"]:
        "Requests from which fields were removed whose names a server may read as others (`underscores: drop`).";
    HTTP_SIGNED = Counter "weir_http_signed_total" ["listener", "result"]:
        "Requests with a signature where `signed` holds: `untouched`, or `changed` where the path was made normal or a field that the signature covers is for one connection only.";
    HTTP_MAX_STREAMS_MET = Counter "weir_http_max_streams_met_total" ["listener"]:
        "HTTP/2 connections of clients that came to as many streams at a time as they may have: the next ones wait for one to end.";
    HTTP_DEAD_CONNECTIONS = Counter "weir_http_dead_connections_total" ["listener", "side"]:
        "HTTP/2 connections that were left because their peer, a client or an upstream, did not answer a PING.";
}
