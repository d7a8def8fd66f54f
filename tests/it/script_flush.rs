//! `SCRIPT FLUSH`, or a Redis that never saw the scripts: nobody notices.

use serde_json::json;

use crate::harness::Installation;

#[tokio::test]
async fn a_flushed_script_cache_is_invisible() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    let flush = async || {
        let () = cluster.redis.query(&["SCRIPT", "FLUSH"]).await;
    };

    for round in 0..20 {
        let pool = format!("crm-{round}");
        flush().await;
        a.put_pool(&pool, json!({"capacity": 3}), 201).await;
        flush().await;
        let granted = b.acquire(&pool, json!({}), 201).await;
        let other = b.acquire(&pool, json!({}), 201).await;
        flush().await;
        a.renew(&granted.token(), 200).await;
        flush().await;
        let renewed = a.renew_many(&[&granted.token(), &other.token()], 200).await;
        assert_eq!(renewed["results"][1]["status"], "renewed");
        flush().await;
        b.list(&pool, "", 200).await;
        flush().await;
        a.leave(&granted.token(), 204).await;
        flush().await;
        b.release(&granted.token(), 204).await;
        flush().await;
        b.terminate(&pool, json!({"all": true}), 200).await;
        flush().await;
        a.renew(&granted.token(), 410).await;
        flush().await;
        assert_eq!(a.pool(&pool, 200).await["in_use"], 0);
    }
}
