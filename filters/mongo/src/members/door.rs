//! Where a connection came in.

/// What is remembered of a connection.
#[derive(Debug, Default)]
pub(crate) struct Door {
    /// The port that the client connected to.
    pub(crate) port: u16,
    /// A server has answered: the connection stays with it.
    pub(crate) answered: bool,
    /// It has sent something else than hellos, so it is no monitor of a driver's.
    pub(crate) spoke: bool,
}
