//! What libFuzzer calls with each file of the spool that it thinks of.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| koobridge_fuzz::spool_file::check(input));
