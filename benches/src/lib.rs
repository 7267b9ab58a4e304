//! What more than one bench uses. Each bench is a program of its own beside this folder, run by `cargo xtask bench`.

pub mod statistics;
