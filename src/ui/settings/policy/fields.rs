//! The fields of a policy, as the page calls them: one table.

/// How a field is written.
pub(super) enum Kind {
    Whole,
    Duration,
    /// A duration, or no limit.
    Grace,
    Text,
    /// Words with commas between.
    List,
    /// Percentages with commas between.
    Levels,
    /// One of a few words of the interface, each with what it means.
    Words(&'static [(&'static str, &'static str)]),
    Tick,
    /// A rule that a pool has or has not, with fields of its own.
    Group(&'static [Part]),
}

/// A field, as the page calls it.
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    /// None where the description of the interface says it well.
    pub(super) hint: &'static str,
    pub(super) kind: Kind,
}

/// A field of a group.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) hint: &'static str,
    pub(super) kind: Kind,
    /// What stands in it before the rule is there.
    pub(super) usual: &'static str,
}

const fn spec(name: &'static str, label: &'static str, hint: &'static str, kind: Kind) -> Spec {
    Spec {
        name,
        label,
        hint,
        kind,
    }
}

const fn part(
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    kind: Kind,
    usual: &'static str,
) -> Part {
    Part {
        name,
        label,
        hint,
        kind,
        usual,
    }
}

/// A field that is not here is shown by its name in the interface, and written as JSON.
const SPECS: [Spec; 18] = [
    spec(
        "capacity",
        "Seats",
        "How many may be in use at once.",
        Kind::Whole,
    ),
    spec(
        "ttl_ms",
        "Heartbeat timeout",
        "How long a seat lives without a heartbeat, such as 60 s; 1 s to 1 d.",
        Kind::Duration,
    ),
    spec(
        "linger_ms",
        "Kept after leaving",
        "How long a seat is kept for a page that was closed and may reload, such as 10 s.",
        Kind::Duration,
    ),
    spec(
        "resume_window_ms",
        "Can be resumed for",
        "How long after its end a late heartbeat brings a seat back, if one is free.",
        Kind::Duration,
    ),
    spec(
        "outage_grace_ms",
        "May go on in an outage for",
        "For how long who hears nothing may go on, such as 10 min, or: no limit.",
        Kind::Grace,
    ),
    spec(
        "seat_per",
        "A seat is taken by",
        "Can change only while nobody has a seat.",
        Kind::Words(&[
            ("lease", "each lease"),
            ("holder", "each holder, with all its leases"),
        ]),
    ),
    spec(
        "holder_match",
        "Spellings of a name",
        "Can change only while the pool is empty, and nobody waits or is blocked.",
        Kind::Words(&[
            ("exact", "are different holders"),
            ("folded", "in capitals and small letters are one holder"),
        ]),
    ),
    spec(
        "when_full",
        "When the pool is full",
        "",
        Kind::Words(&[
            ("deny", "newcomers are denied"),
            (
                "evict_oldest_of_holder",
                "the oldest lease of the same holder ends",
            ),
        ]),
    ),
    spec(
        "queue",
        "Queue",
        "Lets those wait who ask for it while the pool is full.",
        Kind::Group(&[part(
            "max_waiting",
            "At most",
            "People who wait, 1 to 10 000.",
            Kind::Whole,
            "100",
        )]),
    ),
    spec(
        "overdraft",
        "Overdraft",
        "Lends seats beyond the capacity, on a daily budget.",
        Kind::Group(&[
            part("seats", "Seats", "", Kind::Whole, "2"),
            part(
                "seat_minutes_per_day",
                "Seat-minutes a day",
                "",
                Kind::Whole,
                "60",
            ),
        ]),
    ),
    spec(
        "named",
        "Named seats",
        "Seats that belong to somebody for a billing period, in addition to the capacity.",
        Kind::Group(&[
            part("seats", "Seats", "", Kind::Whole, "10"),
            part(
                "anchor_day",
                "The period begins on day",
                "Of the month, 1 to 31.",
                Kind::Whole,
                "1",
            ),
            part(
                "time_zone",
                "Time zone",
                "Such as Europe/Zurich.",
                Kind::Text,
                "UTC",
            ),
            part(
                "spill_to_concurrent",
                "Who finds none gets a seat of the pool",
                "",
                Kind::Tick,
                "",
            ),
        ]),
    ),
    spec(
        "tenant_max",
        "Seats of each tenant",
        "At most, for tenants without a limit of their own; empty for no limit.",
        Kind::Whole,
    ),
    spec(
        "platforms",
        "Platforms",
        "The only ones that get a seat, with commas between; empty for all.",
        Kind::List,
    ),
    spec(
        "privacy",
        "Names of people",
        "",
        Kind::Words(&[
            ("named", "are kept"),
            ("pseudonymous", "are kept as pseudonyms"),
            ("anonymous", "are not kept"),
        ]),
    ),
    spec(
        "idle",
        "Idle seats",
        "Judged by what clients report of their users.",
        Kind::Group(&[
            part(
                "after_ms",
                "Idle after",
                "Such as 15 min.",
                Kind::Duration,
                "15 min",
            ),
            part(
                "then",
                "Then",
                "",
                Kind::Words(&[
                    ("count", "it is only counted"),
                    ("yield", "it goes to whoever needs one"),
                    ("end", "it ends"),
                ]),
                "count",
            ),
            part(
                "notice_ms",
                "Told before",
                "Such as 2 min, at most half of the time above.",
                Kind::Duration,
                "2 min",
            ),
            part(
                "people",
                "Reports tell it of each person",
                "",
                Kind::Tick,
                "",
            ),
        ]),
    ),
    spec(
        "max_hold",
        "Longest hold",
        "How long one lease may be held.",
        Kind::Group(&[
            part("after_ms", "At most", "Such as 8 h.", Kind::Duration, "8 h"),
            part(
                "then",
                "Then",
                "",
                Kind::Words(&[
                    ("yield", "it goes to whoever needs one"),
                    ("end", "it ends"),
                ]),
                "yield",
            ),
            part(
                "notice_ms",
                "Told before",
                "Such as 5 min.",
                Kind::Duration,
                "5 min",
            ),
        ]),
    ),
    spec(
        "hand_over",
        "Ask for a seat",
        "Whether those who wait may ask the holders for a seat; needs a queue.",
        Kind::Group(&[part(
            "answer_ms",
            "Holders are told for",
            "Such as 1 min; longer than the time between two heartbeats.",
            Kind::Duration,
            "1 min",
        )]),
    ),
    spec(
        "alert_at_percent",
        "Alert at",
        "Percent of the seats in use, rising, with commas between, such as 80, 95.",
        Kind::Levels,
    ),
];

pub(super) fn spec_of(name: &str) -> Option<&'static Spec> {
    SPECS.iter().find(|spec| spec.name == name)
}

/// How a field of the policy is called on the page.
pub(in crate::ui::settings) fn label(name: &str) -> &str {
    spec_of(name).map_or(name, |spec| spec.label)
}
