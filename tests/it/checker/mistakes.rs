//! Mistakes in the scripts of a running Redis: a proxy changes the text of a script on its way there, as if somebody had made
//! that mistake in `lua/`, and the checker has to find it.

use std::time::Duration;

use futures_util::future::join_all;

use super::{History, Verdict};
use crate::chaos::crowd::{Crowd, Plan, now_ms};
use crate::chaos::observer::{Observer, Way};
use crate::chaos::stage::{Clock, USER, know_users};
use crate::harness::{Client, Launch, Node, Proxy, Server, let_pass, wait_until};

/// A mistake: what is written in `lua/`, and what somebody might have written. Of the same length.
#[derive(Clone, Copy)]
struct Mistake {
    name: &'static str,
    right: &'static str,
    wrong: &'static str,
    /// Only one of the nodes makes it.
    on_one_node: bool,
    /// How many clients there are. Where there are few, nobody else ends what is due.
    clients: usize,
    happens: Happens,
    /// How many wait in a queue; without any the pool has none.
    waiters: usize,
}

/// What else happens, so that the mistake can show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Happens {
    Nothing,
    /// Redis is away for longer than every term.
    Outage,
    /// Redis is away for longer than anybody who waits may be silent.
    LongOutage,
    /// Redis loses all of its data.
    Loss,
    /// Redis's clock goes back by half a minute.
    ClockBack,
    /// The nodes' user may not run a command for a while.
    RightLost(&'static str),
    /// The address of Redis leads to a replica that became a master, with all that there was. One of the nodes does not follow:
    /// the old server is still a master, and the connections to it are sound.
    Moved,
}

const CLIENTS: usize = 14;

const fn mistake(name: &'static str, right: &'static str, wrong: &'static str) -> Mistake {
    assert!(right.len() == wrong.len());
    Mistake {
        name,
        right,
        wrong,
        on_one_node: false,
        clients: CLIENTS,
        happens: Happens::Nothing,
        waiters: 0,
    }
}

/// The same in a pool where few push and many wait.
const fn in_a_queue(mistake: Mistake) -> Mistake {
    Mistake {
        clients: 4,
        waiters: 8,
        ..mistake
    }
}

const MISTAKES: [Mistake; 24] = [
    mistake(
        "one seat too many",
        "math.min(capacity - before, acquires)",
        "math.min(capacity-before+1, acquires)",
    ),
    mistake(
        "who has expired still counts",
        "'LIMIT', 0, limit, 'WITHSCORES')",
        "'LIMIT', 0, 0    , 'WITHSCORES')",
    ),
    Mistake {
        on_one_node: true,
        ..mistake(
            "the clock of a node in place of Redis's",
            "time[1] * 1000 + math.floor(",
            "time[1]*1000+900+math.floor(",
        )
    },
    Mistake {
        clients: 5,
        ..mistake(
            "a release leaves no tombstone",
            "'reason', 'released'",
            "'reasen', 'released'",
        )
    },
    mistake(
        "a resume does not look at the limit",
        "kind = count_live(leases, period) < capacity",
        "kind = count_live(leases, period) < 99999999",
    ),
    Mistake {
        happens: Happens::Loss,
        ..mistake(
            "a rebuild does not look at the limit",
            "kind = count_live(leases, period) < capacity",
            "kind = count_live(leases, period) < 99999999",
        )
    },
    Mistake {
        clients: 4,
        ..mistake(
            "a repeat takes a second seat",
            "known = known or earlier[i] or again[key]",
            "known = known                            ",
        )
    },
    mistake(
        "a renew gives less than it says",
        "live_from(lease_period(ttl, linger)), int(now + ttl)",
        "live_from(lease_period(ttl, linger)), int(now + 950)",
    ),
    mistake(
        "changes have no order",
        "  seq = seq + 1\n",
        "  seq = seq + 0\n",
    ),
    mistake(
        "a release does not free the seat",
        "redis.call('ZREM', leases, unpack(ids))",
        "redis.call('ZREM', KEYS[5],unpack(ids))",
    ),
    Mistake {
        happens: Happens::Outage,
        ..mistake(
            "an outage gives nobody more time",
            "if silence > 3000 then",
            "if silence > 9e99 then",
        )
    },
    Mistake {
        happens: Happens::Loss,
        ..mistake(
            "newcomers do not wait after a loss",
            "if lost and now < generation + ttl then",
            "if nil  and now < generation + ttl then",
        )
    },
    mistake(
        "a release fails after its first write",
        "undo_by(unpack(back))\n    for _, i in",
        "redis.call('PUBLISH')\n    for _, i in",
    ),
    mistake(
        "a grant has no event",
        "record_event(events, 'started', id, now, ARGV",
        "record_event(events, 'startet', id, now, ARGV",
    ),
    in_a_queue(mistake(
        "a newcomer overtakes those who wait",
        "if may and (has_kept(v, tenant) or has_any(v)) then",
        "if may or not id and v.free > 0                then",
    )),
    in_a_queue(mistake(
        "one who waits is overtaken",
        "'(w' .. tenant .. '\\2', 'LIMIT', 0, 1)[1]",
        "'(w' .. tenant .. '\\2', 'LIMIT', 1, 1)[1]",
    )),
    Mistake {
        happens: Happens::LongOutage,
        ..in_a_queue(mistake(
            "an outage takes the place of those who wait",
            "int(waits_from(SILENT_MS)), 'BYSCORE'",
            "int(now                  ), 'BYSCORE'",
        ))
    },
    Mistake {
        happens: Happens::ClockBack,
        ..mistake(
            "time stands still when the clock goes back",
            "now = instant + shift",
            "now = instant + 0    ",
        )
    },
    Mistake {
        clients: 4,
        ..mistake(
            "a block does not hold",
            "if blocked > now then",
            "if blocked > 1/0 then",
        )
    },
    Mistake {
        clients: 4,
        ..mistake(
            "a termination by holder leaves what could be resumed",
            "if marks and redis.call('EXISTS', config)",
            "if false and redis.call('EXISTS', config)",
        )
    },
    Mistake {
        clients: 4,
        ..mistake(
            "a token of a deleted pool lives in the next",
            "  return fence\nend",
            "  return 00000\nend",
        )
    },
    Mistake {
        happens: Happens::RightLost("xadd"),
        ..mistake(
            "what a script wrote before it was refused stays",
            "for i = #undo, 1, -1 do",
            "for i = #undo, 1,  1 do",
        )
    },
    Mistake {
        happens: Happens::RightLost("publish"),
        ..in_a_queue(mistake(
            "a message that may not be sent fails its decision",
            "redis.pcall('PUBLISH', channel, message)",
            "redis.call('PUBLISH', channel, message) ",
        ))
    },
    Mistake {
        happens: Happens::Moved,
        ..mistake(
            "a node stays with a server that its address has left",
            "local undo = {}",
            "local undo = {}",
        )
    },
];

const TTL_MS: u64 = 1_000;
/// How many operations are answered at least in each half of a run, unless that takes too long.
const ANSWERED: u64 = 200;

/// Waits until so much more was answered since `before`, because in a given time a loaded machine does little.
async fn wait_for_answers(crowd: &Crowd, before: u64) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(15);
    while crowd.log.answered() < before + ANSWERED && tokio::time::Instant::now() < limit {
        let_pass(50).await;
    }
}

async fn check(mistake: &Mistake) -> Verdict {
    let clock = Clock::build();
    let environment = clock.as_ref().map(Clock::environment).unwrap_or_default();
    let mut redis = Server::alone(true, environment).await;
    know_users(&mut redis).await;
    let address = ([127, 0, 0, 1], redis.port).into();
    let mut proxies: Vec<Proxy> = (0..2).map(|_| Proxy::start(address)).collect();
    let launches = proxies.iter().map(|proxy| {
        Launch::on(&format!("redis://{USER}@127.0.0.1:{}/0", proxy.port()))
            .set("trail", "on")
            .start()
    });
    let nodes: Vec<Node> = join_all(launches).await;
    let clients: Vec<Client> = nodes.iter().map(|node| Client::clone(node)).collect();
    let plan = Plan {
        pool: "crm".to_owned(),
        capacity: if mistake.waiters > 0 { 2 } else { 6 },
        ttl: TTL_MS,
        linger: 250,
        resume_window: 5_000,
        guests: mistake.clients,
        keepers: 0,
        gateways: 0,
        seats_of_gateway: 0,
        waiters: mistake.waiters,
        pause: 15,
    };
    // On a busy machine a node that has just come may need a moment.
    wait_until("the pool is there", Duration::from_secs(20), async || {
        let put = clients[0].put_pool("crm", plan.policy(), [200, 201, 503]);
        put.await.status != 503
    })
    .await;
    let spoilt = if mistake.on_one_node { 1 } else { 2 };
    for proxy in &mut proxies[..spoilt] {
        proxy.replace(mistake.right, mistake.wrong);
        proxy.cut();
    }
    let () = redis.query(&["SCRIPT", "FLUSH"]).await;

    let mut replica = None;
    let mut way = Way::Server(format!("redis://127.0.0.1:{}", redis.port));
    if mistake.happens == Happens::Moved {
        let server = Server::alone(true, Vec::new()).await;
        let port = redis.port.to_string();
        let () = server.query(&["REPLICAOF", "127.0.0.1", &port]).await;
        redis.copied_to(1).await;
        // What it has is the history that counts; before it is a master, that is the one of the first.
        way = Way::Server(format!("redis://127.0.0.1:{}", server.port));
        replica = Some(server);
    }
    let observer = Observer::open(&way, &["crm".to_owned()]);
    // A few do less in the same time.
    let lasting = if mistake.clients < CLIENTS {
        9_000
    } else {
        5_000
    };
    let mut crowd = Crowd::start(plan, &clients);
    let (mut silences, mut lossy, mut skew) = (Vec::new(), Vec::new(), (0, 0));
    let mut only_notices_fail = Vec::new();
    let_pass(lasting / 2).await;
    wait_for_answers(&crowd, 0).await;
    let from = now_ms();
    match mistake.happens {
        Happens::Nothing => {}
        Happens::Outage | Happens::LongOutage => {
            let long = mistake.happens == Happens::LongOutage;
            redis.kill();
            let from = now_ms();
            let_pass(if long { 8_000 } else { 5_000 }).await;
            silences.push((from, now_ms()));
            redis.restart();
            redis.answers().await;
        }
        Happens::Loss => {
            let () = redis.query(&["FLUSHALL"]).await;
            lossy.push((from - 300.0, now_ms()));
        }
        Happens::ClockBack => {
            // It has to outlive this: its file goes with it, and Redis reads that every 10 ms.
            let clock = clock.as_ref().expect("there is a C compiler");
            clock.set(-30_000);
            // Time may begin to go on that late; if it stood still for longer than that, it has to show.
            skew.0 = -2_500;
            let_pass(4_000).await;
        }
        Happens::RightLost(right) => {
            let (without, with) = (format!("-{right}"), format!("+{right}"));
            let () = redis
                .query(&["ACL", "SETUSER", "leasehold", &without])
                .await;
            let from = now_ms();
            let_pass(3_000).await;
            if right == "publish" {
                only_notices_fail.push((from, now_ms()));
            }
            let () = redis.query(&["ACL", "SETUSER", "leasehold", &with]).await;
        }
        Happens::Moved => {
            let replica = replica.as_ref().expect("it was started");
            redis.copied_to(1).await;
            let () = replica.query(&["REPLICAOF", "NO", "ONE"]).await;
            // It knows none of the users.
            let _: String = replica
                .query(&[
                    "ACL",
                    "SETUSER",
                    "leasehold",
                    "on",
                    "nopass",
                    "~*",
                    "&*",
                    "+@all",
                ])
                .await;
            proxies[1].lead_to(([127, 0, 0, 1], replica.port).into());
            proxies[1].cut();
        }
    }
    let before = crowd.log.answered();
    let_pass(lasting / 2).await;
    wait_for_answers(&crowd, before).await;
    crowd.stop().await;
    // Whatever is to be recorded is recorded by then.
    let_pass(TTL_MS + 2_600).await;
    let sight = observer.close().await.remove(0);
    let (operations, strange) = crowd.log.take();
    let history = History {
        capacity: crowd.plan.capacity,
        ttl: crowd.plan.ttl.cast_signed(),
        linger: crowd.plan.linger.cast_signed(),
        resume_window: crowd.plan.resume_window.cast_signed(),
        queue: mistake.waiters > 0,
        until: sight.until,
        balance: sight.balance,
        left_records: sight.left_records,
        segments: sight.segments,
        operations,
        remade: crowd.remade.take().0,
        lossy,
        repeated: Vec::new(),
        sent_again: Vec::new(),
        silences,
        only_notices_fail,
        moved: Vec::new(),
        skew,
    };
    let mut verdict = history.check();
    verdict.violations.extend(strange);
    verdict
}

async fn finds(mistake: &Mistake) {
    let directories =
        ["/lua", "/lua/parts"].map(|name| env!("CARGO_MANIFEST_DIR").to_owned() + name);
    let scripts = directories.map(|directory| std::fs::read_dir(directory).expect("scripts"));
    let is_there = scripts.into_iter().flatten().flatten().any(|script| {
        std::fs::read_to_string(script.path()).is_ok_and(|text| text.contains(mistake.right))
    });
    assert!(
        is_there,
        "no script has {:?} any more: make this mistake anew",
        mistake.right
    );
    let verdict = check(mistake).await;
    eprintln!(
        "{}: {} violations in {} operations: {}",
        mistake.name,
        verdict.violations.len(),
        verdict.operations,
        verdict.violations.first().map_or("", String::as_str)
    );
    assert!(
        !verdict.violations.is_empty(),
        "{} was not noticed in {} operations",
        mistake.name,
        verdict.operations
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_seeded_mistake_is_found() {
    for some in MISTAKES.chunks(3) {
        join_all(some.iter().map(finds)).await;
    }
}

/// The proxy and the crowd by themselves break nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_mistake_nothing_is_found() {
    let right = "local undo = {}";
    let none = || mistake("none", right, right);
    for (happens, mistake) in [
        (Happens::Outage, none()),
        (Happens::Loss, none()),
        (Happens::ClockBack, none()),
        (Happens::LongOutage, in_a_queue(none())),
        (Happens::RightLost("xadd"), none()),
        (Happens::RightLost("zrem"), none()),
        (Happens::RightLost("publish"), in_a_queue(none())),
    ] {
        let verdict = check(&Mistake { happens, ..mistake }).await;
        assert_eq!(verdict.violations, Vec::<String>::new());
    }
}
