//! NBD client: newstyle, structured replies, meta contexts, many requests in flight.
