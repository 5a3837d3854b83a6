//! What can be wrong inside a message whose length is right.

/// A message that is framed but cannot be understood, or not wholly. Its bytes still pass by their length; what
/// was learnt before the problem stands, what comes after it was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Problem {
    /// A section of a kind other than 0 and 1.
    #[error("a section of unknown kind")]
    SectionKind,
    /// An `OP_MSG` without a body.
    #[error("no body section")]
    NoBody,
    /// An `OP_MSG` with more than one body.
    #[error("a second body section")]
    SecondBody,
    /// A length that no document, string or section can have.
    #[error("an impossible length")]
    Length,
    /// A value that reaches beyond what contains it.
    #[error("a value that reaches beyond its container")]
    Overrun,
    /// A document that does not end where it says.
    #[error("a document that ends early")]
    Terminator,
    /// A BSON type that does not exist.
    #[error("an unknown BSON type")]
    Type,
    /// The message ended inside a value.
    #[error("the message ends inside a value")]
    Truncated,
    /// Descended deeper than a known message goes.
    #[error("nested too deeply")]
    Depth,
    /// A legacy opcode's collection name or a section's identifier is too long to be one.
    #[error("a name without end")]
    Namespace,
    /// A compressor that Weir does not know.
    #[error("an unknown compressor")]
    Compressor,
    /// A compressed message inside a compressed message, or one too short to be one.
    #[error("a compressed message that cannot be")]
    Compressed,
    /// It would be larger than a message may be once decompressed.
    #[error("more than 48000000 bytes when decompressed")]
    Inflated,
    /// The compressed bytes are corrupt.
    #[error("corrupt compressed bytes")]
    Corrupt,
    /// It decompressed to another length than it announced.
    #[error("decompressed to another length than announced")]
    InflatedLength,
    /// Looking into it would take more memory than the worker has set aside for that.
    #[error("too large to look into")]
    OverBudget,
}

impl Problem {
    /// One word, for a metric's label.
    pub fn word(self) -> &'static str {
        match self {
            Problem::SectionKind => "section_kind",
            Problem::NoBody => "no_body",
            Problem::SecondBody => "second_body",
            Problem::Length => "length",
            Problem::Overrun => "overrun",
            Problem::Terminator => "terminator",
            Problem::Type => "type",
            Problem::Truncated => "truncated",
            Problem::Depth => "depth",
            Problem::Namespace => "namespace",
            Problem::Compressor => "compressor",
            Problem::Compressed => "compressed",
            Problem::Inflated => "inflated",
            Problem::Corrupt => "corrupt",
            Problem::InflatedLength => "inflated_length",
            Problem::OverBudget => "over_budget",
        }
    }
}
