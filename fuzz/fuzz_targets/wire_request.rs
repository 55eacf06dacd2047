//! A request as it comes over HTTP: who signed it, what it asks for, every operation's parameters.
#![no_main]

use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(raw) = hikae_fuzz::raw_request(input) else { return };
    let now = model::Timestamp(1_795_000_000_000_000);
    bounded(input.len(), || {
        let _ = wire::signature::claim(&raw);
        let _ = wire::signature::verify(&raw, "secret", now);
        if let Ok(request) = wire::Request::parse(&raw) {
            hikae_fuzz::parse_all(&request.params);
        }
    });
    for sign in [wire::signature::sign_acs3, wire::signature::sign_v1] {
        let mut signed = raw.clone();
        signed.headers.retain(|(name, _)| {
            !name.to_ascii_lowercase().starts_with("x-acs-") && !name.eq_ignore_ascii_case("authorization")
        });
        if sign(&mut signed, "AKID", "secret", now, "nonce").is_ok() {
            // Signed twice, or with parameters of the signature's own, it may be refused; never for a wrong reason.
            let _ = wire::signature::verify(&signed, "secret", now);
            assert!(wire::signature::verify(&signed, "other", now).is_err(), "a wrong secret signs");
        }
    }
});
