import sys

from leasehold_client import Client
from leasehold_client.api.leases import acquire, list_leases, release, renew
from leasehold_client.api.pools import put_pool
from leasehold_client.models import AcquireBody, PolicyRequest, QueueRequest, RenewBody, TokenBody

client = Client(base_url=sys.argv[1])
put_pool.sync("crm", client=client, body=PolicyRequest(capacity=1, queue=QueueRequest(max_waiting=5)))
granted = acquire.sync("crm", client=client, body=AcquireBody(holder="ann"))
denied = acquire.sync("crm", client=client, body=AcquireBody(holder="bob"))
queued = acquire.sync("crm", client=client, body=AcquireBody(holder="eve", wait=True))
renewed = renew.sync(client=client, body=RenewBody(token=granted.token))
page = list_leases.sync("crm", client=client, limit=1)
release.sync_detailed(client=client, body=TokenBody(token=granted.token))
print(denied.code, "ticket" if queued.ticket else "no ticket", renewed.lease.holder, len(page.items))
