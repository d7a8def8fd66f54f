package leasehold;

import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.BiConsumer;

/**
 * One seat for each session of a product, for a web backend. It may be used by all threads. Beyond 20 seats the heartbeats go out
 * together, up to 500 in one request.
 */
public final class Gateway {
    private static final int AT_ONCE = 16;
    private static final Set<String> EXPIRED = Set.of("lease_expired", "invalid_token");

    private final Client client;
    private final String pool;
    private final Map<String, String> tokens;
    private final BiConsumer<String, SeatException> onLost;
    private final boolean keeps;
    private final Map<String, Seat> seats = new HashMap<>();
    private final Set<String> logins = new HashSet<>();

    /** A gateway whose seats are released when the program ends. */
    public Gateway(Client client, String pool) {
        this(client, pool, new HashMap<>(), null, false);
    }

    /**
     * A gateway that continues after a restart: its seats stay when the program ends, unless the client is closed.
     *
     * @param tokens where the secrets of the leases are kept, by session: any map, such as a table
     * @param onLost called when a session has lost its seat; may be null
     */
    public Gateway(Client client, String pool, Map<String, String> tokens, BiConsumer<String, SeatException> onLost) {
        this(client, pool, tokens, onLost, true);
    }

    private Gateway(Client client, String pool, Map<String, String> tokens, BiConsumer<String, SeatException> onLost, boolean keeps) {
        this.keeps = keeps;
        this.client = client;
        this.pool = pool;
        this.tokens = tokens;
        this.onLost = onLost;
    }

    /** How many sessions have a seat. */
    public synchronized int size() {
        return seats.size();
    }

    /**
     * Goes on with all seats whose tokens were kept, after a restart, and says how many there are. A token is forgotten if its lease has
     * ended, and stays if no server answered within the time: call this again then.
     */
    public int restore(Duration timeout) throws InterruptedException {
        Map<String, String> kept;
        synchronized (this) {
            kept = new HashMap<>(tokens);
            kept.keySet().removeAll(seats.keySet());
        }
        ExecutorService workers = Executors.newFixedThreadPool(AT_ONCE, work -> Client.daemon(work, "leasehold restore"));
        try {
            List<Future<?>> all = kept.entrySet().stream()
                    .<Future<?>>map(one -> workers.submit(() -> restore(one.getKey(), one.getValue(), timeout))).toList();
            for (Future<?> one : all) {
                one.get();
            }
        } catch (ExecutionException failed) {
            throw new IllegalStateException("a token could not be kept", failed.getCause());
        } finally {
            workers.shutdownNow();
        }
        return size();
    }

    /** A seat for this session, the one that it has or a new one. Requests of one session wait for each other. */
    public Seat login(String session, SeatOptions options) throws SeatException, InterruptedException {
        synchronized (this) {
            while (!logins.add(session)) {
                wait();
            }
        }
        try {
            return seatFor(session, options);
        } finally {
            synchronized (this) {
                logins.remove(session);
                notifyAll();
            }
        }
    }

    private Seat seatFor(String session, SeatOptions options) throws SeatException, InterruptedException {
        Seat old = seat(session);
        if (old != null && Seat.WORKS.contains(old.state())) {
            return old;
        }
        if (old != null) {
            old.release(); // It may still hope to come back.
        }
        return put(session, client.acquire(pool, listening(session, options)));
    }

    /** Throws if the session has no seat. For each request of a user. */
    public Seat check(String session) throws SeatException {
        Seat seat = seat(session);
        if (seat == null) {
            throw new SeatException("lease_released", Map.of(), true);
        }
        seat.check();
        return seat;
    }

    /** Says that the user of this session did something just now: see {@link Seat#touch()}. */
    public void touch(String session) {
        Seat seat = seat(session);
        if (seat != null) {
            seat.touch();
        }
    }

    /** Gives the seat of this session back. */
    public void logout(String session) {
        Seat seat;
        synchronized (this) {
            seat = seats.remove(session);
            tokens.remove(session);
        }
        if (seat != null) {
            seat.release();
        }
    }

    private synchronized Seat seat(String session) {
        return seats.get(session);
    }

    private Void restore(String session, String token, Duration timeout) throws InterruptedException {
        try {
            put(session, client.adopt(pool, token, listening(session, SeatOptions.anonymous()), timeout));
        } catch (SeatException error) {
            if (error.isLost() || error.code().equals("lease_released")) { // Else the server is away, and the seat may still be there.
                synchronized (this) {
                    tokens.remove(session);
                }
            }
        }
        return null;
    }

    private Seat put(String session, Seat seat) {
        synchronized (client) { // So that no new token comes in between.
            seat.keep = token -> keep(session, seat, token);
            seat.outlives = keeps;
            synchronized (this) {
                seats.put(session, seat);
            }
            seat.token().ifPresent(seat.keep);
        }
        return seat;
    }

    private synchronized void keep(String session, Seat seat, String token) {
        if (seats.get(session) == seat) {
            tokens.put(session, token);
        }
    }

    private SeatOptions listening(String session, SeatOptions options) {
        return options.onEvent(event -> {
            if (event.state().equals("lost") || event.state().equals("denied")) {
                lost(session, event, options.reacquires());
            }
            if (options.onEvent() != null) {
                options.onEvent().accept(event);
            }
        });
    }

    private void lost(String session, SeatEvent event, boolean reacquires) {
        boolean expired = EXPIRED.contains(event.code()) || Machine.isUnused(event.code(), event.details().get("reason"));
        boolean again = event.code().equals("outage_grace_over") || (reacquires && expired);
        synchronized (this) {
            if (seats.get(session) != event.seat()) {
                return; // An acquire that was denied, or a seat that is no longer this session's.
            }
            if (event.state().equals("denied") || !again) {
                seats.remove(session);
                tokens.remove(session);
            }
        }
        if (onLost != null) {
            onLost.accept(session, new SeatException(event.code(), event.details(), true));
        }
    }
}
