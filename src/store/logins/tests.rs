use super::*;

const NOW: Timestamp = Timestamp(1_795_000_000_000);
const HOUR: i64 = 60 * 60 * 1_000;

fn after_a_page(ms_ago: i64, silence: Silence) -> bool {
    !is_over(ms(KEPT) - ms_ago, NOW, silence)
}

#[test]
fn a_login_is_over_half_an_hour_after_the_last_page() {
    let none = Silence::default();
    assert!(after_a_page(0, none));
    assert!(after_a_page(HOUR / 2 - 1, none));
    assert!(!after_a_page(HOUR / 2, none));
    assert!(!after_a_page(3 * HOUR, none));
}

#[test]
fn an_outage_of_hours_ends_no_login_that_was_not_over_before() {
    let silence = Silence {
        floor: Timestamp(NOW.0 - 6 * HOUR),
        back: Timestamp(NOW.0 - HOUR / 4),
    };
    assert!(after_a_page(6 * HOUR + HOUR / 4, silence));
    assert!(!after_a_page(7 * HOUR, silence));
    let longer_ago = Silence {
        back: Timestamp(NOW.0 - HOUR / 2),
        ..silence
    };
    assert!(!after_a_page(6 * HOUR + HOUR / 4, longer_ago));
}

#[test]
fn what_ends_at_the_provider_is_one_session_or_all_of_a_person() {
    let person = |sid: Option<&str>| SessionOfPerson {
        issuer: "i".into(),
        subject: "anna".into(),
        name: String::new(),
        groups: Vec::new(),
        sid: sid.map(str::to_owned),
    };
    let (one, unnamed) = (person(Some("1")), person(None));
    assert!(one.is("i", Some("anna"), None) && unnamed.is("i", Some("anna"), Some("1")));
    assert!(one.is("i", None, Some("1")) && one.is("i", Some("anna"), Some("1")));
    for (issuer, subject, sid) in [
        ("other", Some("anna"), None),
        ("i", Some("bert"), Some("1")),
        ("i", Some("anna"), Some("2")),
        ("i", None, None),
    ] {
        assert!(!one.is(issuer, subject, sid), "{subject:?} {sid:?}");
    }
    assert!(!unnamed.is("i", None, Some("1")));
}

#[test]
fn a_login_that_a_node_of_before_keeps_is_good_while_redis_has_it() {
    assert!(!is_over(HOUR / 2, NOW, Silence::default()));
    assert!(!is_over(1, NOW, Silence::default()));
}
