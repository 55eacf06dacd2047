//! A way in for the fuzzers: everything that reads what libvirt says.

use model::RegionId;

use crate::domain::DomainDef;
use crate::xml::Element;
use crate::{checkpoint, spec};

/// Reads one document in every way we read any.
///
/// # Panics
/// When a document that was read, printed and read again is another.
pub fn read_xml(text: &str) {
    let _ = DomainDef::parse(text, &RegionId::from("tokyo"), [7; 16]);
    let _ = spec::made_by(text);
    let _ = spec::free_device(text);
    let _ = checkpoint::covered(text, |_, disk| disk.attribute("size").is_some());
    if let Ok(root) = Element::parse(text) {
        let printed = root.print();
        let again = Element::parse(&printed).map(|root| root.print());
        assert_eq!(again.as_ref(), Ok(&printed), "printed, and not the same when read");
    }
}
