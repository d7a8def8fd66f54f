package leasehold;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** What the scenarios of clients/spec/wire drive: lines of JSON in, lines of JSON out. */
@SuppressWarnings("unchecked")
final class Driver {
    private static final Map<String, Seat> SEATS = new ConcurrentHashMap<>();
    private static final Map<String, Thread> THREADS = new ConcurrentHashMap<>();
    private static final Map<String, String> TOKENS = new ConcurrentHashMap<>();
    private static final Map<String, Object> IDLE = new ConcurrentHashMap<>(); // Milliseconds, or "raise".
    private static Client client;
    private static String server;
    private static Verifier verifier;
    private static Gateway gateway;

    private Driver() {}

    private static synchronized void say(Object... pairs) {
        Map<String, Object> line = new LinkedHashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            if (pairs[i + 1] != null) {
                line.put((String) pairs[i], pairs[i + 1]);
            }
        }
        System.out.println(Json.write(line));
        System.out.flush();
    }

    public static void main(String[] arguments) throws IOException {
        say("ready", "java", "spec", 2, "can", List.of("cancel", "exit", "verify", "gateway"));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String text = in.readLine(); text != null; text = in.readLine()) {
            Map<String, Object> line = (Map<String, Object>) Json.read(text);
            String name = (String) line.getOrDefault("as", "s");
            switch ((String) line.get("do")) {
                case "quit" -> {
                    return;
                }
                case "raise" -> throw new IllegalStateException("an error of the program");
                case "start" -> {
                    List<String> keys = (List<String>) line.get("keys");
                    String url = (String) line.get("url");
                    server = url;
                    client = keys.size() == 1 ? Client.of(url, keys.get(0)) : Client.of(url, refused -> keys.get(refused ? 1 : 0), null);
                }
                case "acquire", "adopt" -> thread(name, () -> acquire(name, line));
                case "hold" -> thread(name, () -> hold(name, line));
                case "verify" -> thread(name, () -> verify(name, line));
                case "gateway", "restore" -> thread(name, () -> restore(name, line));
                case "login" -> thread(name, () -> {
                    try {
                        SeatOptions options = SeatOptions.holder((String) line.get("holder"));
                        options = Boolean.TRUE.equals(line.get("reacquire")) ? options.reacquire() : options;
                        String session = (String) line.get("session");
                        say("seat", name, "login", session, "id", gateway.login(session, options).id());
                    } catch (SeatException | InterruptedException error) {
                        say("seat", name, "error", error.toString());
                    }
                });
                case "kept" -> say("seat", name, "kept", kept());
                case "many" -> thread("many", () -> many(line));
                case "cancel" -> THREADS.get(name).interrupt();
                case "release", "close" -> thread(name + " end", () -> {
                    long began = System.nanoTime();
                    if (line.get("do").equals("release")) {
                        SEATS.get(name).release();
                    } else {
                        SEATS.get(name).leave();
                    }
                    say("seat", name, "done", line.get("do"), "ms", (System.nanoTime() - began) / 1_000_000);
                });
                case "hand_over" -> thread(name + " yield", () -> say("seat", name, "handed_over", SEATS.get(name).handOver()));
                case "check" -> {
                    Seat seat = SEATS.get(name);
                    String said = "ok";
                    try {
                        seat.check();
                    } catch (SeatException error) {
                        said = error.code();
                    }
                    say("seat", name, "check", said, "state", seat.state(), "sure", seat.sure());
                }
                case "touch" -> {
                    if (line.get("session") instanceof String session) {
                        gateway.touch(session);
                    } else {
                        SEATS.get(name).touch();
                    }
                }
                case "idle" -> IDLE.put(name, line.get("ms"));
                default -> SEATS.get(name).report(((List<String>) line.get("activities")).toArray(String[]::new));
            }
        }
    }

    private static void thread(String name, Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        THREADS.put(name, thread);
        thread.start();
    }

    private static SeatOptions options(String name, Map<String, Object> line) {
        SeatOptions options = SeatOptions.holder((String) line.get("holder"));
        options = Boolean.TRUE.equals(line.get("wait")) ? options.queue() : options;
        options = Boolean.TRUE.equals(line.get("reacquire")) ? options.reacquire() : options;
        options = Boolean.TRUE.equals(line.get("request")) ? options.request() : options;
        if (line.get("idle") != null) {
            IDLE.put(name, line.get("idle"));
            options = options.idle(() -> {
                if (IDLE.get(name) instanceof Number ms) {
                    return Duration.ofMillis(ms.longValue());
                }
                throw new IllegalStateException("a function of the program");
            });
        }
        Object listener = line.get("listener");
        return options.onEvent(event -> {
            Map<String, Object> said = new LinkedHashMap<>(event.details());
            said.remove("state");
            said.put("seat", name);
            said.put("event", event.state());
            if (event.seat().id() != null) {
                said.put("id", event.seat().id());
            }
            say(said.entrySet().stream().flatMap(e -> java.util.stream.Stream.of(e.getKey(), e.getValue())).toArray());
            if ("raise".equals(listener)) {
                throw new IllegalStateException("a listener of the program");
            }
            if ("block".equals(listener)) {
                try {
                    Thread.sleep(10_000);
                } catch (InterruptedException end) {
                    Thread.currentThread().interrupt();
                }
            }
        });
    }

    private static void acquire(String name, Map<String, Object> line) {
        String pool = (String) line.get("pool");
        SeatOptions options = options(name, line);
        try {
            Seat seat;
            if (line.get("do").equals("adopt")) {
                seat = client.adopt(pool, (String) line.get("token"), options);
            } else if (line.get("timeout_ms") instanceof Number ms) {
                seat = client.acquire(pool, options, Duration.ofMillis(ms.longValue()));
            } else {
                seat = client.acquire(pool, options);
            }
            SEATS.put(name, seat);
            say("seat", name, "result", "held", "id", seat.id(), "fence", seat.fence(), "sure", seat.sure());
        } catch (SeatException error) {
            say("seat", name, "error", error.code(), "detail", error.detail(), "temporary", error.isTemporary());
        } catch (InterruptedException error) {
            say("seat", name, "error", "cancelled");
        }
    }

    private static void hold(String name, Map<String, Object> line) {
        try {
            client.hold((String) line.get("pool"), options(name, line), seat -> {
                SEATS.put(name, seat);
                say("seat", name, "body", "runs");
                Thread.sleep(60_000);
            });
        } catch (SeatException error) {
            say("seat", name, "body", "lost", "code", error.code(), "reason", error.reason().orElse(null));
        } catch (InterruptedException error) {
            say("seat", name, "body", "cancelled");
        } catch (Exception error) {
            say("seat", name, "body", error.toString());
        }
    }

    private static void verify(String name, Map<String, Object> line) {
        if (verifier == null) {
            verifier = Verifier.of((String) line.get("issuer"), (String) line.get("audience"), server);
        }
        java.time.Instant at = java.time.Instant.ofEpochSecond(((Number) line.get("at")).longValue());
        int verified = 0;
        for (int n = 0; n < ((Number) line.get("times")).intValue(); n++) {
            try {
                verifier.verify((String) line.get("proof"), at);
                verified++;
            } catch (Verifier.InvalidProof invalid) {
                System.err.println(invalid.getMessage());
            }
        }
        say("seat", name, "verified", verified);
    }

    private static void restore(String name, Map<String, Object> line) {
        if (line.get("do").equals("gateway")) {
            TOKENS.putAll((Map<String, String>) line.get("tokens"));
            gateway = new Gateway(client, (String) line.get("pool"), TOKENS, null);
        }
        Object ms = line.getOrDefault("timeout_ms", 30_000);
        try {
            int restored = gateway.restore(Duration.ofMillis(((Number) ms).longValue()));
            say("seat", name, "restored", restored, "kept", kept());
        } catch (InterruptedException end) {
            Thread.currentThread().interrupt();
        }
    }

    /** What is kept, without what marks secrets. */
    private static Map<String, Object> kept() {
        Map<String, Object> kept = new LinkedHashMap<>();
        TOKENS.forEach((session, token) -> kept.put(session, token.replace("SECRET-", "")));
        return kept;
    }

    private static void many(Map<String, Object> line) {
        List<Thread> threads = new java.util.ArrayList<>();
        for (int n = 1; n <= ((Number) line.get("count")).intValue(); n++) {
            String name = "s" + n;
            Thread thread = new Thread(() -> {
                try {
                    Seat seat = client.acquire((String) line.get("pool"), SeatOptions.holder(name).onEvent(event -> {
                        if (event.state().equals("lost")) {
                            say("seat", name, "event", "lost", "code", event.code());
                        }
                    }));
                    SEATS.put(name, seat);
                    if (Boolean.TRUE.equals(line.get("touch"))) {
                        seat.touch();
                    }
                } catch (SeatException | InterruptedException error) {
                    say("seat", name, "error", error.toString());
                }
            });
            threads.add(thread);
            thread.start();
        }
        for (Thread thread : threads) {
            try {
                thread.join();
            } catch (InterruptedException end) {
                return;
            }
        }
        say("seat", "", "result", "held", "count", SEATS.size());
    }
}
