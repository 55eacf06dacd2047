//! Key service: keys that wrap the depots' data keys.
