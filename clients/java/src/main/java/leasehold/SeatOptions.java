package leasehold;

import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** Who asks for a seat, and how. Each method gives back a changed copy. */
public record SeatOptions(
        String holder, String tenant, String label, String platform, List<String> activities, boolean queues, boolean reacquires,
        boolean requests, Duration maxGrace, Consumer<SeatEvent> onEvent, Supplier<Duration> idle) {

    /** An anonymous holder that does not queue. */
    public static SeatOptions anonymous() {
        return new SeatOptions(null, null, null, null, null, false, false, false, null, null, null);
    }

    /** An agent, a device, an instance. */
    public static SeatOptions holder(String holder) {
        return new SeatOptions(holder, null, null, null, null, false, false, false, null, null, null);
    }

    /** The sub-account that the holder belongs to. */
    public SeatOptions tenant(String tenant) {
        return new SeatOptions(holder, tenant, label, platform, activities, queues, reacquires, requests, maxGrace, onEvent, idle);
    }

    /** What operators read next to the holder. */
    public SeatOptions label(String label) {
        return new SeatOptions(holder, tenant, label, platform, activities, queues, reacquires, requests, maxGrace, onEvent, idle);
    }

    /** What the holder runs on. */
    public SeatOptions platform(String platform) {
        return new SeatOptions(holder, tenant, label, platform, activities, queues, reacquires, requests, maxGrace, onEvent, idle);
    }

    /** What the holder works on. */
    public SeatOptions activities(List<String> activities) {
        return new SeatOptions(holder, tenant, label, platform, List.copyOf(activities), queues, reacquires, requests, maxGrace, onEvent, idle);
    }

    /** Queues when all seats are in use. */
    public SeatOptions queue() {
        return new SeatOptions(holder, tenant, label, platform, activities, true, reacquires, requests, maxGrace, onEvent, idle);
    }

    /** While it waits, asks those who have a seat for theirs, where the pool allows that. */
    public SeatOptions request() {
        return new SeatOptions(holder, tenant, label, platform, activities, queues, reacquires, true, maxGrace, onEvent, idle);
    }

    /** Asks once more when the seat has expired. */
    public SeatOptions reacquire() {
        return new SeatOptions(holder, tenant, label, platform, activities, queues, true, requests, maxGrace, onEvent, idle);
    }

    /** Stops sooner in an outage than the server allows. */
    public SeatOptions maxGrace(Duration maxGrace) {
        return new SeatOptions(holder, tenant, label, platform, activities, queues, reacquires, requests, maxGrace, onEvent, idle);
    }

    /** Called for each change, in order, on a thread of its own. */
    public SeatOptions onEvent(Consumer<SeatEvent> onEvent) {
        return new SeatOptions(holder, tenant, label, platform, activities, queues, reacquires, requests, maxGrace, onEvent, idle);
    }

    /**
     * Supplies how long the user has done nothing, or null if that is not known. It is asked with heartbeats and has to be quick. See
     * {@link Seat#touch()}.
     */
    public SeatOptions idle(Supplier<Duration> idle) {
        return new SeatOptions(holder, tenant, label, platform, activities, queues, reacquires, requests, maxGrace, onEvent, idle);
    }
}
