//! Keys as they are shown and asked for.

use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::access_key::{AccessKey, KeyId, Limits, Origin, Role, usual_burst};
use crate::http::when::When;
use crate::names::{Label, PoolName, Tenant};
use crate::time::Timestamp;

/// A key, without its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyBody {
    /// Its name for machines; the second part of the secret begins with it.
    #[schema(value_type = String, example = "V1StGXR8Z5jd")]
    pub(crate) id: KeyId,
    /// Its name for people.
    #[schema(value_type = String, example = "crm widget")]
    pub(crate) name: Label,
    /// What it allows.
    pub(crate) role: Role,
    /// The pools that it is for; of an operator's key none means all.
    #[schema(value_type = Vec<String>)]
    pub(crate) pools: Vec<PoolName>,
    /// The tenants that an operator's key sees and touches; none means all.
    #[schema(value_type = Vec<String>)]
    pub(crate) tenants: Vec<Tenant>,
    /// The tenant of everybody who acquires with a client key; null leaves it to them.
    #[schema(value_type = Option<String>)]
    pub(crate) tenant: Option<Tenant>,
    /// The pages that may use it.
    #[schema(value_type = Vec<String>)]
    pub(crate) origins: Vec<Origin>,
    /// How often a client key may be used.
    pub(crate) limits: LimitsBody,
    /// When it was used last, on any node, to a few seconds; null if it never was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) last_used_at: Option<Timestamp>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Timestamp,
    /// When it ends by itself; null is never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) expires_at: Option<Timestamp>,
    /// End of the time in which the former secret is accepted, too; null without one.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) former_secret_until: Option<Timestamp>,
}

impl KeyBody {
    pub(crate) fn of(key: &AccessKey, last_used_at: Option<Timestamp>, now: Timestamp) -> Self {
        let former = key.former.as_ref().map(|former| Timestamp(former.until_ms));
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            role: key.role,
            pools: key.pools.clone(),
            tenants: key.tenants.clone(),
            tenant: key.tenant.clone(),
            origins: key.origins.clone(),
            limits: LimitsBody::of(key),
            last_used_at,
            created_at: Timestamp(key.created_at_ms),
            expires_at: key.expires_at_ms.map(Timestamp),
            former_secret_until: former.filter(|until| now < *until),
        }
    }
}

/// How often a client key may be used, on each node. Heartbeats are not counted.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Limits)]
pub(crate) struct LimitsBody {
    /// Requests per minute with this key, from everywhere together.
    #[schema(value_type = u32, minimum = 1, example = 6_000)]
    pub(crate) per_minute: NonZeroU32,
    /// How many may come at once. Where it was not set it is a sixth of `per_minute`, and from one address a sixth of
    /// `per_address_per_minute`.
    #[schema(value_type = u32, minimum = 1, example = 1_000)]
    pub(crate) burst: NonZeroU32,
    /// The same as `per_minute` from one network address: an IPv4 address, or the first 64 bits of an IPv6 address.
    #[schema(value_type = u32, minimum = 1, example = 1_200)]
    pub(crate) per_address_per_minute: NonZeroU32,
}

impl LimitsBody {
    pub(super) fn of(key: &AccessKey) -> Self {
        let per_minute = key.limits.per_minute;
        Self {
            per_minute,
            burst: key.burst.unwrap_or_else(|| usual_burst(per_minute)),
            per_address_per_minute: key.limits.per_address_per_minute,
        }
    }
}

/// Limits to set; what is left out is as it was, or as usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = LimitsChange)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsWanted {
    /// Requests per minute with this key, from everywhere together; 6 000 if nothing else is said.
    #[schema(value_type = Option<u32>, minimum = 1, example = 6_000)]
    pub(super) per_minute: Option<NonZeroU32>,
    /// How many may come at once, from everywhere together and from one address; a sixth of each limit if nothing else is said.
    #[schema(value_type = Option<u32>, minimum = 1, example = 1_000)]
    pub(super) burst: Option<NonZeroU32>,
    /// Requests per minute from one network address. If nothing else is said, 1 200 for a key that pages use, and as many as
    /// `per_minute` for one without origins: a backend asks for everybody from one address.
    #[schema(value_type = Option<u32>, minimum = 1, example = 1_200)]
    pub(super) per_address_per_minute: Option<NonZeroU32>,
}

impl LimitsWanted {
    /// Puts these limits in the place of those of a key.
    pub(super) fn put_into(self, key: &mut AccessKey) {
        // Whoever sends back what was read means no change.
        let is_as_read = self.burst == Some(LimitsBody::of(key).burst)
            && self
                .per_minute
                .is_none_or(|per_minute| per_minute == key.limits.per_minute);
        if self.burst.is_some() && !is_as_read {
            key.burst = self.burst;
        }
        if let Some(per_minute) = self.per_minute {
            key.limits.per_minute = per_minute;
        }
        if let Some(per_minute) = self.per_address_per_minute {
            key.limits.per_address_per_minute = per_minute;
        }
    }

    /// The limits of a new key.
    pub(super) fn of_a_new_key(self, origins: &[Origin]) -> Limits {
        let usual = if origins.is_empty() {
            Limits::of_a_backend()
        } else {
            Limits::default()
        };
        let per_minute = self.per_minute.unwrap_or(usual.per_minute);
        let of_an_address = usual.per_address_per_minute.min(per_minute);
        Limits {
            per_minute,
            per_address_per_minute: self
                .per_address_per_minute
                .unwrap_or(if origins.is_empty() {
                    per_minute
                } else {
                    of_an_address
                }),
        }
    }
}

/// A key with its secret, this once.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyWithSecret {
    #[serde(flatten)]
    pub(super) key: KeyBody,
    /// Send it as `Authorization: Bearer …`. It is not kept and cannot be shown again.
    #[schema(example = "lh_client_V1StGXR8Z5jd…")]
    pub(super) secret: String,
}

/// A key to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKey {
    /// For people, at most 128 bytes.
    #[schema(value_type = String, max_length = 128, example = "crm widget")]
    pub(crate) name: Label,
    /// What it allows.
    pub(crate) role: Role,
    /// The pools that it is for. A client key names at least one; of an operator's key none means all.
    #[schema(value_type = Vec<String>, max_items = 100, example = json!(["crm"]))]
    #[serde(default)]
    pub(crate) pools: Vec<PoolName>,
    /// For operators' keys: the tenants that it sees and touches. None means all.
    #[schema(value_type = Vec<String>, max_items = 100, example = json!(["acme"]))]
    #[serde(default)]
    pub(crate) tenants: Vec<Tenant>,
    /// For client keys: the tenant of everybody who acquires with it. Without it each request may name one.
    #[schema(value_type = Option<String>, max_length = 64, example = "acme")]
    #[serde(default)]
    pub(crate) tenant: Option<Tenant>,
    /// For client keys: the pages that may use it, such as `https://crm.example`. Without any, no page may.
    #[schema(value_type = Vec<String>, max_items = 100, example = json!(["https://crm.example"]))]
    #[serde(default)]
    pub(crate) origins: Vec<Origin>,
    /// For client keys: how often it may be used.
    #[serde(default)]
    pub(crate) limits: LimitsWanted,
    /// When it ends by itself, in milliseconds from now, at most ten years.
    #[serde(default)]
    #[schema(maximum = 316_224_000_000_u64)]
    pub(crate) expires_in_ms: Option<u64>,
    /// When it ends by itself, as an instant in RFC 3339, in place of `expires_in_ms`.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    pub(crate) expires_at: Option<When>,
}

/// What to change of a key; what is left out stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeKey {
    /// For people, at most 128 bytes.
    #[schema(value_type = Option<String>, max_length = 128, example = "crm widget")]
    #[serde(default)]
    pub(super) name: Option<Label>,
    /// The pools that it is for. A client key names at least one; of an operator's key none means all.
    #[schema(value_type = Option<Vec<String>>, max_items = 100, example = json!(["crm"]))]
    #[serde(default)]
    pub(super) pools: Option<Vec<PoolName>>,
    /// For operators' keys: the tenants that it sees and touches. None means all.
    #[schema(value_type = Option<Vec<String>>, max_items = 100, example = json!(["acme"]))]
    #[serde(default)]
    pub(super) tenants: Option<Vec<Tenant>>,
    /// For client keys: the tenant of everybody who acquires with it; null leaves it to them.
    #[schema(value_type = Option<String>, max_length = 64, example = "acme")]
    #[serde(default, deserialize_with = "given")]
    pub(super) tenant: Option<Option<Tenant>>,
    /// For client keys: the pages that may use it.
    #[schema(value_type = Option<Vec<String>>, max_items = 100, example = json!(["https://crm.example"]))]
    #[serde(default)]
    pub(super) origins: Option<Vec<Origin>>,
    /// For client keys: how often it may be used.
    #[serde(default)]
    pub(super) limits: Option<LimitsWanted>,
    /// When it ends by itself, as an instant in RFC 3339; null is never.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "given")]
    pub(super) expires_at: Option<Option<When>>,
}

/// Tells null from a field that is left out.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// How to replace a secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RollKey {
    /// How long the former secret stays good, in milliseconds, at most 90 days; a day without it.
    #[schema(maximum = 7_776_000_000_u64)]
    pub(super) overlap_ms: Option<u64>,
}
