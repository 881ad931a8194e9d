//! The fuzz target of this crate.

use crate::{DOCUMENT_MAX, Program};

/// Any bytes: no panic, and an error points into the document.
pub fn document(data: &[u8]) {
    if let Err(error) = Program::parse(data) {
        let lines = data.iter().filter(|b| **b == b'\n').count() + 1;
        assert!(error.line as usize <= lines, "{error}");
        assert!(error.column as usize <= DOCUMENT_MAX + 1, "{error}");
        assert!(matches!(error.code, crate::NOT_XML | crate::NOT_VALID));
    }
}
