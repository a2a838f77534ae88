//! The fuzz target for a connection's bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| koobridge_fuzz::head::check(input));
