//! The fuzz target for spool files.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| koobridge_fuzz::spool_file::check(input));
