//! Names with several addresses. What answers at them is the least of a Redis: a role, and OK to anything else.

use std::sync::Mutex;
use std::time::Instant;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a server says of itself.
#[derive(Clone, Copy)]
enum Says {
    Role(&'static str),
    /// Nothing, ever.
    Silence,
    /// That it loads its data, except of its role.
    Loading,
    /// That this user may not ask for the role.
    NoRole,
}

async fn server(ip: &str, says: Says) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0))
        .await
        .expect("a loopback address");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, says));
        }
    });
    address
}

async fn answer(stream: TcpStream, says: Says) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let Some(name) = command(&mut read).await? else {
            return Ok(());
        };
        let reply = match (says, name.as_str()) {
            (Says::Silence, _) => continue,
            (Says::NoRole, "ROLE") => "-NOPERM this user has no permissions\r\n".to_owned(),
            (Says::Role(role), "ROLE") => format!("*1\r\n${}\r\n{role}\r\n", role.len()),
            (Says::Loading, "ROLE") => "*1\r\n$6\r\nmaster\r\n".to_owned(),
            (Says::Loading, _) => "-LOADING Redis is loading the dataset in memory\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        };
        write.write_all(reply.as_bytes()).await?;
    }
}

/// The name of the next command; none at the end.
async fn command(read: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = String::new();
    if read.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let words: usize = line[1..].trim().parse().expect("a command is a list");
    let mut name = None;
    for _ in 0..words {
        line.clear();
        read.read_line(&mut line).await?;
        let length: usize = line[1..].trim().parse().expect("a word has a length");
        let mut word = vec![0; length + 2];
        read.read_exact(&mut word).await?;
        word.truncate(length);
        name.get_or_insert(String::from_utf8(word).expect("a text"));
    }
    Ok(name)
}

/// What the name leads to now.
static NAMES: Mutex<Vec<(u16, Vec<SocketAddr>)>> = Mutex::new(Vec::new());

/// A name, told from those of other tests by its port.
fn name_of(port: u16, addresses: &[SocketAddr]) -> Single {
    leads_to(port, addresses);
    let url = format!("redis://redis.example:{port}");
    let mut single = Single::new(&url, &Tls::default(), Duration::from_millis(500)).expect("a URL");
    single.lookup = |_, port| {
        let names = NAMES.lock().expect("no panic while held");
        let found = names.iter().rfind(|(name, _)| *name == port);
        let addresses = found.expect("it has a name").1.clone();
        std::future::ready(Ok(addresses)).boxed()
    };
    single
}

fn leads_to(port: u16, addresses: &[SocketAddr]) {
    let mut names = NAMES.lock().expect("no panic while held");
    names.push((port, addresses.to_vec()));
}

async fn found(single: &Single) -> SocketAddr {
    let (_, address) = single.first(Target::Master).await.expect("a master");
    address.expect("no socket")
}

#[tokio::test]
async fn of_several_addresses_the_one_of_the_master_is_taken_wherever_it_stands() {
    let master = server("127.0.0.2", Says::Role("master")).await;
    let dead = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = dead.local_addr().expect("it is bound");
    drop(dead);
    let began = Instant::now();
    for other in [
        server("127.0.0.3", Says::Role("slave")).await,
        server("127.0.0.3", Says::Silence).await,
        server("127.0.0.3", Says::Loading).await,
        nobody,
    ] {
        assert_eq!(found(&name_of(1, &[other, master])).await, master);
        assert_eq!(found(&name_of(1, &[master, other])).await, master);
        assert_eq!(found(&name_of(1, &[other, nobody, master])).await, master);
    }
    assert!(began.elapsed() < 2 * HANDSHAKE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_name_is_looked_up_for_every_connection() {
    let (a, b) = (
        server("127.0.0.1", Says::Role("master")).await,
        server("127.0.0.1", Says::Role("master")).await,
    );
    let single = name_of(2, &[a]);
    assert_eq!(found(&single).await, a);
    leads_to(2, &[b]);
    assert_eq!(found(&single).await, b);
}

#[tokio::test]
async fn without_a_master_it_is_said_what_the_servers_said() {
    let replica = server("127.0.0.1", Says::Role("slave")).await;
    let nobody: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    for addresses in [[replica, nobody], [nobody, replica]] {
        let error = name_of(3, &addresses).connect_to_master().await;
        let error = error.expect_err("no server listens");
        assert_eq!(Trouble::of(&error), Trouble::Replica, "{error}");
    }
    // Whoever only looks may look at a replica.
    name_of(3, &[nobody, replica])
        .connect()
        .await
        .expect("it answers");
    let error = name_of(3, &[]).connect().await.expect_err("no address");
    assert_eq!(Trouble::of(&error), Trouble::Away, "{error}");
}

#[tokio::test]
async fn who_may_not_ask_for_the_role_is_connected() {
    let unsaid = server("127.0.0.1", Says::NoRole).await;
    assert_eq!(found(&name_of(4, &[unsaid])).await, unsaid);
}
