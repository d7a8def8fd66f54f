import { Configuration, LeasesApi, PoolsApi, ResponseError } from "./made/index";

const configuration = new Configuration({ basePath: process.argv[2] });
const [leases, pools] = [new LeasesApi(configuration), new PoolsApi(configuration)];
const body = (holder: string, wait = false) => ({ pool: "crm", acquireBody: { holder, wait } });

await pools.putPool({ pool: "crm", policyRequest: { capacity: 1, queue: { maxWaiting: 5 } } });
const granted = await leases.acquire(body("ann"));
const denied = await leases.acquire(body("bob")).catch((error: ResponseError) => error.response.json());
const queued = await leases.acquire(body("eve", true));
const token = granted.token!;
const renewed = await leases.renew({ renewBody: { token } });
const page = await leases.listLeases({ pool: "crm", limit: 1 });
await leases.release({ tokenBody: { token } });
console.log((denied as { code: string }).code, queued.ticket ? "ticket" : "no ticket", renewed.lease.holder, page.items.length);
