//! A whole region on one seeded thread: simulated hosts, faulty stores, crash matrix, auditors.
