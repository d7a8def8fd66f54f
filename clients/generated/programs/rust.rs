use openapi::apis::{Error, configuration::Configuration, leases_api, pools_api};
use openapi::models::{AcquireBody, PolicyRequest, Problem, QueueRequest, RenewBody, TokenBody};

fn body(holder: &str, wait: bool) -> Option<AcquireBody> {
    Some(AcquireBody { holder: Some(Some(holder.to_owned())), wait: Some(wait), ..AcquireBody::new() })
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let node = Configuration { base_path: std::env::args().nth(1).unwrap(), ..Configuration::new() };
    let queue = Some(Some(Box::new(QueueRequest::new(5))));
    let policy = PolicyRequest { queue, ..PolicyRequest::new(1) };
    pools_api::put_pool(&node, "crm", policy, None, None).await.unwrap();
    let granted = leases_api::acquire(&node, "crm", None, body("ann", false)).await.unwrap();
    let denied = leases_api::acquire(&node, "crm", None, body("bob", false)).await.unwrap_err();
    let code = match denied {
        // Its `entity` says nothing of the status: all are a `Problem`, and the first that fits is taken.
        Error::ResponseError(answer) => serde_json::from_str::<Problem>(&answer.content).unwrap().code,
        error => panic!("{error}"),
    };
    let queued = leases_api::acquire(&node, "crm", None, body("eve", true)).await.unwrap();
    let token = granted.token.unwrap();
    let renewed = leases_api::renew(&node, RenewBody::new(token.clone())).await.unwrap();
    let page = leases_api::list_leases(&node, "crm", None, None, None, None, Some(1), None, None).await.unwrap();
    leases_api::release(&node, TokenBody::new(token)).await.unwrap();
    let ticket = if queued.ticket.is_some() { "ticket" } else { "no ticket" };
    println!("{code} {ticket} {} {}", renewed.lease.holder.flatten().unwrap(), page.items.len());
}
