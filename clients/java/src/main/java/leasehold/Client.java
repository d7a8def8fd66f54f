package leasehold;

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;
import javax.net.ssl.SSLContext;

/**
 * Speaks to one server. One for a whole program is enough; it may be used by all threads, and none of its own keeps a program from
 * ending. When the program ends its seats are released, within three seconds.
 */
public final class Client implements AutoCloseable {
    private static final String USER_AGENT = "leasehold-java/0.1.0 (spec 2)";
    private static final System.Logger LOG = System.getLogger("leasehold");
    private static final long TICK_MS = 1_000;
    private static final long END_MS = 3_000;
    private static final long HAND_OVER_MS = 10_000;
    private static final int MANY = 20;
    private static final int BATCH = 500;

    final String kind;
    private final String base;
    private final Function<Boolean, String> key;
    private final Supplier<HttpClient> https;
    private final ScheduledThreadPoolExecutor timers;
    private final ExecutorService events;
    private final Thread atExit = new Thread(() -> releaseAll(true), "leasehold exit");
    private final Set<Seat> busy = new HashSet<>();
    private HttpClient http;
    private List<Outgoing> batch;
    private Machine.Now last = now();

    private record Outgoing(Seat seat, Machine.Request request) {}

    /** Work that is done in a seat. Its thread is interrupted when the seat is lost. */
    @FunctionalInterface
    public interface Work {
        /** Works. */
        void run(Seat seat) throws Exception;
    }

    private Client(String address, String kind, Function<Boolean, String> key, SSLContext tls) {
        URI uri = URI.create(address);
        if (uri.getScheme() == null || !Set.of("http", "https").contains(uri.getScheme()) || uri.getHost() == null) {
            throw new IllegalArgumentException("the address of a server begins with http:// or https://, not " + address);
        }
        if (uri.getRawUserInfo() != null || uri.getRawQuery() != null || uri.getRawFragment() != null) {
            throw new IllegalArgumentException("the address of a server has no user, no query and no fragment");
        }
        this.base = address.replaceAll("/+$", "");
        this.kind = kind;
        this.key = key;
        this.https = () -> {
            HttpClient.Builder builder = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1);
            return (tls == null ? builder : builder.sslContext(tls)).followRedirects(HttpClient.Redirect.NEVER).build();
        };
        this.http = https.get();
        this.timers = new ScheduledThreadPoolExecutor(1, work -> daemon(work, "leasehold"));
        this.timers.setRemoveOnCancelPolicy(true);
        this.events = Executors.newSingleThreadExecutor(work -> daemon(work, "leasehold events"));
        this.timers.scheduleWithFixedDelay(guarded(this::tick), TICK_MS, TICK_MS, TimeUnit.MILLISECONDS);
        Runtime.getRuntime().addShutdownHook(atExit);
    }

    /** A client without a key, for a server in open mode. */
    public static Client of(String address) {
        return new Client(address, "none", null, null);
    }

    /** A client with a client key. */
    public static Client of(String address, String key) {
        return new Client(address, "fixed", refused -> key, null);
    }

    /** A client with a function that returns the key, called with true after one was refused; tls may be null. */
    public static Client of(String address, Function<Boolean, String> key, SSLContext tls) {
        return new Client(address, key == null ? "none" : "function", key, tls);
    }

    @Override
    public String toString() {
        return "client of " + base;
    }

    /** Takes a seat. The limit of time bounds this call, never the seat; null is none. Whoever is interrupted has no seat. */
    public Seat acquire(String pool, SeatOptions options, Duration timeout) throws SeatException, InterruptedException {
        return start(pool, options, timeout, Machine.Event.of("acquire"));
    }

    /** Takes a seat within 30 seconds, or whenever one is free if the options queue. */
    public Seat acquire(String pool, SeatOptions options) throws SeatException, InterruptedException {
        return acquire(pool, options, options.queues() ? null : Duration.ofSeconds(30));
    }

    /** Goes on with a seat whose token was kept, within 30 seconds. */
    public Seat adopt(String pool, String token, SeatOptions options) throws SeatException, InterruptedException {
        return adopt(pool, token, options, Duration.ofSeconds(30));
    }

    /** The same, within another time. */
    public Seat adopt(String pool, String token, SeatOptions options, Duration timeout) throws SeatException, InterruptedException {
        return start(pool, options, timeout, Machine.Event.adopt(token));
    }

    /** Takes a seat, works in it, and gives it back. A loss interrupts the work, and is thrown also if the work did not notice. */
    public void hold(String pool, SeatOptions options, Work work) throws Exception {
        Thread worker = Thread.currentThread();
        try (Seat seat = acquire(pool, options)) {
            Object gate = new Object();
            boolean[] over = {false};
            seat.lost.thenAccept(lost -> {
                synchronized (gate) {
                    if (!over[0]) {
                        worker.interrupt();
                    }
                }
            });
            try {
                work.run(seat);
            } catch (InterruptedException interrupted) {
                if (!seat.lost.isDone()) {
                    throw interrupted;
                }
            } finally {
                synchronized (gate) {
                    over[0] = true;
                }
            }
            if (seat.lost.isDone()) {
                Thread.interrupted();
                throw seat.lost.join();
            }
        }
    }

    /** Releases all seats, within three seconds. */
    @Override
    public void close() {
        releaseAll(false);
        timers.shutdownNow();
        events.shutdown();
        try {
            Runtime.getRuntime().removeShutdownHook(atExit);
        } catch (IllegalStateException ending) {
            LOG.log(System.Logger.Level.DEBUG, "the program is ending");
        }
    }

    static String random() {
        byte[] bytes = new byte[16];
        new SecureRandom().nextBytes(bytes);
        return Base64.getUrlEncoder().withoutPadding().encodeToString(bytes);
    }

    static Machine.Now now() {
        return new Machine.Now(System.nanoTime() / 1_000_000, System.currentTimeMillis());
    }

    static Thread daemon(Runnable work, String name) {
        Thread thread = new Thread(work, name);
        thread.setDaemon(true);
        return thread;
    }

    /** A task of a scheduler that throws is never run again, and nobody hears of it. */
    private static Runnable guarded(Runnable work) {
        return () -> {
            try {
                work.run();
            } catch (RuntimeException bug) {
                LOG.log(System.Logger.Level.ERROR, "a Leasehold client met a bug, and goes on", bug);
            }
        };
    }

    /** At the end of the program those stay whose tokens are kept. */
    private void releaseAll(boolean exiting) {
        List<Seat> seats;
        synchronized (this) {
            seats = busy.stream().filter(seat -> !(exiting && seat.outlives)).toList();
            seats.forEach(seat -> step(seat, Machine.Event.of("release")));
        }
        until(() -> seats.stream().noneMatch(busy::contains), END_MS);
    }

    void end(Seat seat, String how) {
        feed(seat, Machine.Event.of(how));
        until(() -> !busy.contains(seat), END_MS);
    }

    boolean handOver(Seat seat) {
        feed(seat, Machine.Event.of("yield"));
        until(() -> !seat.machine.yields(), HAND_OVER_MS);
        synchronized (this) {
            return seat.machine.name().equals("released") && "handed_over".equals(seat.machine.code());
        }
    }

    /** Waits, also if the thread was interrupted: what gives a seat back must not be skipped. */
    private synchronized void until(Supplier<Boolean> reached, long ms) {
        long end = System.nanoTime() + ms * 1_000_000;
        boolean interrupted = false;
        while (!reached.get() && System.nanoTime() < end) {
            try {
                wait(20);
            } catch (InterruptedException again) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private Seat start(String pool, SeatOptions options, Duration timeout, Machine.Event event)
            throws SeatException, InterruptedException {
        if (pool == null || pool.isEmpty()) {
            throw new IllegalArgumentException("a seat is of a pool, which has a name");
        }
        Seat seat = new Seat(this, pool, options);
        long end = timeout == null ? Long.MAX_VALUE : System.nanoTime() / 1_000_000 + timeout.toMillis();
        synchronized (this) {
            try {
                step(seat, event);
                while (Set.of("acquiring", "waiting").contains(seat.machine.name()) && System.nanoTime() / 1_000_000 < end) {
                    wait(Math.max(1, Math.min(TICK_MS, end - System.nanoTime() / 1_000_000)));
                }
            } catch (InterruptedException interrupted) {
                giveUp(seat);
                throw interrupted;
            }
            Machine machine = seat.machine;
            if (machine.lease() != null && !machine.name().equals("lost")) {
                return seat;
            }
            boolean undecided = Set.of("acquiring", "waiting").contains(machine.name());
            String code = machine.code() != null ? machine.code() : undecided ? "timeout" : machine.name();
            Map<String, Object> details = code.equals("unreachable") ? Map.of("detail", seat.fault) : seat.details;
            giveUp(seat);
            throw new SeatException(code, details, machine.name().equals("lost"));
        }
    }

    private void giveUp(Seat seat) {
        step(seat, Machine.Event.of("cancel"));
        if (seat.machine.lease() != null) { // The grant came first.
            step(seat, Machine.Event.of("release"));
        }
    }

    /** Notices when time has jumped. */
    private synchronized void tick() {
        Machine.Now instant = now();
        long apart = (instant.wall() - instant.mono()) - (last.wall() - last.mono());
        boolean late = instant.mono() - last.mono() > TICK_MS + 2_000;
        last = instant;
        if (Math.abs(apart) > 1_000 || late) {
            List.copyOf(busy).forEach(seat -> step(seat, Machine.Event.of("wake")));
        }
        for (Seat seat : busy) {
            if (seat.options.idle() != null && seat.machine.isAway() && !seat.polls) {
                seat.polls = true;
                events(seat::poll);
            }
        }
    }

    synchronized void feed(Seat seat, Machine.Event event) {
        step(seat, event);
    }

    /** Takes one step, and carries out what follows. The lock of this client is held. */
    private void step(Seat seat, Machine.Event event) {
        Machine.Output out = new Machine.Output();
        String before = seat.machine.token();
        seat.machine = seat.machine.step(event, now(), out);
        String token = seat.machine.token();
        if (seat.keep != null && token != null && !token.equals(before)) {
            Consumer<String> keep = seat.keep;
            events(() -> keep.accept(token));
        }
        var aborted = seat.calls.remove(out.abort);
        if (aborted != null) {
            aborted.cancel(true);
        }
        out.timers.forEach((name, span) -> plan(seat, name, span));
        for (Machine.Request request : out.send) {
            busy.add(seat);
            Outgoing one = new Outgoing(seat, request);
            if (batch != null && request.path().equals("/v1/leases/renew") && request.body().size() == 1) {
                batch.add(one);
            } else {
                send(List.of(one));
            }
        }
        if (!out.timers.isEmpty()) {
            busy.add(seat);
        }
        out.emit.forEach(told -> tell(seat, told));
        if (!out.tell.isEmpty()) {
            deliver(seat, new SeatEvent(seat, seat.machine.name(), null, out.tell));
        }
        if (out.done) {
            busy.remove(seat);
        }
        notifyAll();
    }

    private void plan(Seat seat, String name, long[] span) {
        Seat.Planned old = seat.timers.remove(name);
        if (old != null) {
            old.timer().cancel(false);
        }
        if (span == null) {
            return;
        }
        long after = ThreadLocalRandom.current().nextLong(span[0], span[1] + 1);
        long at = now().mono() + after;
        seat.timers.put(name, new Seat.Planned(at, timers.schedule(guarded(() -> due(seat, name, at)), after, TimeUnit.MILLISECONDS)));
    }

    /** A timer of a seat is due. Beyond twenty seats those that are nearly due go along. */
    private synchronized void due(Seat seat, String name, long at) {
        Seat.Planned planned = seat.timers.get(name);
        if (planned == null || planned.at() != at) {
            return;
        }
        seat.timers.remove(name);
        boolean many = busy.stream().filter(one -> one.machine.lease() != null).count() > MANY;
        batch = many ? new ArrayList<>() : null;
        step(seat, Machine.Event.timer(name));
        if (many && !batch.isEmpty()) {
            long instant = now().mono();
            for (Seat other : List.copyOf(busy)) {
                Seat.Planned next = other.timers.get("next");
                if (next == null || other.machine.lease() == null) {
                    continue;
                }
                double every = ((Number) other.machine.lease().get("renew_after_ms")).doubleValue();
                if (next.at() - instant <= every * 0.15) {
                    next.timer().cancel(false);
                    other.timers.remove("next");
                    step(other, Machine.Event.timer("next"));
                }
            }
        }
        List<Outgoing> together = batch == null ? List.of() : batch;
        batch = null;
        for (int from = 0; from < together.size(); from += BATCH) {
            send(List.copyOf(together.subList(from, Math.min(together.size(), from + BATCH))));
        }
    }

    private void send(List<Outgoing> group) {
        Machine.Request first = group.get(0).request();
        if (group.stream().anyMatch(one -> one.request().fresh())) {
            http = https.get();
        }
        HttpClient through = http;
        long timeout = group.stream().mapToLong(one -> one.request().timeoutMs()).min().orElseThrow();
        CompletableFuture<HttpResponse<String>> call = new CompletableFuture<>();
        if (group.size() == 1) { // One seat of many that is released must not abort the heartbeats of all.
            group.get(0).seat().calls.put(first.id(), call);
        }
        // The function for keys is the program's own, and may block.
        Long[] idle = new Long[group.size()];
        Thread sender = daemon(() -> {
            try {
                Arrays.setAll(idle, i -> group.get(i).request().idle() ? group.get(i).seat().idleMs() : null);
                CompletableFuture<HttpResponse<String>> sent = through.sendAsync(request(group, idle), HttpResponse.BodyHandlers.ofString());
                call.whenComplete((answer, error) -> sent.cancel(true));
                sent.whenComplete((answer, error) -> {
                    if (error != null) {
                        call.completeExceptionally(error);
                    } else {
                        call.complete(answer);
                    }
                });
            } catch (RuntimeException error) {
                call.completeExceptionally(error);
            }
        }, "leasehold request");
        call.orTimeout(timeout, TimeUnit.MILLISECONDS).whenComplete((answer, error) -> heard(group, idle, answer, error));
        sender.start();
    }

    /** The body of a request, or of many, with the idle time that is reported. */
    private static Map<String, Object> body(List<Outgoing> group, Long[] idle) {
        List<Map<String, Object>> bodies = new ArrayList<>();
        for (int i = 0; i < idle.length; i++) {
            Map<String, Object> body = new HashMap<>(group.get(i).request().body());
            if (idle[i] != null) {
                body.put("idle_ms", idle[i]);
            }
            bodies.add(body);
        }
        boolean some = Arrays.stream(idle).anyMatch(ms -> ms != null);
        return idle.length == 1 ? bodies.get(0) : some ? Map.of("leases", bodies)
                : Map.of("tokens", bodies.stream().map(body -> body.get("token")).toList());
    }

    private HttpRequest request(List<Outgoing> group, Long[] idle) {
        Machine.Request first = group.get(0).request();
        String path = group.size() > 1 ? "/v1/leases/renew-many" : first.path();
        Map<String, Object> body = body(group, idle);
        HttpRequest.Builder builder = HttpRequest.newBuilder(URI.create(base + path))
                .header("content-type", "application/json")
                .header("accept", "application/json")
                .header("user-agent", USER_AGENT)
                .POST(HttpRequest.BodyPublishers.ofString(Json.write(body)));
        if (first.acquisition() > 0) {
            builder.header("idempotency-key", group.get(0).seat().seed + "-" + first.acquisition());
            String secret = key == null ? null : key.apply(first.refused());
            if (secret != null) {
                builder.header("authorization", "Bearer " + secret);
            }
        }
        return builder.build();
    }

    private synchronized void heard(List<Outgoing> group, Long[] idle, HttpResponse<String> answer, Throwable error) {
        List<Integer> ids = group.stream().map(one -> one.request().id()).toList();
        List<Machine.Event> heard;
        if (answer == null) {
            Throwable cause = error.getCause() == null ? error : error.getCause();
            String why = cause.getMessage() == null ? cause.getClass().getSimpleName() : cause.getMessage();
            group.forEach(one -> one.seat().fault = base + " did not answer: " + why);
            heard = ids.stream().map(Machine.Event::failed).toList();
        } else {
            Map<String, String> headers = new HashMap<>();
            answer.headers().map().forEach((name, values) -> headers.put(name.toLowerCase(Locale.ROOT), values.get(0)));
            Object body = null;
            try {
                body = Json.read(answer.body());
            } catch (IllegalArgumentException noJson) {
                LOG.log(System.Logger.Level.DEBUG, "an answer with status {0} is no JSON", answer.statusCode());
            }
            heard = group.size() > 1
                    ? Machine.spread(ids, answer.statusCode(), headers, body)
                    : List.of(Machine.Event.answer(ids.get(0), answer.statusCode(), headers, body));
        }
        for (int i = 0; i < group.size(); i++) {
            Seat seat = group.get(i).seat();
            seat.calls.remove(ids.get(i));
            step(seat, heard.get(i).of(idle[i]));
        }
    }

    private void tell(Seat seat, Map<String, Object> told) {
        String state = (String) told.get("state");
        String code = (String) told.get("code");
        seat.details = told;
        if (state.equals("lost") || state.equals("released")) {
            SeatException why = new SeatException(code, told, true);
            events(() -> seat.lost.complete(why));
        }
        deliver(seat, new SeatEvent(seat, state, code, told));
    }

    private void deliver(Seat seat, SeatEvent event) {
        if (seat.options.onEvent() != null) {
            events(() -> seat.options.onEvent().accept(event));
        }
    }

    /** What the program gave us runs on a thread of its own: it may throw, and take as long as it likes. */
    private void events(Runnable work) {
        if (!events.isShutdown()) {
            events.execute(guarded(work));
        }
    }
}
