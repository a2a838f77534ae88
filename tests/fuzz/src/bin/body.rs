//! The fuzz target for bodies.

#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| koobridge_fuzz::body::check(body));
