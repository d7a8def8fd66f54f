import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.LeasesApi;
import org.openapitools.client.api.PoolsApi;
import org.openapitools.client.model.*;

public class Program {
    public static void main(String[] arguments) throws Exception {
        var client = new ApiClient();
        client.updateBaseUri(arguments[0]);
        var leases = new LeasesApi(client);
        new PoolsApi(client).putPool("crm", new PolicyRequest().capacity(1).queue(new QueueRequest().maxWaiting(5)), null, null);
        var granted = leases.acquire("crm", null, new AcquireBody().holder("ann"));
        String code = "granted";
        try {
            leases.acquire("crm", null, new AcquireBody().holder("bob"));
        } catch (ApiException denied) {
            code = ApiClient.createDefaultObjectMapper().readValue(denied.getResponseBody(), Problem.class).getCode();
        }
        var queued = leases.acquire("crm", null, new AcquireBody().holder("eve").wait(true));
        var renewed = leases.renew(new RenewBody().token(granted.getToken()));
        var page = leases.listLeases("crm", null, null, null, null, 1, null, null);
        leases.release(new TokenBody().token(granted.getToken()));
        System.out.println(code + (queued.getTicket() == null ? " no ticket " : " ticket ") + renewed.getLease().getHolder() + " " + page.getItems().size());
    }
}
