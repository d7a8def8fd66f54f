//! A problem as JSON, and the schema of it.

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use utoipa::ToSchema;

use super::{FieldError, Problem, TYPES};
use crate::http::request_id;

/// A problem as JSON: the members of RFC 9457 first, then our own.
pub(super) struct Document<'a> {
    pub(super) problem: &'a Problem,
    pub(super) retry_after_ms: Option<u64>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Problem {
            code,
            detail,
            members,
            errors,
            ..
        } = self.problem;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("{TYPES}{}", code.as_str()))?;
        map.serialize_entry("title", code.title())?;
        map.serialize_entry("status", &code.status().as_u16())?;
        map.serialize_entry("detail", detail)?;
        map.serialize_entry("code", code)?;
        if let Some(retry_after_ms) = self.retry_after_ms {
            map.serialize_entry("retry_after_ms", &retry_after_ms)?;
        }
        for (name, value) in members {
            map.serialize_entry(name, value)?;
        }
        if !errors.is_empty() {
            map.serialize_entry("errors", errors)?;
        }
        if let Some(request_id) = request_id::current() {
            map.serialize_entry("request_id", &*request_id)?;
        }
        map.end()
    }
}

/// The shape of every error answer, `application/problem+json` (RFC 9457). Which of the further members are there depends on the
/// code.
#[derive(Debug, ToSchema)]
#[schema(as = Problem)]
#[expect(
    dead_code,
    reason = "only the schema of it is used: a problem is written by hand, member by member"
)]
pub struct ProblemDocument {
    /// Where the code is explained: an address of the node that answered.
    #[schema(rename = "type", example = "/docs/errors/pool_full")]
    type_: String,
    /// Short name of the kind of problem, for people.
    #[schema(example = "All seats are in use")]
    title: String,
    /// The HTTP status, repeated.
    #[schema(example = 409)]
    status: u16,
    /// What happened and what to do next, for people. The wording can change.
    detail: String,
    /// The stable word for programs.
    #[schema(example = "pool_full")]
    code: String,
    /// When to come back, in milliseconds; also sent as `Retry-After`, in whole seconds.
    #[schema(nullable = false)]
    retry_after_ms: Option<u64>,
    /// Names the request in the node's log; the same as the header `x-request-id`.
    #[schema(nullable = false)]
    request_id: Option<String>,
    /// With 503: `none` if surely nothing was done, `unknown` if it may have been.
    #[schema(nullable = false, example = "none")]
    outcome: Option<String>,
    /// With a denial: seats in use.
    #[schema(nullable = false)]
    in_use: Option<u64>,
    /// With a denial: seats in all.
    #[schema(nullable = false)]
    capacity: Option<u64>,
    /// With `tenant_full`: the rule that denied, `max`, `tenant_max` or `reserved`.
    #[schema(nullable = false, example = "max")]
    limit: Option<String>,
    /// With `tenant_full`: the sub-account.
    tenant: Option<String>,
    /// With `platform_not_licensed`: those that get a seat.
    #[schema(nullable = false)]
    platforms: Option<Vec<String>>,
    /// With `holder_blocked` and `lease_terminated`: the end of the block.
    #[schema(format = DateTime)]
    blocked_until: Option<String>,
    /// With `holder_blocked` and `lease_terminated`: what the operator said.
    reason: Option<String>,
    /// The id of the lease or of the thing that it is about.
    #[schema(nullable = false)]
    id: Option<String>,
    /// With `precondition_failed`: the present version; null for a pool that does not exist.
    version: Option<u64>,
    /// With `invalid_request`: the field of the body that does not fit.
    #[schema(nullable = false, example = "capacity")]
    field: Option<String>,
    /// With `invalid_request`: what is wrong with single fields.
    #[schema(nullable = false)]
    errors: Option<Vec<FieldError>>,
    /// With `invalid_request`: the line of the body at which reading stopped.
    #[schema(nullable = false)]
    line: Option<u64>,
    /// With `invalid_request`: the column of that line.
    #[schema(nullable = false)]
    column: Option<u64>,
    /// With `payload_too_large`: the most bytes that the route takes.
    #[schema(nullable = false)]
    limit_bytes: Option<u64>,
    /// With `not_ready` and its like: each check, as `/readyz` has them.
    #[schema(nullable = false)]
    checks: Option<BTreeMap<String, String>>,
    /// With `not_ready` and its like: why a check is not `ok`.
    #[schema(nullable = false)]
    reasons: Option<BTreeMap<String, String>>,
}
