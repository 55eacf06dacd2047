//! The frozen outside: RPC framing, signatures, parameter encodings, envelopes, errors.
