import { acquire, listLeases, putPool, release, renew } from "./made/sdk.gen";
import { client } from "./made/client.gen";

client.setConfig({ baseUrl: process.argv[2] });
const body = (holder: string, wait = false) => ({ path: { pool: "crm" }, body: { holder, wait } });

await putPool({ path: { pool: "crm" }, body: { capacity: 1, queue: { max_waiting: 5 } } });
const granted = await acquire(body("ann"));
const denied = await acquire(body("bob"));
const queued = await acquire(body("eve", true));
const token = granted.data!.token!;
const renewed = await renew({ body: { token } });
const page = await listLeases({ path: { pool: "crm" }, query: { limit: 1 } });
await release({ body: { token } });
console.log(denied.error!.code, queued.data!.ticket ? "ticket" : "no ticket", renewed.data!.lease.holder, page.data!.items.length);
