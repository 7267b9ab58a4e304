//! Single-decree Paxos: every order of events for three acceptors and two proposers, and what the papers say of single
//! steps.

mod model;
mod steps;
