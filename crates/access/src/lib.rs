//! Who is asking: access keys, signatures against replay, what they may do.
