//! What a listener does with what requests say beside what they ask: names that can be read as others, fields of Weir's own.

use crate::adds::Adds;
use weir_config::{Fields, Walk, words};

words! {
    /// What becomes of a field whose name a server may read as that of another.
    pub enum Underscores {
        #[doc = "The request is refused with 400, and counted (`field_name_ambiguous`)."]
        Refuse = "refuse",
        #[doc = "The field is removed, and counted."]
        Drop = "drop",
    }
}

/// The settings.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    /// What Weir adds.
    pub adds: Adds,
    /// What becomes of names that can be read as others.
    pub underscores: Underscores,
    /// A client's own request id stays, whoever it is.
    pub keep_request_id: bool,
}

pub(super) fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Said> {
    let adds = fields.table_or_default(walk, "adds");
    let adds = Adds::read(walk, &adds);
    let underscores = fields.word(walk, "underscores");
    let keep_request_id = fields.flag(walk, "keep_request_id");
    Some(Said { adds, underscores: underscores?, keep_request_id: keep_request_id? })
}
