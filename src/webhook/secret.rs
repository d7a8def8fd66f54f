//! The secret that signs the messages of one webhook.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;

/// Bytes of a new secret.
const SECRET: usize = 32;

/// What the text of a secret begins with.
pub(super) const PREFIX: &str = "whsec_";

/// What signs the messages of one webhook. Shows itself to nobody but by [`SigningSecret::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret([u8; SECRET]);

impl SigningSecret {
    /// A new one, from the generator of the operating system.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Its text, for the receiver, once: `whsec_` and base64.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0))
    }

    /// `v1,` and the signature of a message, as it stands in `webhook-signature`.
    pub fn sign(&self, id: &str, at_seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        mac.update(format!("{id}.{at_seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

// For the store, which has to keep it, and for nothing else.
impl Serialize for SigningSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for SigningSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix(PREFIX)
            .and_then(|text| STANDARD.decode(text).ok()?.try_into().ok())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("not a signing secret"))
    }
}

/// A former secret that still signs next to the present one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// The secret.
    pub secret: SigningSecret,
    /// Until when, ms.
    pub until_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_example_of_the_specification() {
        // Computed with the published libraries for this secret; it is shorter than ours, and padded here by the HMAC.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}");
        assert_eq!(
            STANDARD.encode(mac.finalize().into_bytes()),
            "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        // A key of 24 bytes with zeros behind it is the same key to an HMAC.
        let mut padded = [0; SECRET];
        padded[..key.len()].copy_from_slice(&key);
        let secret = SigningSecret(padded);
        assert_eq!(
            secret.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                b"{\"test\": 2432232314}"
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
