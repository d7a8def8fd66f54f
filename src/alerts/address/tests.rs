use super::super::post::{self, Roots};
use super::*;

const PUBLIC: Allowed = Allowed {
    http: false,
    private: false,
    mail: false,
};
const ALL: Allowed = Allowed {
    http: true,
    private: true,
    mail: true,
};

/// What nobody may reach with the settings that nobody has touched.
const REFUSED: [&str; 120] = [
    // This machine, in all its forms.
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.255.255.254/",
    "https://2130706433/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0x7f.1/",
    "https://0X7F.0X0.0X0.0X1/",
    "https://%31%32%37.0.0.1/",
    "https://127.0.0.1./",
    "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
    "https://127\u{3002}0\u{3002}0\u{3002}1/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[::]/",
    "https://0.0.0.0/",
    "https://0/",
    "https://0x0/",
    "https://0.1.2.3/",
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://foo.localhost/",
    "https://localhost.localdomain/",
    // Private networks.
    "https://10.0.0.1/",
    "https://10.255.255.255/",
    "https://167772161/",
    "https://012.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.0.1/",
    "https://0xc0a80001/",
    "https://192.168.1/",
    "https://100.64.0.1/",
    "https://100.127.255.255/",
    "https://[fc00::1]/",
    "https://[fd12:3456:789a::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[::ffff:192.168.0.1]/",
    "https://[64:ff9b::10.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://redis/",
    "https://printer.local/",
    "https://db.internal/",
    "https://router.lan/",
    "https://nas.home.arpa/",
    // Metadata of clouds, and link-local.
    "https://169.254.169.254/latest/meta-data/",
    "https://168.63.129.16/",
    "https://[::ffff:168.63.129.16]/",
    "https://161.26.0.10/",
    "https://166.9.250.192/",
    "https://[fd00:ec2::253]/",
    "https://[fd00:42::42]/",
    "https://metadata.tencentyun.com/",
    "https://169.254.170.2/",
    "https://2852039166/",
    "https://0251.0376.0251.0376/",
    "https://0xa9fea9fe/",
    "https://0xA9.0xFE.0xA9.0xFE/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[64:ff9b::169.254.169.254]/",
    "https://[64:ff9b:1::a9fe:a9fe]/",
    "https://[2002:a9fe:a9fe::1]/",
    "https://[2002:7f00:1::]/",
    "https://[fd00:ec2::254]/",
    "https://[fd20:ce::254]/",
    "https://100.100.100.200/",
    "https://metadata.google.internal/",
    "https://metadata.google.internal./",
    "https://metadata/",
    "https://instance-data/",
    "https://[fe80::1]/",
    "https://[febf::1]/",
    "https://[fec0::1]/",
    // Of nobody.
    "https://192.0.0.1/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://198.18.0.1/",
    "https://198.19.255.255/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://239.255.255.255/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://4294967295/",
    "https://[ff02::1]/",
    "https://[100::1]/",
    "https://[2001::1]/",
    "https://[2001:10::1]/",
    "https://[2001:20::1]/",
    "https://[2001:db8::1]/",
    "https://[3fff::1]/",
    "https://[5f00::1]/",
    "https://[4000::1]/",
    // Not what a webhook looks like.
    "http://hooks.example.com/",
    "ftp://hooks.example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "javascript:alert(1)",
    "hooks.example.com",
    "https://",
    "https://user@hooks.example.com/",
    "https://user:secret@hooks.example.com/",
    "https://hooks.example.com:22/",
    "https://hooks.example.com:6379/",
    "https://hooks.example.com/#x",
    "https://hooks.example.com\\@127.0.0.1/",
    "https://hooks.example.com/\r\nx: y",
    "https://256.256.256.256/",
    // Hosts that no name server knows.
    "https://../",
    "https://hooks..example.com/",
    "https://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.com/",
];

#[test]
fn nothing_inside_can_be_reached_by_any_spelling() {
    for url in REFUSED {
        let refused = PUBLIC.url(url);
        assert!(refused.is_err(), "{url} became {refused:?}");
    }
}

#[test]
fn what_is_public_is_allowed() {
    for url in [
        "https://hooks.example.com/leasehold",
        "https://hooks.example.com:8443/a?b=c",
        "https://1.1.1.1/",
        "https://93.184.216.34/",
        "https://172.15.255.255/",
        "https://172.32.0.1/",
        "https://100.63.255.255/",
        "https://100.128.0.1/",
        "https://192.0.1.1/",
        "https://198.17.255.255/",
        "https://[2606:4700::1111]/",
        "https://[64:ff9b::1.1.1.1]/",
        "https://b\u{fc}cher.example/",
        "https://notlocalhost.example/",
    ] {
        assert!(PUBLIC.url(url).is_ok(), "{url}: {:?}", PUBLIC.url(url));
    }
}

#[test]
fn settings_open_private_networks_and_never_metadata() {
    for url in [
        "http://127.0.0.1:3000/",
        "http://localhost:3000/",
        "https://10.1.2.3:9443/",
        "http://[::1]:80/",
        "https://alerts.internal/",
        "http://receiver:8080/",
    ] {
        assert!(ALL.url(url).is_ok(), "{url}: {:?}", ALL.url(url));
    }
    for url in [
        "http://169.254.169.254/",
        "http://168.63.129.16/",
        "http://[fd00:ec2::23]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://metadata.google.internal/",
        "http://metadata/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://[fe80::1]/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
    ] {
        assert!(ALL.url(url).is_err(), "{url}");
    }
    let only_http = Allowed {
        http: true,
        private: false,
        mail: false,
    };
    assert!(only_http.url("http://hooks.example.com/").is_ok());
    assert!(only_http.url("http://hooks.example.com:8080/").is_ok());
    assert!(only_http.url("http://127.0.0.1/").is_err());
    assert!(only_http.url("http://hooks.example.com:6379/").is_err());
}

#[test]
fn mail_leads_to_addresses_of_people_if_there_is_a_server() {
    let mail = Allowed {
        mail: true,
        ..PUBLIC
    };
    for (url, count) in [
        ("mailto:on-call@example.com", 1),
        ("MAILTO:on-call@example.com,desk%2Bnight@sub.example.com", 2),
    ] {
        let Ok(Target::Mail(addresses)) = mail.target(url) else {
            panic!("{url} was refused");
        };
        assert_eq!(addresses.len(), count);
        let refused = PUBLIC.target(url).unwrap_err().to_string();
        assert!(refused.contains("smtp_url"), "{refused}");
    }
    for url in [
        "mailto:",
        "mailto:nobody",
        "mailto:a@example.com,",
        "mailto:a@example.com?subject=x",
        "mailto:a@example.com#x",
        "mailto:a@[127.0.0.1]",
        "mailto:a@[IPv6:::1]",
        "mailto:a@127.0.0.1",
        "mailto:a@example.com%0d%0aBcc:%20b@example.com",
        "mailto:a%0a@example.com",
        "mailto:Somebody <a@example.com>",
        "smtp://mail.example.com",
    ] {
        assert!(mail.target(url).is_err(), "{url}");
    }
    let many = vec!["a@example.com"; 21].join(",");
    assert!(mail.target(&format!("mailto:{many}")).is_err());
    // What leads to HTTP is held against the same rules.
    assert!(mail.target("https://127.0.0.1/").is_err());
    assert!(mail.target("https://hooks.example.com/x").is_ok());
}

fn resolver(
    answers: Vec<Vec<&'static str>>,
) -> Resolver<impl Fn(String) -> std::future::Ready<std::io::Result<Vec<SocketAddr>>>> {
    let answers = std::sync::Mutex::new(answers.into_iter());
    Resolver::new(PUBLIC, move |_| {
        let answer = answers.lock().unwrap().next().expect("one look-up each");
        let addresses = answer
            .into_iter()
            .map(|address| SocketAddr::new(address.parse().expect("an address"), 0));
        std::future::ready(Ok(addresses.collect()))
    })
}

async fn resolve(resolver: &impl Resolve) -> Result<Vec<IpAddr>, String> {
    match resolver.resolve("hooks.example.com".parse().unwrap()).await {
        Ok(addresses) => Ok(addresses.map(|address| address.ip()).collect()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn a_name_is_refused_if_one_of_its_addresses_is() {
    for hidden in [
        "127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
    ] {
        let resolver = resolver(vec![vec!["1.1.1.1", hidden]]);
        let refused = resolve(&resolver).await.expect_err(hidden);
        assert!(
            refused.contains("network") || refused.contains("special"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_caught_at_the_next_connection() {
    let resolver = resolver(vec![vec!["1.1.1.1"], vec!["127.0.0.1"]]);
    assert_eq!(
        resolve(&resolver).await,
        Ok(vec!["1.1.1.1".parse().unwrap()])
    );
    resolve(&resolver).await.expect_err("now it is private");
}

#[tokio::test]
async fn a_connection_looks_up_once_and_goes_where_that_says() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // A second look-up would find no answer and panic.
    let answers = std::sync::Mutex::new(vec![SocketAddr::from(([127, 0, 0, 1], 0))]);
    let resolver = Resolver::new(ALL, move |_| {
        let answer = answers.lock().unwrap().pop().expect("a second look-up");
        std::future::ready(Ok(vec![answer]))
    });
    let http = post::client(resolver, Roots::None, None).unwrap();
    let sent = tokio::spawn(async move {
        http.post(format!("http://hooks.example.com:{port}/"))
            .send()
            .await
    });
    let (mut stream, _) =
        tokio::time::timeout(std::time::Duration::from_secs(10), listener.accept())
            .await
            .expect("it connects here")
            .unwrap();
    use tokio::io::AsyncWriteExt as _;
    stream
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(sent.await.unwrap().unwrap().status(), 204);
}
