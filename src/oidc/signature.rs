//! Signatures of JWTs, by ring.
//!
//! `jsonwebtoken` reads headers and keys and leaves the cryptography to a provider; this one has public keys only.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::signature::{Error as SignatureError, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Validation};
use ring::signature as by_ring;
use ring::signature::{
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Map, Value};

use super::Error;

/// Maximum length of a token, in characters.
const MAX_TEXT: usize = 64 * 1024;
/// Maximum keys per provider.
const MAX_KEYS: usize = 100;

/// What a token may be signed with. Not with a secret that both know, and not with nothing.
pub(super) const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// The keys of a provider that signatures can be checked with.
pub(super) struct PublicKeys(Vec<Jwk>);

impl PublicKeys {
    /// Those of a JWK set. What cannot be read, or is for something else, is left out.
    pub(super) fn of(set: &Value) -> Self {
        let keys = set["keys"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let keys = keys.iter().take(MAX_KEYS).filter_map(|key| {
            let key: Jwk = serde_json::from_value(key.clone()).ok()?;
            let signs = matches!(
                key.common.public_key_use,
                None | Some(PublicKeyUse::Signature)
            );
            (signs && family(&key).is_some()).then_some(key)
        });
        Self(keys.collect())
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys that a token with this header may be signed with.
    fn fitting(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Jwk> {
        self.0.iter().filter(move |key| {
            let named = key.common.key_id.as_deref();
            let is_named = kid.is_none_or(|kid| named == Some(kid));
            let is_meant = key.common.key_algorithm.is_none_or(|meant| {
                Algorithm::try_from(meant).is_ok_and(|meant| meant == algorithm)
            });
            is_named && is_meant && family(key) == Some(algorithm.family())
        })
    }
}

/// The algorithms that a key is for; none for those that are not used here, as of Ed448 and secrets.
fn family(key: &Jwk) -> Option<AlgorithmFamily> {
    Some(match &key.algorithm {
        AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa,
        AlgorithmParameters::EllipticCurve(_) => AlgorithmFamily::Ec,
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            AlgorithmFamily::Ed
        }
        _ => return None,
    })
}

/// What a token is signed with, from its header.
pub(super) struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Header {
    /// Reads the header of a token, of which nothing is to be believed yet.
    pub(super) fn of(token: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Untrusted(format!("the token {why}"));
        if token.len() > MAX_TEXT {
            return Err(wrong("is too long"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| {
            wrong("has no header that can be read, or an algorithm that is not taken")
        })?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(wrong("is signed with an algorithm that is not taken"));
        }
        Ok(Self {
            algorithm: header.alg,
            kid: header.kid,
        })
    }
}

/// The claims of a token, if one of these keys has signed it. Nothing else of them is checked.
pub(super) fn verified(
    token: &str,
    header: &Header,
    keys: &PublicKeys,
) -> Option<Map<String, Value>> {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let _ = PROVIDER.install_default();
    });
    let mut validation = Validation::new(header.algorithm);
    validation.required_spec_claims.clear();
    // By the clock and the settings of this installation, in `id_token`.
    validation.validate_exp = false;
    validation.validate_aud = false;
    for key in keys.fitting(header.kid.as_deref(), header.algorithm) {
        let Ok(key) = DecodingKey::from_jwk(key) else {
            continue;
        };
        if let Ok(read) = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation) {
            return Some(read.claims);
        }
    }
    None
}

struct ByRing {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let is_good = match (
            self.key.kind(),
            rsa(self.algorithm),
            of_curve(self.algorithm),
        ) {
            (DecodingKeyKind::RsaModulusExponent { n, e }, Some(parameters), _) => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signature).is_ok()
            }
            (DecodingKeyKind::SecretOrDer(point), None, Some(curve)) => {
                UnparsedPublicKey::new(curve, point)
                    .verify(message, signature)
                    .is_ok()
            }
            _ => false,
        };
        if is_good {
            Ok(())
        } else {
            Err(SignatureError::new())
        }
    }
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, JwtError> {
    if key.family() != algorithm.family() || !ALGORITHMS.contains(algorithm) {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(ByRing {
        algorithm: *algorithm,
        key: key.clone(),
    }))
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &by_ring::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &by_ring::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &by_ring::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &by_ring::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &by_ring::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &by_ring::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn of_curve(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::ES256 => &by_ring::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &by_ring::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &by_ring::ED25519,
        _ => return None,
    })
}
