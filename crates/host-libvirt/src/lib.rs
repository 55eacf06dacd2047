//! The libvirt host: the only crate that knows libvirt, its XML and its checkpoints.
