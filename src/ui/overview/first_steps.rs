//! The three commands that make an empty installation live.

use maud::{Markup, html};

use crate::http::access::Caller;
use crate::ui::frame::commands;
use crate::ui::here::Here;

pub(super) fn first_steps(Here(server): &Here, caller: &Caller) -> Markup {
    let key = if caller.is_open() {
        ""
    } else {
        " -H \"authorization: Bearer $LEASEHOLD_KEY\""
    };
    let base = format!("{server}/v1");
    html! {
        section.empty {
            h2 { "There are no pools yet" }
            p {
                "Three commands make it live: a pool of five seats, a seat for an agent, and its heartbeat. Then this page \
                 shows them."
            }
            @if !key.is_empty() {
                p.quiet { "They take the key of an admin from " code { "LEASEHOLD_KEY" } ": " code { "read -rs LEASEHOLD_KEY" } " asks for it and shows nothing." }
            }
            (commands(&format!(
                "curl -X PUT {base}/pools/crm{key} -H 'content-type: application/json' -d '{{\"capacity\": 5}}'"
            )))
            (commands(&format!(
                "TOKEN=$(curl -s {base}/pools/crm/leases{key} -H 'content-type: application/json' -d '{{\"holder\": \"agent-7\"}}' | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/')"
            )))
            (commands(&format!("curl {base}/leases/renew -d \"{{\\\"token\\\": \\\"$TOKEN\\\"}}\"")))
        }
    }
}
