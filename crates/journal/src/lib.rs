//! Durable workflows, decided: a log of step events and one pure next().
