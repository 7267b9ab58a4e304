//! Tests through the public interface, on clocks that stand still until they are moved.

mod backoff;
mod cancellation;
mod concurrency;
mod events;
mod golden;
mod registry;
mod sequential_model;
mod settings;

/// Makes each row of a table a test of its own: `name: expression => expected`.
#[macro_export]
macro_rules! table {
    ($($name:ident: $actual:expr => $expected:expr;)*) => {
        $(
            #[test]
            fn $name() {
                assert_eq!($actual, $expected);
            }
        )*
    };
}
