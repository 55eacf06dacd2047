//! Runs journaled workflows: record, act, record; retries, undo, recovery.
