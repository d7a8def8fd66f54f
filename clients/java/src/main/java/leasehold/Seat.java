package leasehold;

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

    /** A timer that runs. */
    record Planned(long at, Future<?> timer) {}

    Seat(Client client, String pool, SeatOptions o) {
        this.client = client;
        this.options = o;
        this.pool = pool;
        Long grace = o.maxGrace() == null ? null : (Long) o.maxGrace().toMillis();
        machine = new Machine(new Machine.Options(
                pool, o.holder(), o.tenant(), o.label(), o.platform(), o.activities(), o.queues(), o.reacquires(), grace, client.kind));
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
