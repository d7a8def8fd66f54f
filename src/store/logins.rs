//! Logins to the admin pages. Only hashes of what browsers keep are stored.
//!
//! A login ends half an hour after the last page. What Redis forgets by itself it forgets in an outage too, so the TTL is longer,
//! and tells when the last page was; whether that is too long ago is judged here, by the rule for all deadlines.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::Store;
use super::error::Error;
use super::keys::{Bucket, login, login_code};
use super::memory::Silence;
use crate::time::Timestamp;

/// How long a login lives without a page.
pub const LOGIN: Duration = Duration::from_secs(30 * 60);
/// How long Redis keeps one after the last page: the eight hours for which a cookie is good, and more than nodes of a version gave
/// that let Redis judge, so that theirs can be told from ours.
const KEPT: Duration = Duration::from_secs(8 * 60 * 60 + 30 * 60);
/// How long a code can be used.
pub const CODE: Duration = Duration::from_secs(10 * 60);

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).expect("hours")
}

/// Whether a login with this rest of its TTL is over.
fn is_over(rest_ms: i64, now: Timestamp, silence: Silence) -> bool {
    let last_page = Timestamp(now.0 - (ms(KEPT) - rest_ms));
    let kept_by_an_older_node = rest_ms <= ms(LOGIN);
    !kept_by_an_older_node && silence.end_of(Timestamp(last_page.0 + ms(LOGIN)), LOGIN) <= now
}

impl Store {
    /// Keeps a login of `caller`, an id of a key.
    pub async fn begin_login(&self, fingerprint: &str, caller: &str) -> Result<(), Error> {
        self.keep(&login(fingerprint), caller, KEPT).await
    }

    /// Who is logged in with this, for another while.
    pub async fn login(&self, fingerprint: &str) -> Result<Option<String>, Error> {
        let key = login(fingerprint);
        let mut connection = self.0.connections.get().await?;
        let (caller, rest_ms): (Option<String>, i64) = redis::pipe()
            .get(&key)
            .pttl(&key)
            .query_async(&mut *connection)
            .await?;
        if caller.is_none() {
            return Ok(None);
        }
        if is_over(rest_ms, self.now(), self.0.memory.silence()) {
            // There may have been an outage that this node has not heard of yet.
            self.tick(Bucket::of_no_pool()).boxed().await?;
            if is_over(rest_ms, self.now(), self.0.memory.silence()) {
                return Ok(None);
            }
        }
        let () = redis::cmd("PEXPIRE")
            .arg(&key)
            .arg(ms(KEPT))
            .query_async(&mut *connection)
            .await?;
        Ok(caller)
    }

    /// Ends a login on all nodes at once.
    pub async fn end_login(&self, fingerprint: &str) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("DEL")
            .arg(login(fingerprint))
            .exec_async(&mut *connection)
            .await?)
    }

    /// Keeps a login that can be used once.
    pub async fn offer_login(&self, fingerprint: &str, caller: &str) -> Result<(), Error> {
        self.keep(&login_code(fingerprint), caller, CODE).await
    }

    /// Uses a login that was offered; `None` if it was used before, or never was.
    pub async fn take_login(&self, fingerprint: &str) -> Result<Option<String>, Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("GETDEL")
            .arg(login_code(fingerprint))
            .query_async(&mut *connection)
            .await?)
    }

    async fn keep(&self, key: &str, value: &str, life: Duration) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("SET")
            .arg(key)
            .arg(value)
            .arg("PX")
            .arg(ms(life))
            .exec_async(&mut *connection)
            .await?)
    }
}

#[cfg(test)]
mod tests {
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
    fn a_login_that_a_node_of_before_keeps_is_good_while_redis_has_it() {
        assert!(!is_over(HOUR / 2, NOW, Silence::default()));
        assert!(!is_over(1, NOW, Silence::default()));
    }
}
