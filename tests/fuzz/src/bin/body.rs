//! What libFuzzer calls with each body that it thinks of.

#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| koobridge_fuzz::body::check(body));
