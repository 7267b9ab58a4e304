//! Nothing is here: each bench is a program of its own beside this folder, run by `cargo xtask bench`.
