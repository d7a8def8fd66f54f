package leasehold;

import java.time.Duration;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import java.util.function.Consumer;

/** A seat, from its grant to its end. Closing it gives it back. A lost one is not used again: acquire another. */
public final class Seat implements AutoCloseable {
    static final Set<String> WORKS = Set.of("held", "unstable", "grace");
    private static final System.Logger LOG = System.getLogger("leasehold");
    private static final long MOST_IDLE_MS = Duration.ofDays(31).toMillis();

    final Client client;
    final SeatOptions options;
    final String pool;
    final String seed = Client.random();
    final Map<String, Planned> timers = new HashMap<>();
    final Map<Integer, Future<?>> calls = new HashMap<>();
    final CompletableFuture<SeatException> lost = new CompletableFuture<>();
    Machine machine;
    Map<String, Object> details = Map.of();
    String fault = "";
    Consumer<String> keep;
    boolean polls;
    boolean outlives; // Its token is kept for the next start of the program.
    private Long touched;
    private Long idleWas;
    private volatile boolean idleFails;
    private volatile boolean idleSaid;

    /** A timer that runs. */
    record Planned(long at, Future<?> timer) {}

    Seat(Client client, String pool, SeatOptions o) {
        this.client = client;
        this.options = o;
        this.pool = pool;
        Long grace = o.maxGrace() == null ? null : (Long) o.maxGrace().toMillis();
        machine = new Machine(new Machine.Options(
                pool, o.holder(), o.tenant(), o.label(), o.platform(), o.activities(), o.queues(), o.reacquires(), o.requests(),
                grace, client.kind));
    }

    @Override
    public String toString() {
        return "seat of " + pool + ": " + state();
    }

    /** `idle`, `acquiring`, `waiting`, `held`, `unstable`, `grace`, `lost`, `denied` or `released`, as of now. */
    public String state() {
        synchronized (client) {
            return machine.seen(Client.now())[0];
        }
    }

    /** Whether nobody else can have the seat at this moment. */
    public boolean sure() {
        synchronized (client) {
            return machine.sure(Client.now());
        }
    }

    /** Throws if work has to stop. In `grace` it may go on. */
    public void check() throws SeatException {
        synchronized (client) {
            String[] seen = machine.seen(Client.now());
            if (!WORKS.contains(seen[0])) {
                throw new SeatException(seen[1] == null ? seen[0] : seen[1], details, true);
            }
        }
    }

    /** Completes when work has to stop, with the reason. */
    public CompletableFuture<SeatException> lost() {
        return lost.copy();
    }

    /** The lease as the server told it last; empty without one. */
    public Map<String, Object> lease() {
        synchronized (client) {
            return machine.lease() == null ? Map.of() : new LinkedHashMap<>(machine.lease());
        }
    }

    /** The id of the lease, not a secret; null without one. */
    public String id() {
        return (String) lease().get("id");
    }

    /** Grows with every grant in the pool, for resources that refuse older holders. */
    public long fence() {
        return lease().get("fence") instanceof Number fence ? fence.longValue() : 0;
    }

    /** The signed proof of the lease, in a pool that has proofs. */
    public Optional<String> proof() {
        synchronized (client) {
            return Optional.ofNullable(machine.proof());
        }
    }

    /** The secret of the lease, to be kept by a backend that goes on after a restart. */
    public Optional<String> token() {
        synchronized (client) {
            return Optional.ofNullable(machine.token());
        }
    }

    /** Tells operators what the holder works on, with the next heartbeat. */
    public void report(String... activities) {
        client.feed(this, Machine.Event.report(List.of(activities), null));
    }

    /**
     * Reports that the user did something just now. From the first call on, heartbeats report how long nobody did. It may be called often.
     * Without it, and without the option `idle`, the seat counts as used.
     */
    public void touch() {
        synchronized (client) {
            touched = Client.now().mono();
            if (machine.heeds()) {
                client.feed(this, Machine.Event.of("active"));
            }
        }
    }

    /** While it waits: asks those who have a seat whether one of them gives theirs away. */
    public void request() {
        client.feed(this, Machine.Event.of("request"));
    }

    /** Gives the seat to whoever asked for one first; whether it did. If nobody asks any more, the seat stays. */
    public boolean handOver() {
        return client.handOver(this);
    }

    /** What the program's own function returns, in milliseconds; null if that is not known. */
    private Long asked() {
        idleFails = false;
        try {
            Duration idle = options.idle() == null ? null : options.idle().get();
            return idle == null || idle.isNegative() ? null : (Long) Math.min(idle.toMillis(), MOST_IDLE_MS);
        } catch (RuntimeException | Error error) {
            idleFails = true;
            if (!idleSaid) { // Heartbeats go on for days, and a trace with each would fill a log.
                idleSaid = true;
                LOG.log(System.Logger.Level.ERROR,
                        "the function for the idle time of a seat failed; its heartbeats go on, and the seat counts as used", error);
            }
            return null;
        }
    }

    /** How long nobody has used the seat; null if that is not known. Called without the lock: the function is the program's. */
    Long idleMs() {
        Long asked = asked();
        synchronized (client) {
            idleWas = asked;
            if (idleFails) {
                return null;
            }
            Long untouched = touched == null ? null : (Long) Math.min(MOST_IDLE_MS, Math.max(0, Client.now().mono() - touched));
            return asked == null ? untouched : untouched == null ? asked : (Long) Math.min(asked, untouched);
        }
    }

    /** Notices that the user is back, where only the program's function knows. */
    void poll() {
        Long asked = asked();
        synchronized (client) {
            Long was = idleWas;
            idleWas = asked;
            polls = false;
            if (asked != null && was != null && asked < was) {
                client.feed(this, Machine.Event.of("active"));
            }
        }
    }

    /** Gives the seat back. Three seconds at most; may be called at any time; never throws. */
    public void release() {
        client.end(this, "release");
    }

    /** Goes away, as a page does: the seat is kept for the pool's linger_ms. */
    public void leave() {
        client.end(this, "close");
    }

    @Override
    public void close() {
        release();
    }
}
