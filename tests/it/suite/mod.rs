//! The bridge's promises under load, with faults of everything around it, with a spool and without. Each scenario
//! prints a row of a table; `rig` starts and ends them all.

mod admin;
mod brokers;
pub mod checker;
mod checker_tests;
mod credentials;
mod disk;
pub mod evidence;
pub mod load;
mod network;
mod outage;
mod overload;
mod partitions;
mod power;
mod process;
pub mod random;
pub mod rig;
mod rights;
pub mod row;
mod soak;
mod squeeze;
mod topics;

/// Makes two tests of a scenario, which is a function of whether there is a spool.
macro_rules! with_and_without_a_spool {
    ($($scenario:ident),* $(,)?) => {$(
        mod $scenario {
            #[test]
            fn with_a_spool() {
                super::$scenario(true);
            }

            #[test]
            fn without_a_spool() {
                super::$scenario(false);
            }
        }
    )*};
}
use with_and_without_a_spool;
