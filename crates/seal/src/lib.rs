//! Root of trust under the key service: a file now, other sealers later.
