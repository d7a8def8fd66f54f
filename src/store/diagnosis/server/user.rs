//! What the user of the nodes may do there.

use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::ServerFacts;
use crate::store::diagnosis::Findings;
use crate::store::error::Trouble;
use crate::store::{Options, rights};

pub(super) async fn check_rights(
    server: &mut MultiplexedConnection,
    facts: ServerFacts<'_>,
    options: &Options,
    notes: &mut Findings<'_>,
) {
    let mut lacking = match rights::of_commands(server, options).await {
        Ok(lacking) => lacking,
        Err(error) => {
            notes.error(
                format!("the rights of this user could not be tried ({error})"),
                Trouble::of(&error).advice(),
            );
            return;
        }
    };
    lacking.note_listening(facts.refused_to_listen.cloned());
    if let Some(error) = &lacking.trouble {
        notes.error(
            format!("nodes could not write now ({error})"),
            Trouble::of(error).advice(),
        );
    }
    if lacking.is_empty() {
        notes.ok("this user may do what nodes do");
    } else if lacking.may_run_nothing() {
        // As it should be for who only looks.
        notes.ok(
            "this user may run no scripts, so it is none for nodes; run the doctor with theirs too",
        );
    } else {
        notes.error(
            format!("this user may not do what nodes do: {}", lacking.named()),
            &lacking.advice(&rights::user(options)),
        );
    }
}

pub(super) async fn check_user(
    server: &mut MultiplexedConnection,
    facts: ServerFacts<'_>,
    notes: &mut Findings<'_>,
) {
    let user: RedisResult<String> = redis::cmd("ACL").arg("WHOAMI").query_async(server).await;
    match user {
        Ok(user) if user != "default" => notes.ok(format!("the user is {user}")),
        // A user that may not ask has fewer rights than the default user.
        Err(_) => notes.ok("the user has few rights"),
        Ok(_) if facts.is_private => {
            notes.ok("the user is default, who may do anything; nobody else reaches this Redis");
        }
        Ok(_) => notes.warn(
            "the nodes are the default user, who may do anything",
            "use the users of deploy/redis/leasehold.acl",
        ),
    }
}
