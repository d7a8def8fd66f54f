use super::*;

fn request(pool: &str, incarnation: u64, release: bool) -> SeatRequest {
    let pool = pool.parse().unwrap();
    let mut request = SeatRequest::acquire(&pool, &AcquireRequest::default(), LeaseId::random());
    if release {
        request.acquire = None;
    } else if let Some(acquire) = &mut request.acquire {
        acquire.incarnation = incarnation;
    }
    request
}

#[test]
fn a_call_is_for_one_pool_as_it_is_now_and_for_so_many() {
    let crowd: Vec<_> = (0..200).map(|at| request("crm", 7, at < 80)).collect();
    assert_eq!(size_of_call(crowd.iter()), BATCH);
    assert_eq!(size_of_call(crowd[64..].iter()), BATCH);
    assert_eq!(size_of_call(crowd[192..].iter()), 8);
    let others = [
        request("crm", 0, true),
        request("crm", 7, false),
        request("crm", 8, false),
        request("dialer", 8, false),
    ];
    assert_eq!(size_of_call(others.iter()), 2);
    assert_eq!(size_of_call(others[2..].iter()), 1);
}

#[test]
fn details_are_packed_as_in_a_record() {
    let asked = AcquireRequest {
        label: Some("Desk".to_owned().try_into().unwrap()),
        ..AcquireRequest::default()
    };
    let of = |asked: &AcquireRequest| {
        let request = SeatRequest::acquire(&"crm".parse().unwrap(), asked, LeaseId::random());
        request.acquire.unwrap().details
    };
    assert_eq!(of(&asked), "\u{1}Desk");
    assert_eq!(of(&AcquireRequest::default()), "");
}
