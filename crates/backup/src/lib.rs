//! The orchestrator: policies, bindings, jobs, points, restores. Never touches a depot or a host.
