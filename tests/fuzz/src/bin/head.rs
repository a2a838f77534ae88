//! What libFuzzer calls with each connection's bytes that it thinks of.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| koobridge_fuzz::head::check(input));
