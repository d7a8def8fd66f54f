package leasehold;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/** Runs the vectors of clients/spec: one line of JSON for each on stdout. */
@SuppressWarnings("unchecked")
final class Vectors {
    private Vectors() {}

    public static void main(String[] arguments) throws IOException {
        boolean failed = false;
        TreeSet<Path> files = new TreeSet<>();
        try (DirectoryStream<Path> found = Files.newDirectoryStream(Path.of("..", "spec", arguments[0]), "*.json")) {
            found.forEach(files::add);
        }
        for (Path path : files) {
            String stem = path.getFileName().toString().replace(".json", "");
            Map<String, Object> document = (Map<String, Object>) Json.read(Files.readString(path));
            for (Map<String, Object> vector : (List<Map<String, Object>>) document.get("vectors")) {
                String why = arguments[0].equals("proof") ? proof(vector, document) : stem.equals("batch") ? batch(vector) : run(vector);
                Map<String, Object> line = new LinkedHashMap<>();
                line.put("vector", arguments[0] + "/" + stem + ": " + vector.get("name"));
                line.put("ok", why == null);
                if (why != null) {
                    line.put("why", why);
                    failed = true;
                }
                System.out.println(Json.write(line));
            }
        }
        System.exit(failed ? 1 : 0);
    }

    private static String run(Map<String, Object> vector) {
        Map<String, Object> o = (Map<String, Object>) vector.get("options");
        Number grace = (Number) o.get("max_grace_ms");
        Machine machine = new Machine(new Machine.Options(
                (String) o.get("pool"), (String) o.get("holder"), (String) o.get("tenant"), (String) o.get("label"),
                (String) o.get("platform"), (List<String>) o.get("activities"), Boolean.TRUE.equals(o.get("wait")),
                Boolean.TRUE.equals(o.get("reacquire")), Boolean.TRUE.equals(o.get("request")),
                grace == null ? null : (Long) grace.longValue(),
                (String) o.getOrDefault("key", "none")));
        int number = 0;
        for (Map<String, Object> step : (List<Map<String, Object>>) vector.get("steps")) {
            number++;
            Machine.Now now = now(step.get("at"));
            Machine.Output out = new Machine.Output();
            if (step.containsKey("event")) {
                machine = machine.step(event((Map<String, Object>) step.get("event")), now, out);
            }
            if (!step.containsKey("then")) {
                continue;
            }
            Map<String, Object> then = new LinkedHashMap<>((Map<String, Object>) step.get("then"));
            Map<String, Object> peek = (Map<String, Object>) then.remove("peek");
            Map<String, Object> got = plain(out);
            got.put("state", machine.seen(now)[0]);
            got.put("sure", machine.sure(now));
            if (!same(got, then)) {
                return "step " + number + ": got " + Json.write(got) + ", expected " + Json.write(then);
            }
            Map<String, Object> known = new LinkedHashMap<>();
            known.put("token", machine.token());
            known.put("proof", machine.proof());
            known.put("lease_id", machine.lease() == null ? null : machine.lease().get("id"));
            known.put("away", machine.isAway());
            if (peek != null) {
                for (Map.Entry<String, Object> entry : peek.entrySet()) {
                    if (!same(known.get(entry.getKey()), entry.getValue())) {
                        return "step " + number + ": " + entry.getKey() + " is " + known.get(entry.getKey());
                    }
                }
            }
        }
        return null;
    }

    private static String proof(Map<String, Object> vector, Map<String, Object> document) {
        Object keys = vector.getOrDefault("keys", Map.of("keys", document.get("keys")));
        Duration leeway = Duration.ofSeconds(((Number) vector.get("leeway_s")).longValue());
        String issuer = (String) vector.get("issuer");
        Verifier verifier = Verifier.pinned(issuer, (String) vector.get("audience"), Json.write(keys), leeway);
        String why = "accepted";
        try {
            verifier.verify((String) vector.get("proof"), Instant.ofEpochSecond(((Number) vector.get("at")).longValue()));
        } catch (Verifier.InvalidProof error) {
            why = error.getMessage();
        }
        return vector.get("ok").equals(why.equals("accepted")) ? null : why;
    }

    private static String batch(Map<String, Object> vector) {
        List<Integer> ids = ((List<Number>) vector.get("ids")).stream().map(Number::intValue).toList();
        List<Object> got = new ArrayList<>();
        int status = ((Number) vector.get("status")).intValue();
        for (Machine.Event event : Machine.spread(ids, status, (Map<String, String>) vector.get("headers"), vector.get("body"))) {
            Map<String, Object> line = new LinkedHashMap<>(Map.of("event", event.kind(), "id", event.id()));
            if (event.kind().equals("result")) {
                line.put("result", event.result());
            } else {
                line.put("status", event.status());
                line.put("headers", event.headers());
                line.put("body", event.body());
            }
            got.add(line);
        }
        return same(got, vector.get("events")) ? null : "got " + Json.write(got);
    }

    private static Machine.Now now(Object at) {
        if (at instanceof Number both) {
            return new Machine.Now(both.longValue(), both.longValue());
        }
        Map<String, Number> clocks = (Map<String, Number>) at;
        return new Machine.Now(clocks.get("mono").longValue(), clocks.get("wall").longValue());
    }

    private static Machine.Event event(Map<String, Object> e) {
        Number id = (Number) e.getOrDefault("id", 0.0);
        Number status = (Number) e.getOrDefault("status", 0.0);
        Long idle = e.get("idle_ms") instanceof Number ms ? (Long) ms.longValue() : null;
        return new Machine.Event(
                (String) e.get("event"), id.intValue(), status.intValue(),
                (Map<String, String>) e.getOrDefault("headers", Map.of()), e.get("body"), e.get("result"), (String) e.get("timer"),
                (String) e.get("token"), (List<String>) e.get("activities"), (String) e.get("label"), idle);
    }

    private static Map<String, Object> plain(Machine.Output out) {
        Map<String, Object> got = new LinkedHashMap<>();
        List<Object> send = new ArrayList<>();
        for (Machine.Request request : out.send) {
            Map<String, Object> one = new LinkedHashMap<>(Map.of(
                    "id", request.id(), "path", request.path(), "body", request.body(), "timeout_ms", request.timeoutMs()));
            if (request.acquisition() > 0) {
                one.put("acquisition", request.acquisition());
            }
            if (request.refused()) {
                one.put("refused", true);
            }
            if (request.fresh()) {
                one.put("fresh", true);
            }
            if (request.idle()) {
                one.put("idle", true);
            }
            send.add(one);
        }
        if (!send.isEmpty()) {
            got.put("send", send);
        }
        if (out.abort != 0) {
            got.put("abort", out.abort);
        }
        if (!out.timers.isEmpty()) {
            Map<String, Object> timers = new LinkedHashMap<>();
            out.timers.forEach((name, span) -> timers.put(name, span == null ? null : List.of(span[0], span[1])));
            got.put("timers", timers);
        }
        if (!out.emit.isEmpty()) {
            got.put("emit", out.emit);
        }
        if (!out.tell.isEmpty()) {
            got.put("tell", out.tell);
        }
        if (out.done) {
            got.put("done", true);
        }
        return got;
    }

    static boolean same(Object a, Object b) {
        if (a instanceof Number x && b instanceof Number y) {
            return x.doubleValue() == y.doubleValue();
        }
        if (a instanceof List<?> x && b instanceof List<?> y) {
            if (x.size() != y.size()) {
                return false;
            }
            for (int i = 0; i < x.size(); i++) {
                if (!same(x.get(i), y.get(i))) {
                    return false;
                }
            }
            return true;
        }
        if (a instanceof Map<?, ?> x && b instanceof Map<?, ?> y) {
            return x.keySet().equals(y.keySet()) && x.keySet().stream().allMatch(name -> same(x.get(name), y.get(name)));
        }
        return java.util.Objects.equals(a, b);
    }
}
