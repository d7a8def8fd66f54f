package leasehold;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** A web backend as people write it, against the real server at LEASEHOLD_URL. LEASEHOLD_KEY is an operator's key: this makes a pool. */
final class Programs {
    private static final String URL = System.getenv("LEASEHOLD_URL");
    private static final String KEY = System.getenv("LEASEHOLD_KEY");
    private static final String POOL = "java-backend";
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    private Programs() {}

    /** The product: users log in, work and log out; a session is named by a header. */
    private record Backend(HttpServer server, Client client, Gateway seats, List<String> lost) {
        static Backend start(Map<String, String> tokens) throws Exception {
            Client client = Client.of(URL, KEY);
            List<String> lost = java.util.Collections.synchronizedList(new ArrayList<>());
            Gateway seats = new Gateway(client, POOL, tokens, (session, why) -> lost.add(session + " " + why.code() + " " + why.reason().orElse("")));
            seats.restore(Duration.ofSeconds(10));
            HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
            server.setExecutor(Executors.newFixedThreadPool(8, work -> Client.daemon(work, "product")));
            Backend backend = new Backend(server, client, seats, lost);
            server.createContext("/", backend::serve);
            server.start();
            return backend;
        }

        private void serve(HttpExchange exchange) throws IOException {
            String session = exchange.getRequestHeaders().getFirst("session");
            int status = 204;
            try {
                switch (exchange.getRequestURI().getPath()) {
                    case "/login" -> seats.login(session, SeatOptions.holder(session));
                    case "/logout" -> seats.logout(session);
                    default -> seats.check(session);
                }
            } catch (SeatException error) {
                status = error.isTemporary() ? 503 : 403;
            } catch (InterruptedException error) {
                status = 503;
            }
            exchange.sendResponseHeaders(status, -1);
            exchange.close();
        }

        int ask(String path, String session) throws IOException, InterruptedException {
            URI uri = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + path);
            return HTTP.send(HttpRequest.newBuilder(uri).header("session", session).build(), HttpResponse.BodyHandlers.discarding()).statusCode();
        }
    }

    public static void main(String[] arguments) {
        try {
            backend();
            System.exit(0); // The threads of an HttpServer keep a program from ending.
        } catch (Throwable error) {
            error.printStackTrace();
            System.exit(1);
        }
    }

    private static void backend() throws Exception {
        call("PUT", "/v1/pools/" + POOL, "{\"capacity\":3,\"ttl_ms\":3000}");
        Map<String, String> tokens = new ConcurrentHashMap<>();
        Backend first = Backend.start(tokens);

        // Many requests of one person at once are one seat, and a full pool refuses.
        ExecutorService users = Executors.newFixedThreadPool(8, work -> Client.daemon(work, "user"));
        List<Callable<Integer>> logins = java.util.Collections.nCopies(8, () -> first.ask("/login", "ann"));
        for (Future<Integer> login : users.invokeAll(logins)) {
            is(204, login.get());
        }
        is(204, first.ask("/login", "bob"));
        is(204, first.ask("/login", "cid"));
        is(403, first.ask("/login", "dan"));
        is(3, holders());
        is(403, first.ask("/work", "dan"));
        is(204, first.ask("/work", "ann"));

        // A backend that is killed, which releases nothing, and started again goes on with its seats.
        first.server.stop(0);
        Backend second = Backend.start(tokens);
        is(3, second.seats.size());
        Thread.sleep(4_000);
        is(3, holders());
        is(204, second.ask("/work", "ann"));

        // What an operator ends is told, and forgotten.
        call("POST", "/v1/pools/" + POOL + "/leases/terminate", "{\"holder\":\"bob\",\"reason\":\"Over.\"}");
        for (int tries = 0; second.lost.isEmpty(); tries++) {
            is(true, tries < 200);
            Thread.sleep(50);
        }
        is(List.of("bob lease_terminated Over."), second.lost);
        is(403, second.ask("/work", "bob"));
        is(204, second.ask("/logout", "cid"));
        is(List.of("ann"), List.copyOf(tokens.keySet()));
        is(1, holders());
        second.client.close();
        first.client.close();
        is(0, holders());
    }

    private static int holders() throws IOException, InterruptedException {
        return ((List<?>) ((Map<?, ?>) Json.read(call("GET", "/v1/pools/" + POOL + "/leases", null))).get("items")).size();
    }

    private static String call(String method, String path, String body) throws IOException, InterruptedException {
        HttpRequest.BodyPublisher publisher = body == null ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofString(body);
        HttpRequest request = HttpRequest.newBuilder(URI.create(URL + path)).method(method, publisher)
                .header("authorization", "Bearer " + KEY).header("content-type", "application/json").build();
        HttpResponse<String> answer = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
        is(2, answer.statusCode() / 100);
        return answer.body();
    }

    private static void is(Object expected, Object actual) {
        if (!expected.equals(actual)) {
            throw new AssertionError("expected " + expected + ", got " + actual);
        }
    }
}
