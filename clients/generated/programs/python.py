import sys

from openapi_client import ApiClient, ApiException, Configuration, LeasesApi, PoolsApi
from openapi_client.models import AcquireBody, PolicyRequest, QueueRequest, RenewBody, TokenBody

client = ApiClient(Configuration(host=sys.argv[1]))
leases, pools = LeasesApi(client), PoolsApi(client)
pools.put_pool("crm", PolicyRequest(capacity=1, queue=QueueRequest(max_waiting=5)))
granted = leases.acquire("crm", acquire_body=AcquireBody(holder="ann"))
try:
    leases.acquire("crm", acquire_body=AcquireBody(holder="bob"))
    code = "granted"
except ApiException as denied:
    code = denied.data.code
queued = leases.acquire("crm", acquire_body=AcquireBody(holder="eve", wait=True))
renewed = leases.renew(RenewBody(token=granted.token))
page = leases.list_leases("crm", limit=1)
leases.release(TokenBody(token=granted.token))
print(code, "ticket" if queued.ticket else "no ticket", renewed.lease.holder, len(page.items))
