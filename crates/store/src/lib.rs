//! Seam to the bucket, over object_store: create-only names, wrappers, a contract suite.
