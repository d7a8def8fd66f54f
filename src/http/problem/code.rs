//! The stable words for programs: one table, which the specification of the clients is compared with.

use axum::http::StatusCode;
use serde::ser::{Serialize, Serializer};

/// Declares the codes once, so that word, status and title cannot get out of step.
macro_rules! codes {
    ($($(#[doc = $meaning:literal])* $code:ident $word:literal $status:ident $title:literal;)*) => {
        /// The stable word for programs that names the kind of problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $meaning])* $code,)*
        }

        impl Code {
            /// Every code, in the order in which they are documented.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The word itself, as it stands in `code` and at the end of `type`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $word,)*
                }
            }

            /// The HTTP status that goes with the code, always the same.
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$code => StatusCode::$status,)*
                }
            }

            /// What it says, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$code => concat!($($meaning),*),)*
                }
            }

            /// A short name for people, the same for every problem of this code.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$code => $title,)*
                }
            }
        }
    };
}

codes! {
    // Denials: the pool answered, and the answer is no.
    /// All seats of the pool are in use.
    PoolFull "pool_full" CONFLICT "All seats are in use";
    /// The tenant uses all that it may.
    TenantFull "tenant_full" CONFLICT "The tenant uses all its seats";
    /// All named seats of the period are occupied.
    NamedSeatsExhausted "named_seats_exhausted" CONFLICT "All named seats are taken";
    /// The queue of the pool takes nobody more.
    QueueFull "queue_full" CONFLICT "The queue is full";
    /// An operator blocked the holder for a time.
    HolderBlocked "holder_blocked" CONFLICT "The holder is blocked";

    // Hand-over of a seat.
    /// The pool does not let those who wait ask for a seat.
    HandOverOff "hand_over_off" CONFLICT "Nobody is asked for a seat here";
    /// The ticket has its seat, or its place is lost.
    NotWaiting "not_waiting" CONFLICT "The ticket does not wait";
    /// Nobody asks who could have this seat.
    NoSeatRequest "no_seat_request" CONFLICT "Nobody asks for this seat";

    // Not allowed.
    /// The pool has no licence for this platform.
    PlatformNotLicensed "platform_not_licensed" FORBIDDEN "The platform is not licensed";
    /// The client key does not name this origin.
    OriginNotAllowed "origin_not_allowed" FORBIDDEN "The origin is not allowed";
    /// The credential does not allow this.
    Forbidden "forbidden" FORBIDDEN "Not allowed";
    /// There is no credential, or it is unknown.
    Unauthorized "unauthorized" UNAUTHORIZED "A credential is needed";
    /// The token does not verify.
    InvalidToken "invalid_token" UNAUTHORIZED "The token is not valid";

    // Ends that a renew reads.
    /// Time ended the lease.
    LeaseExpired "lease_expired" GONE "The lease has expired";
    /// The holder gave the seat back.
    LeaseReleased "lease_released" GONE "The lease was released";
    /// An operator ended the lease.
    LeaseTerminated "lease_terminated" GONE "The lease was terminated";
    /// A policy ended the lease.
    LeaseEvicted "lease_evicted" GONE "The lease was evicted";

    // What an operator's request meets.
    /// Somebody has a seat, and the change needs an empty pool.
    PoolInUse "pool_in_use" CONFLICT "The pool is in use";
    /// A node that is up does not know the word yet.
    OlderNode "older_node" CONFLICT "A node is too old for this";
    /// The named seat was transferred before in this period.
    NamedSeatTransferred "named_seat_transferred" CONFLICT "The named seat was transferred before";

    // Too late.
    /// The place in the queue is lost.
    TicketExpired "ticket_expired" GONE "The ticket has expired";

    // Not there.
    /// No pool has this name.
    PoolNotFound "pool_not_found" NOT_FOUND "No such pool";
    /// No lease has this id.
    LeaseNotFound "lease_not_found" NOT_FOUND "No such lease";
    /// No key has this id.
    KeyNotFound "key_not_found" NOT_FOUND "No such key";
    /// No login to the admin pages has this id.
    SessionNotFound "session_not_found" NOT_FOUND "No such session";
    /// No webhook has this id.
    WebhookNotFound "webhook_not_found" NOT_FOUND "No such webhook";
    /// The webhook has no delivery of this id, or no longer.
    DeliveryNotFound "delivery_not_found" NOT_FOUND "No such delivery";
    /// No alert of this id is raised, or no longer.
    AlertNotFound "alert_not_found" NOT_FOUND "No such alert";
    /// The holder has no named seat in this period, or the pool has none at all.
    NamedSeatNotFound "named_seat_not_found" NOT_FOUND "No such named seat";
    /// No route has this path.
    RouteNotFound "route_not_found" NOT_FOUND "No such route";

    // The request itself.
    /// The request cannot be understood, or breaks a rule.
    InvalidRequest "invalid_request" BAD_REQUEST "The request is not valid";
    /// The route exists, but not with this method.
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "The method is not allowed here";
    /// The request came too slowly.
    RequestTimeout "request_timeout" REQUEST_TIMEOUT "The request took too long to arrive";
    /// `If-Match` names another version.
    PreconditionFailed "precondition_failed" PRECONDITION_FAILED "It was changed in between";
    /// The body is larger than the route takes.
    PayloadTooLarge "payload_too_large" PAYLOAD_TOO_LARGE "The body is too large";
    /// The body is not declared as JSON.
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The body must be JSON";
    /// The caller asks too often.
    TooManyRequests "too_many_requests" TOO_MANY_REQUESTS "Too many requests";
    /// The request line and the headers are larger than the server takes.
    HeadersTooLarge "headers_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE "The headers are too large";

    // Come back later.
    /// An operator closed the pool to newcomers for a time.
    Maintenance "maintenance" SERVICE_UNAVAILABLE "Maintenance";
    /// Data was lost; those who had a seat come first.
    Recovering "recovering" SERVICE_UNAVAILABLE "Recovering";
    /// The store did not answer, or not in time.
    StoreUnavailable "store_unavailable" SERVICE_UNAVAILABLE "The store is unavailable";
    /// The store is out of memory.
    StoreFull "store_full" SERVICE_UNAVAILABLE "The store is full";
    /// Only a node of a later version can do this.
    NewerNodeNeeded "newer_node_needed" SERVICE_UNAVAILABLE "A newer node is needed";
    /// The connection limit of the node is reached.
    Overloaded "overloaded" SERVICE_UNAVAILABLE "The node is overloaded";
    /// The node is about to stop.
    Draining "draining" SERVICE_UNAVAILABLE "The node is stopping";

    /// Something else than the store keeps the node from its work.
    NotReady "not_ready" SERVICE_UNAVAILABLE "The node is not ready";

    /// A bug of this program.
    Internal "internal" INTERNAL_SERVER_ERROR "Internal error";
}

impl Code {
    /// `true` if every problem of this code carries a time to come back, also when the caller gave none.
    pub(super) fn always_says_when(self) -> bool {
        self == Self::PoolFull
            || matches!(
                self.status(),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            )
    }

    /// Whether the rest of the request is not worth reading, so that the connection has to go.
    pub(super) fn closes_connection(self) -> bool {
        matches!(
            self,
            Self::RequestTimeout | Self::PayloadTooLarge | Self::HeadersTooLarge
        )
    }

    /// The challenge that RFC 9110, section 11.6.1, asks for with every 401.
    pub(super) fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Unauthorized => Some("Bearer realm=\"leasehold\""),
            Self::InvalidToken => Some("Bearer realm=\"leasehold\", error=\"invalid_token\""),
            _ => None,
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn words_are_unique_and_no_code_is_a_success() {
        let words: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.status().as_u16() >= 400));
    }

    /// The clients are made and tested with this list, so it has to be ours.
    #[test]
    fn the_specification_of_the_clients_has_every_code_with_its_status() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/spec/errors.json");
        let text = std::fs::read_to_string(path).unwrap();
        let listed: Value = serde_json::from_str(&text).unwrap();
        let listed = listed["codes"].as_object().unwrap();
        for code in Code::ALL {
            let entry = &listed[code.as_str()];
            assert_eq!(
                entry["status"],
                code.status().as_u16(),
                "{code:?}: say its status and class in {path}, then run clients/spec/make_machine.py"
            );
            let class = entry["class"].as_str().unwrap();
            let known = ["ends", "retry", "denied", "misuse"];
            assert!(known.contains(&class), "{code:?} is of no class: {class}");
            // A problem with a time to come back is worth a retry, and nothing that ends a lease is.
            let temporary = code.always_says_when() && *code != Code::PoolFull;
            assert!(!temporary || class == "retry", "{code:?} is temporary");
        }
        assert_eq!(listed.len(), Code::ALL.len(), "codes that are none");
    }
}
