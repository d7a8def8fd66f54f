//! Whether the sentinels could bring about a failover, and soon.

use redis::RedisResult;

use super::Findings;
use crate::finding::Finding;
use crate::store::connection::sentinel::Sentinel;
use crate::store::info::Info;

/// A master that is silent for less may only be busy; for longer, nobody gets a seat for long.
const DOWN_AFTER_MS: std::ops::RangeInclusive<u64> = 500..=10_000;

pub(super) async fn check(sentinel: &Sentinel, findings: &mut Vec<Finding>) {
    let mut notes = Findings {
        place: "the sentinels".to_owned(),
        findings,
    };
    let mut named = Vec::new();
    for address in sentinel.sentinels() {
        let name = format!("{}:{}", address.0, address.1);
        match sentinel.ask_one(address).await {
            Ok(Some(master)) => named.push(master),
            Ok(None) => notes.error(
                format!("{name} knows no master {}", sentinel.master_name()),
                "see its configuration, and the name in redis_url",
            ),
            Err(error) => notes.error(
                format!("{name} does not answer ({error})"),
                "start it, or give its password as sentinel_password: with too few of them there is no failover",
            ),
        }
    }
    named.sort_unstable();
    named.dedup();
    match &named[..] {
        [] => {}
        [(host, port)] => notes.ok(format!("they name {host}:{port} as the master")),
        _ => notes.error(
            "they do not agree who the master is",
            "see SENTINEL MASTER on each: one of them is cut off",
        ),
    }
    let count = sentinel.sentinels().len();
    if count < 3 {
        notes.warn(
            "fewer than three are in redis_url",
            "name at least three: two cannot tell who of them is cut off",
        );
    }
    look_for_a_successor(sentinel, &mut notes).await;
    for address in sentinel.sentinels() {
        if look_through_one(sentinel, address, &mut notes)
            .await
            .is_ok()
        {
            return;
        }
    }
}

/// Whether each of them knows a replica that could take over. A sentinel asks the master for its replicas every ten seconds, so one
/// that has just come is unknown to it for a while; if the master dies meanwhile, nobody ever takes its place.
async fn look_for_a_successor(sentinel: &Sentinel, notes: &mut Findings<'_>) {
    let mut all_know = None;
    for address in sentinel.sentinels() {
        let Ok(known) = what_one_knows(sentinel, address).await else {
            continue;
        };
        let knows = known.number("num-slaves") > 0;
        all_know = Some(all_know.unwrap_or(true) && knows);
        if !knows {
            notes.error(
                format!("{}:{} knows no replica", address.0, address.1),
                "start one; if there is one, ask again in ten seconds: a master that dies before has no successor",
            );
        }
    }
    if all_know == Some(true) {
        notes.ok("each knows a replica that could take over");
    }
}

async fn what_one_knows(sentinel: &Sentinel, address: &(String, u16)) -> RedisResult<Info> {
    let mut connection = sentinel.connect_to_sentinel(address).await?;
    let fields: Vec<String> = redis::cmd("SENTINEL")
        .arg("MASTER")
        .arg(sentinel.master_name())
        .query_async(&mut connection)
        .await?;
    Ok(Info::of_pairs(&fields))
}

/// What any one of them knows of the others and of the master.
async fn look_through_one(
    sentinel: &Sentinel,
    address: &(String, u16),
    notes: &mut Findings<'_>,
) -> RedisResult<()> {
    let mut connection = sentinel.connect_to_sentinel(address).await?;
    let usable: RedisResult<String> = redis::cmd("SENTINEL")
        .arg("CKQUORUM")
        .arg(sentinel.master_name())
        .query_async(&mut connection)
        .await;
    match usable {
        Ok(_) => notes.ok("enough of them can be reached for a failover"),
        Err(error) if error.code() == Some("NOQUORUM") => notes.error(
            format!("too few of them can be reached for a failover ({error})"),
            "start the others, and see that they reach each other",
        ),
        Err(_) => notes.ok("whether they could agree could not be asked: this user may not"),
    }
    let known = what_one_knows(sentinel, address).await?;
    let others = known.number("num-other-sentinels") as usize;
    if others + 1 > sentinel.sentinels().len() {
        notes.warn(
            format!("there are {}, and redis_url names fewer", others + 1),
            "name all of them: each is listened to, and any of them may be the one that is left",
        );
    }
    let down_after = known.number("down-after-milliseconds");
    if DOWN_AFTER_MS.contains(&down_after) {
        notes.ok(format!("a master is down after {down_after} ms of silence"));
    } else {
        notes.warn(
            format!("a master is down after {down_after} ms of silence"),
            "set down-after-milliseconds to 1000 to 5000: so long nobody gets a seat when a master dies",
        );
    }
    Ok(())
}
