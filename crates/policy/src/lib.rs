//! Pure decisions: what is due, which disks, how consistent, when a point expires.
