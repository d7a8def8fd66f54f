import createClient from "openapi-fetch";
import type { paths } from "./made/schema";

const api = createClient<paths>({ baseUrl: process.argv[2] });
const body = (holder: string, wait = false) => ({ params: { path: { pool: "crm" } }, body: { holder, wait } });

await api.PUT("/v1/pools/{pool}", { params: { path: { pool: "crm" } }, body: { capacity: 1, queue: { max_waiting: 5 } } });
const granted = await api.POST("/v1/pools/{pool}/leases", body("ann"));
const denied = await api.POST("/v1/pools/{pool}/leases", body("bob"));
const queued = await api.POST("/v1/pools/{pool}/leases", body("eve", true));
const token = granted.data!.token!;
const renewed = await api.POST("/v1/leases/renew", { body: { token } });
const page = await api.GET("/v1/pools/{pool}/leases", { params: { path: { pool: "crm" }, query: { limit: 1 } } });
// A list may also be a table, which is a text: only `format` and `Accept` say so.
const leases = typeof page.data === "object" ? page.data.items : [];
await api.POST("/v1/leases/release", { body: { token } });
console.log(denied.error!.code, queued.data!.ticket ? "ticket" : "no ticket", renewed.data!.lease.holder, leases.length);
