package leasehold;

import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/**
 * The rules of one seat, as a pure function: no clock, no random number, no socket. The vectors of clients/spec/machine turn time
 * by hand; clients/spec/README.md says what the words mean. It holds the token, so it is never shown.
 */
final class Machine implements Cloneable {
    static final String GRACE_OVER = "outage_grace_over";
    static final Set<String> ENDS = Set.of(
            "lease_expired", "lease_released", "lease_terminated", "lease_evicted", "invalid_token", "pool_not_found");
    private static final Set<String> CLOSED = Set.of("maintenance", "recovering");
    private static final Set<String> FULL = Set.of("pool_full", "tenant_full", "queue_full");
    private static final List<String> TEXTS = List.of("title", "detail", "reason", "blocked_until", "request_id");
    private static final List<String> NUMBERS = List.of("retry_after_ms", "in_use", "capacity", "position", "eta_ms");
    private static final List<String> TOLD = List.of("notice");
    private static final long AWAY_MS = 60_000;
    private static final long REQUEST_MS = 8_000;
    private static final long MOST_MS = 31L * 24 * 3_600_000; // What a heartbeat may report as a length of time.
    private static final long LONG_POLL_MS = 20_000;
    private static final long END_MS = 3_000;

    /** Two clocks, in milliseconds. Either may stand still or jump; what counts is the one that went further. */
    record Now(long mono, long wall) {
        long since(Now then) {
            return Math.max(mono - then.mono, wall - then.wall);
        }
    }

    /** What a seat is asked with. The key is `none`, `fixed` or `function`: one that can be asked for another key. */
    record Options(
            String pool, String holder, String tenant, String label, String platform, List<String> activities,
            boolean queues, boolean reacquire, boolean requests, Long maxGraceMs, String key) {}

    /** Something that happened. Members that an event of its kind does not have are null or 0. */
    record Event(
            String kind, int id, int status, Map<String, String> headers, Object body, Object result, String timer,
            String token, List<String> activities, String label, Long idleMs) {
        static Event of(String kind) {
            return new Event(kind, 0, 0, Map.of(), null, null, null, null, null, null, null);
        }

        static Event timer(String timer) {
            return new Event("timer", 0, 0, Map.of(), null, null, timer, null, null, null, null);
        }

        static Event adopt(String token) {
            return new Event("adopt", 0, 0, Map.of(), null, null, null, token, null, null, null);
        }

        static Event report(List<String> activities, String label) {
            return new Event("report", 0, 0, Map.of(), null, null, null, null, activities, label, null);
        }

        static Event failed(int id) {
            return new Event("failed", id, 0, Map.of(), null, null, null, null, null, null, null);
        }

        static Event answer(int id, int status, Map<String, String> headers, Object body) {
            return new Event("answer", id, status, headers, body, null, null, null, null, null, null);
        }

        static Event result(int id, Object result) {
            return new Event("result", id, 0, Map.of(), null, result, null, null, null, null, null);
        }

        /** The same, of a request that reported how long nobody did anything. */
        Event of(Long idleMs) {
            return new Event(kind, id, status, headers, body, result, timer, token, activities, label, idleMs);
        }
    }

    /** A request to send. One with `idle` may report how long nobody did anything. */
    record Request(
            int id, String path, Map<String, Object> body, long timeoutMs, int acquisition, boolean refused, boolean fresh, boolean idle) {}

    /** What there is to do. A timer with null stops. */
    static final class Output {
        final List<Request> send = new ArrayList<>();
        int abort;
        final Map<String, long[]> timers = new HashMap<>();
        final List<Map<String, Object>> emit = new ArrayList<>();
        final Map<String, Object> tell = new LinkedHashMap<>();
        boolean done;
    }

    private record Flight(int id, String kind, Now at, boolean news, boolean idle) {}

    private record Ending(String path, Map<String, Object> body, int tries, int most, Now at) {}

    private final Options options;
    private String name = "idle";
    private String code;
    private Double position;
    private Map<String, Object> lease;
    private String token;
    private String proof;
    private String ticket;
    private Now sent = new Now(0, 0);
    private int acquisition;
    private int requests;
    private Flight flight;
    private Map<Integer, String> abandoned = new HashMap<>();
    private Ending ending;
    private int misses;
    private boolean fresh;
    private boolean refused;
    private boolean heard;
    private boolean again;
    private boolean dormant;
    private boolean returned;
    private boolean plain;
    private Double asked; // How long the last request for the seat was open, at the last heartbeat.
    private boolean wishes;
    private boolean canRequest;
    private boolean requested;
    private Long idleMs;
    private Map<String, Object> ends = Map.of();
    private boolean news;
    private String label;
    private List<String> activities;
    private boolean next;
    private boolean deadline;

    // Of one step.
    private Now now;
    private Output out;

    Machine(Options options) {
        this.options = options;
        wishes = options.requests();
        label = options.label();
        activities = options.activities();
    }

    String name() {
        return name;
    }

    String code() {
        return code;
    }

    String token() {
        return token;
    }

    String proof() {
        return proof;
    }

    Map<String, Object> lease() {
        return lease;
    }

    boolean isEnding() {
        return ending != null;
    }

    private boolean isBusy() {
        return flight != null || !abandoned.isEmpty() || next || deadline || ending != null || dormant;
    }

    /** Whether somebody who comes back may have another seat after an end like this. */
    static boolean isUnused(String code, Object reason) {
        return "lease_evicted".equals(code) && ("idle".equals(reason) || "max_hold".equals(reason));
    }

    /** Whether the next activity of the user makes a difference: to a seat that may end as idle, or to one that has ended so. */
    boolean isAway() {
        if (lease == null || dormant) {
            return dormant;
        }
        boolean told = text(lease.get("active_at")) != null && idleMs != null
                && idleMs >= Math.min(whole(lease.get("renew_after_ms")), AWAY_MS);
        return told || "idle".equals(ends.get("reason"));
    }

    /** Whether it is to hear of activity. */
    boolean heeds() {
        return flight != null || isAway();
    }

    private long left(Now now) {
        return lease == null ? 0 : whole(lease.get("expires_in_ms")) - now.since(sent);
    }

    /** How long work may go on after that; null is without limit. */
    private Long grace() {
        Object told = lease == null ? null : lease.get("outage_grace_ms");
        Long limit = isLength(told) ? (Long) whole(told) : null;
        Long own = options.maxGraceMs();
        return limit == null ? own : own == null ? limit : (Long) Math.min(limit, own);
    }

    /** Name and code of the state as the clock has it, also where no timer has fired yet. */
    String[] seen(Now now) {
        long rest = left(now);
        if (!Set.of("held", "unstable", "grace").contains(name) || rest > 0) {
            return new String[] {name, code};
        }
        Long limit = grace();
        return limit != null && rest + limit <= 0 ? new String[] {"lost", GRACE_OVER} : new String[] {"grace", code};
    }

    /** Whether nobody else can have the seat. */
    boolean sure(Now now) {
        return Set.of("held", "unstable").contains(seen(now)[0]);
    }

    /** The machine after one event; this one stays as it is. */
    Machine step(Event event, Now now, Output out) {
        Machine after;
        try {
            after = (Machine) clone();
        } catch (CloneNotSupportedException impossible) {
            throw new AssertionError(impossible);
        }
        after.abandoned = new HashMap<>(abandoned);
        after.now = now;
        after.out = out;
        after.take(event);
        out.done = isBusy() && !after.isBusy();
        after.out = null;
        return after;
    }

    /** One event for each heartbeat in the answer to a renew-many. A malformed one ends nobody. */
    static List<Event> spread(List<Integer> ids, int status, Map<String, String> headers, Object body) {
        Map<String, Object> object = object(body);
        List<?> results = status == 200 && object.get("results") instanceof List<?> list && list.size() == ids.size() ? list : null;
        // Words that end a lease stand in a result, and nowhere else.
        Object kept = status == 200 || (object.get("code") instanceof String code && ENDS.contains(code)) ? null : body;
        List<Event> events = new ArrayList<>();
        for (int i = 0; i < ids.size(); i++) {
            events.add(results != null ? Event.result(ids.get(i), results.get(i)) : Event.answer(ids.get(i), status, headers, kept));
        }
        return events;
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> object(Object value) {
        return value instanceof Map<?, ?> map ? (Map<String, Object>) map : Map.of();
    }

    private static boolean isLength(Object value) {
        return value instanceof Number number && number.doubleValue() >= 0;
    }

    private static long whole(Object value) {
        return value instanceof Number number ? number.longValue() : 0;
    }

    private static String text(Object value) {
        return value instanceof String string && !string.isEmpty() ? string : null;
    }

    private static boolean isLease(Object value) {
        Map<String, Object> lease = object(value);
        return text(lease.get("id")) != null && isLength(lease.get("expires_in_ms")) && isLength(lease.get("renew_after_ms"));
    }

    /** The code of a problem document of Leasehold, or null. The error page of a proxy has none. */
    private static String problemCode(Event event) {
        String media = event.headers().getOrDefault("content-type", "").split(";", 2)[0].strip().toLowerCase(Locale.ROOT);
        return event.status() >= 400 && media.equals("application/problem+json") ? text(object(event.body()).get("code")) : null;
    }

    private static long retryAfter(Event event, boolean ours) {
        Object ms = object(event.body()).get("retry_after_ms");
        if (ours && isLength(ms)) {
            return whole(ms);
        }
        String seconds = event.headers().getOrDefault("retry-after", "").strip();
        return seconds.matches("[0-9]{1,9}") ? Long.parseLong(seconds) * 1_000 : 0;
    }

    /** What an event tells of an answer. Never a token or a ticket. */
    private static Map<String, Object> details(int status, Object value, boolean ours) {
        Map<String, Object> details = new LinkedHashMap<>();
        boolean readable = ours && value instanceof Map;
        if (status > 0 && (!readable || status >= 400)) {
            details.put("status", status);
        }
        Map<String, Object> body = readable ? object(value) : Map.of();
        TEXTS.stream().filter(name -> text(body.get(name)) != null).forEach(name -> details.put(name, body.get(name)));
        NUMBERS.stream().filter(name -> isLength(body.get(name))).forEach(name -> details.put(name, body.get(name)));
        return details;
    }

    private boolean isAcquiring() {
        return name.equals("acquiring") || name.equals("waiting");
    }

    private void take(Event event) {
        if (event.kind().equals("timer")) {
            running(event.timer(), false);
        }
        if (!event.kind().equals("forked")) {
            look();
        }
        switch (event.kind()) {
            case "answer", "result", "failed" -> hear(event);
            case "acquire" -> acquire();
            case "adopt" -> {
                if (name.equals("idle")) {
                    token = event.token();
                    to("acquiring", null, Map.of());
                    beat();
                }
            }
            case "timer" -> fired(event.timer());
            case "wake" -> wake();
            case "report" -> {
                activities = event.activities() != null ? event.activities() : activities;
                label = event.label() != null ? event.label() : label;
                news = true;
                if (lease != null && flight == null) {
                    plan("next", 500, 500);
                }
            }
            case "active" -> active();
            case "request" -> {
                if (isAcquiring()) {
                    wishes = true;
                    request();
                }
            }
            case "yield" -> yieldSeat();
            case "release" -> end("/v1/leases/release", "lease_released", 3);
            case "close" -> end("/v1/leases/leave", "closed", 1);
            case "cancel" -> {
                if (isAcquiring()) {
                    end("/v1/leases/release", "cancelled", 3);
                }
            }
            case "forked" -> {
                boolean had = isAcquiring() || lease != null;
                flight = null;
                ending = null;
                abandoned.clear();
                next = deadline = again = dormant = false;
                if (had) {
                    finish("lost", "forked", Map.of());
                }
            }
            default -> throw new IllegalArgumentException(event.kind());
        }
    }

    private void acquire() {
        if (isAcquiring() || lease != null) {
            return;
        }
        stop("next");
        misses = 0;
        fresh = again = dormant = plain = false;
        acquisition++;
        to("acquiring", null, Map.of());
        if (ending == null) {
            ask();
            return;
        }
        again = true; // The seat that is being given back may be the one that it gets.
        if (flight == null) {
            giveBack();
        }
    }

    private void fired(String timer) {
        if (timer.equals("deadline")) {
            if (Set.of("held", "unstable", "grace").contains(name) && !deadline) {
                watch();
            }
        } else if (flight != null) {
            return;
        } else if (ending != null) {
            giveBack();
        } else if (lease != null || (token != null && name.equals("acquiring"))) {
            beat();
        } else if (isAcquiring()) {
            ask();
        } else if (name.equals("lost") && again) {
            acquire();
        }
    }

    private void wake() {
        if (ending != null || (lease == null && !isAcquiring())) {
            return;
        }
        if (flight != null) {
            if (now.since(flight.at()) <= 3_000) {
                return;
            }
            abort(); // The network that it hangs on may be gone.
        } else if (lease != null && now.since(sent) <= 1_000) {
            return;
        }
        stop("next");
        if (token != null) {
            beat();
        } else {
            ask();
        }
    }

    /** The user is there, or back. */
    private void active() {
        if (dormant) {
            acquire();
        } else if (flight != null) {
            returned = flight.idle();
        } else if (name.equals("held") && isAway()) { // In an outage the tries have their own times.
            beat();
        }
    }

    /** The seat goes to whoever asked for one. */
    private void yieldSeat() {
        if (lease == null || ending != null || yields()) {
            return;
        }
        if (flight != null) {
            abort();
        }
        send("/v1/leases/yield", Map.of("token", token), patience(), "yield", 0, fresh, false);
    }

    /** Whether the answer to a yield is awaited. */
    boolean yields() {
        return flight != null && flight.kind().equals("yield");
    }

    /** Asks those who have a seat for one, once for each ticket. */
    private void request() {
        if (wishes && canRequest && ticket != null && !requested) {
            requested = true;
            abandon("/v1/pools/" + segment(options.pool()) + "/queue/request", Map.of("ticket", ticket), 1_000);
            abandoned.put(requests, "request");
        }
    }

    /** How long to wait for an answer about the lease. */
    private long patience() {
        long rest = left(now);
        return rest > 0 ? Math.max(250, Math.min(REQUEST_MS, rest / 2)) : REQUEST_MS;
    }

    private static boolean isSettled(int status) {
        return status != 0 && status < 500 && status != 408 && status != 429;
    }

    private void hear(Event event) {
        String kind = abandoned.remove(event.id());
        if (kind != null) {
            String late = text(object(event.body()).get("token"));
            String place = text(object(event.body()).get("ticket"));
            if (kind.equals("request")) {
                requested = isSettled(event.status());
            } else if (!kind.equals("end") && late != null) {
                abandon("/v1/leases/release", Map.of("token", late), END_MS);
            } else if (kind.equals("ask") && place != null) {
                leaveQueue(place);
            }
            return;
        }
        Flight answered = flight;
        if (answered == null || answered.id() != event.id()) {
            return; // It came too late, and a later one has been heard.
        }
        flight = null;
        idleMs = event.idleMs();
        if (event.kind().equals("result")) {
            beatResult(answered, object(event.result()));
        } else {
            switch (answered.kind()) {
                case "end" -> endHeard(event.status());
                case "yield" -> yieldHeard(event);
                case "renew" -> beatHeard(answered, event);
                default -> askHeard(answered, event);
            }
        }
    }

    private static String said(String code, int status) {
        return code != null ? code : status != 0 ? "not_leasehold" : "unreachable";
    }

    private void askHeard(Flight asked, Event event) {
        Map<String, Object> body = object(event.body());
        int status = event.status();
        String problem = problemCode(event);
        boolean granted = (status == 200 || status == 201) && isLease(body.get("lease")) && text(body.get("token")) != null;
        boolean queued = status == 202 && text(body.get("ticket")) != null;
        boolean ours = granted || queued || problem != null;
        boolean temporary = status == 0 || status == 408 || status == 429 || status >= 500;
        long after = retryAfter(event, ours);
        Map<String, Object> details = details(status, event.body(), ours);
        boolean wasRefused = refused;
        refused = false;
        heard |= ours;
        if (granted) {
            hold(asked, body, object(body.get("lease")));
        } else if (queued) {
            requested &= text(body.get("ticket")).equals(ticket);
            ticket = text(body.get("ticket"));
            canRequest = Boolean.TRUE.equals(body.get("can_request"));
            misses = 0;
            to("waiting", null, details);
            long rest = Math.max(0, (after == 0 ? 2_000 : after) - now.since(asked.at()));
            plan("next", rest / 2, rest > 0 ? rest - rest / 10 : 100);
            request();
        } else if ("ticket_expired".equals(problem) && ticket != null) {
            ticket = null;
            acquisition++;
            to("acquiring", problem, details);
            plan("next", 0, 100);
        } else if (problem != null && (CLOSED.contains(problem) || (options.queues() && FULL.contains(problem)))) {
            misses = 0;
            to("waiting", problem, details);
            long least = Math.min(Math.max(after, 500), CLOSED.contains(problem) ? 60_000 : 5_000);
            plan("next", least, least + least / 10);
        } else if ("unauthorized".equals(problem) && options.key().equals("function") && !wasRefused) {
            refused = true;
            ask();
        } else if ("invalid_request".equals(problem) && idleMs != null) {
            plain = true; // An older server knows nothing of it.
            ask();
        } else if (problem != null && !temporary && !problem.equals("ticket_expired")) {
            finish("denied", problem, details);
        } else if (!ours && !heard && !temporary) {
            finish("denied", "not_leasehold", details);
        } else if ("draining".equals(problem) && misses == 0) {
            atOnce();
        } else {
            if (name.equals("acquiring")) {
                to("acquiring", said(problem, status), details);
            }
            retry(after, status == 0);
        }
    }

    private void beatHeard(Flight beaten, Event event) {
        Map<String, Object> body = object(event.body());
        String problem = problemCode(event);
        if (event.status() == 200 && isLease(body.get("lease"))) {
            Map<String, Object> renewed = object(body.get("lease"));
            if (lease == null || renewed.get("id").equals(lease.get("id"))) {
                hold(beaten, body, renewed);
                return;
            }
        }
        if (problem != null && ENDS.contains(problem)) {
            lose(problem, details(event.status(), event.body(), true));
            return;
        }
        news |= beaten.news() && !"invalid_request".equals(problem);
        if ("draining".equals(problem) && misses == 0) {
            atOnce();
            return;
        }
        if ("invalid_request".equals(problem) && idleMs != null && lease != null) {
            lease = new LinkedHashMap<>(lease);
            lease.remove("active_at");
            news |= beaten.news();
            plan("next", 0, 100);
            return;
        }
        boolean ours = problem != null;
        miss(said(problem, event.status()), details(event.status(), event.body(), ours), retryAfter(event, ours), event.status() == 0);
    }

    private void beatResult(Flight beaten, Map<String, Object> result) {
        Object status = result.get("status");
        boolean isOurs = lease != null && (!result.containsKey("id") || lease.get("id").equals(result.get("id")));
        String ended = text(result.get("code"));
        if (isOurs && ("renewed".equals(status) || "resumed".equals(status)) && isLength(result.get("expires_in_ms"))) {
            Map<String, Object> renewed = new LinkedHashMap<>(lease);
            for (String name : List.of("expires_in_ms", "renew_after_ms", "outage_grace_ms", "active_at")) {
                if (result.containsKey(name)) {
                    renewed.put(name, result.get(name));
                }
            }
            Map<String, Object> body = new LinkedHashMap<>(result);
            body.put("resumed", status.equals("resumed"));
            hold(beaten, body, renewed);
        } else if (isOurs && "lost".equals(status) && ended != null && ENDS.contains(ended)) {
            lose(ended, details(0, result, true));
        } else if (isOurs && "invalid".equals(status)) {
            lose("invalid_token", Map.of());
        } else {
            news |= beaten.news();
            miss("not_leasehold", Map.of(), 0, false);
        }
    }

    private void yieldHeard(Event event) {
        String problem = problemCode(event);
        if (event.status() == 200 && Boolean.TRUE.equals(object(event.body()).get("yielded"))) {
            finish("released", "handed_over", Map.of());
        } else if (problem != null && ENDS.contains(problem)) {
            lose(problem, details(event.status(), event.body(), true));
        } else {
            fresh |= event.status() == 0;
            plan("next", 0, 100); // A heartbeat tells whether the seat is still there.
        }
    }

    private void endHeard(int status) {
        if (!isSettled(status) && ending.tries() < ending.most() && now.since(ending.at()) < END_MS - 500) {
            plan("next", 100, 400);
            return;
        }
        ending = null;
        if (again) {
            again = false;
            ask();
        }
    }

    private void hold(Flight answered, Map<String, Object> body, Map<String, Object> told) {
        lease = told;
        sent = answered.at();
        token = text(body.get("token")) != null ? text(body.get("token")) : token;
        proof = text(body.get("proof")) != null ? text(body.get("proof")) : proof;
        ticket = null;
        position = null;
        fresh = false;
        heard = true;
        TOLD.stream().filter(name -> body.get(name) != null).forEach(name -> out.tell.put(name, body.get(name)));
        Map<String, Object> near = isLength(object(body.get("ends")).get("in_ms")) ? object(body.get("ends")) : Map.of();
        if (!near.isEmpty() || !ends.isEmpty()) {
            out.tell.put("ending", near.isEmpty() ? null : near);
        }
        ends = near;
        plain = false;
        Map<String, Object> request = object(body.get("seat_requested"));
        Double within = isLength(request.get("answer_in_ms")) ? (Double) ((Number) request.get("answer_in_ms")).doubleValue() : null;
        // Once for each request: the time that is left grows only when another one comes.
        if (within != null && (asked == null || within > asked)) {
            out.tell.put("seat_requested", request);
        } else if (within == null && asked != null) {
            out.tell.put("seat_requested", null);
        }
        asked = within;
        long rest = left(now);
        if (rest <= 0) { // It took longer than the lease lasts.
            name = isAcquiring() ? "held" : name;
            look();
            retry(0, false);
            return;
        }
        misses = 0;
        to("held", null, Boolean.TRUE.equals(body.get("resumed")) ? Map.of("resumed", true) : Map.of());
        watch();
        long every = Math.max(100, Math.min(whole(told.get("renew_after_ms")), whole(told.get("expires_in_ms")) / 2));
        if (returned && isAway()) {
            plan("next", 0, 0);
        } else {
            plan("next", news ? 500 : every - every * 15 / 100, news ? 500 : every);
        }
        returned = false;
    }

    private void miss(String why, Map<String, Object> details, long after, boolean unheard) {
        switch (name) {
            case "held", "unstable" -> to("unstable", why, details);
            case "acquiring" -> to("acquiring", why, details);
            case "grace" -> code = why;
            default -> { }
        }
        retry(after, unheard);
    }

    private void lose(String why, Map<String, Object> details) {
        if (name.equals("acquiring") && options.reacquire() && !why.equals("lease_terminated")) {
            token = null; // It was remembered from an earlier life of the program.
            acquisition++;
            ask();
            return;
        }
        finish(why.equals("lease_released") ? "released" : "lost", why, details);
        if (options.reacquire() && (why.equals("lease_expired") || why.equals("invalid_token"))) {
            again = true;
            plan("next", 0, 2_000);
        }
        // Whoever took it back before anybody is there would undo what the pool is asked to do.
        dormant = options.reacquire() && isUnused(why, details.get("reason"));
    }

    private void end(String path, String why, int tries) {
        String last = why.equals("cancelled") ? null : token; // An adopted one is not this program's to give up.
        String place = ticket;
        if (lease == null && !again && !dormant && !isAcquiring()) {
            return;
        }
        if (ending != null) { // It was asked for again, and is no longer.
            again = false;
            to("released", why, Map.of());
            return;
        }
        if (flight != null && flight.kind().equals("ask")) {
            abandoned.put(flight.id(), ticket == null ? "ask" : "poll"); // If it brings a seat or a place, that goes back.
            flight = null;
        } else if (flight != null) {
            abort();
        }
        finish("released", why, Map.of());
        if (last != null) {
            ending = new Ending(path, Map.of("token", last), 0, tries, now);
            giveBack();
        } else if (place != null) {
            leaveQueue(place);
        }
    }

    private void leaveQueue(String place) {
        abandon("/v1/pools/" + segment(options.pool()) + "/queue/leave", Map.of("ticket", place), 1_000);
    }

    private void giveBack() {
        ending = new Ending(ending.path(), ending.body(), ending.tries() + 1, ending.most(), ending.at());
        long timeout = Math.max(100, Math.min(2_000, END_MS - now.since(ending.at())));
        send(ending.path(), ending.body(), timeout, "end", 0, ending.tries() > 1, false);
    }

    private static String segment(String name) {
        return URLEncoder.encode(name, StandardCharsets.UTF_8).replace("+", "%20").replace("*", "%2A").replace("%7E", "~");
    }

    private void ask() {
        Map<String, Object> body = new LinkedHashMap<>();
        if (ticket != null) {
            body.put("ticket", ticket);
            body.put("wait_ms", LONG_POLL_MS);
        } else {
            body.put("holder", options.holder());
            body.put("tenant", options.tenant());
            body.put("label", label);
            body.put("platform", options.platform());
            body.put("activities", activities == null || activities.isEmpty() ? null : activities);
            body.put("wait", options.queues() ? true : null);
        }
        body.values().removeIf(value -> value == null);
        news = false;
        String path = "/v1/pools/" + segment(options.pool()) + "/leases";
        boolean idle = ticket == null && !plain;
        send(path, body, REQUEST_MS + (ticket != null ? LONG_POLL_MS : 0), "ask", acquisition, fresh, idle);
    }

    private void beat() {
        long rest = left(now);
        Map<String, Object> body = new LinkedHashMap<>();
        body.put("token", token);
        if (news) {
            body.put("activities", activities);
            body.put("label", label);
            body.values().removeIf(value -> value == null);
        }
        if (lease != null && rest < 0 && lease.containsKey("outage_grace_ms")) {
            Long limit = grace();
            body.put("grace_used_ms", Math.min(-rest, limit == null ? MOST_MS : Math.min(limit, MOST_MS)));
        }
        boolean idle = lease != null && lease.containsKey("active_at");
        send("/v1/leases/renew", body, patience(), "renew", 0, fresh, idle);
        news = false;
    }

    /** Plans the next try: full jitter, and what the server asked for as far as the lease allows. */
    private void retry(long after, boolean unheard) {
        long rest = left(now);
        long limit = 60_000;
        long most = 8_000;
        if (lease != null && rest > 0) {
            limit = Math.max(100, rest / 2);
            most = Math.min(8_000, whole(lease.get("renew_after_ms")) / 2);
        } else if (lease != null) { // Whoever beats within a lease's length of the server's return keeps the seat.
            most = limit = Math.max(100, Math.min(30_000, whole(lease.get("expires_in_ms")) / 2));
        }
        long low = Math.max(100, Math.min(after, limit - limit / 10));
        long high = Math.max(low + low / 10, Math.min(most, 1_000L << Math.min(misses, 10)));
        misses++;
        fresh |= unheard;
        plan("next", low, Math.max(low, Math.min(high, limit)));
    }

    /** The node says good-bye: another one answers a new connection. */
    private void atOnce() {
        misses = 1;
        fresh = true;
        plan("next", 0, 0);
    }

    private void finish(String state, String why, Map<String, Object> details) {
        stop("next");
        stop("deadline");
        lease = null;
        token = ticket = proof = null;
        position = null;
        misses = 0;
        fresh = refused = again = dormant = returned = false;
        idleMs = null;
        asked = null;
        wishes = options.requests();
        canRequest = requested = false;
        ends = Map.of();
        to(state, why, details);
    }

    /** Brings the state up to the clock. */
    private void look() {
        String[] seen = seen(now);
        if (seen[0].equals(name)) {
            return;
        }
        to(seen[0], seen[1], Map.of());
        stop("deadline");
        if (name.equals("grace")) {
            watch();
        }
    }

    private void watch() {
        long rest = left(now);
        Long limit = grace();
        if (rest > 0) {
            plan("deadline", rest, rest);
        } else if (limit != null) {
            plan("deadline", rest + limit, rest + limit);
        }
    }

    private void to(String state, String why, Map<String, Object> details) {
        Double place = details.get("position") instanceof Number number ? (Double) number.doubleValue() : null;
        boolean isTold = !state.equals(name) || details.containsKey("resumed");
        isTold |= Set.of("acquiring", "waiting", "lost").contains(state) && !java.util.Objects.equals(why, code);
        isTold |= state.equals("waiting") && place != null && !place.equals(position);
        position = state.equals("waiting") && place == null ? position : place;
        name = state;
        code = why;
        if (isTold) {
            Map<String, Object> event = new LinkedHashMap<>();
            event.put("state", state);
            if (why != null) {
                event.put("code", why);
            }
            event.putAll(details);
            out.emit.add(event);
        }
    }

    private void send(
            String path, Map<String, Object> body, long timeout, String kind, int acquisition, boolean fresh, boolean idle) {
        out.send.add(new Request(++requests, path, body, timeout, acquisition, acquisition > 0 && refused, fresh, idle));
        stop("next");
        flight = new Flight(requests, kind, now, news, idle && kind.equals("renew"));
    }

    private void abandon(String path, Map<String, Object> body, long timeout) {
        out.send.add(new Request(++requests, path, body, timeout, 0, false, false, false));
        abandoned.put(requests, "end");
    }

    private void abort() {
        out.abort = flight.id();
        news |= flight.news();
        flight = null;
        fresh = true;
    }

    private void running(String timer, boolean runs) {
        if (timer.equals("deadline")) {
            deadline = runs;
        } else {
            next = runs;
        }
    }

    private void plan(String timer, long low, long high) {
        running(timer, true);
        out.timers.put(timer, new long[] {low, high});
    }

    private void stop(String timer) {
        if (timer.equals("deadline") ? deadline : next) {
            running(timer, false);
            out.timers.put(timer, null);
        }
    }
}
