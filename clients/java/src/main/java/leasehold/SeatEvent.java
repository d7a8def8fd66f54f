package leasehold;

import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/**
 * A change of a seat.
 *
 * @param seat whose it is
 * @param state the new state
 * @param code why, or null
 * @param details what the server said: detail, reason, position, retry_after_ms and so on
 */
public record SeatEvent(Seat seat, String state, String code, Map<String, Object> details) {
    /**
     * Says that a seat ends soon.
     *
     * @param in when
     * @param reason `idle`: any activity of its user ends the matter. `max_hold`: it was held for long, and nothing does
     * @param then `yield`: when somebody else needs a seat. `end`: in any case
     */
    public record Ending(Duration in, String reason, String then) {}

    /**
     * Says that somebody would like the seat: see {@link Seat#handOver()}.
     *
     * @param requests how many ask
     * @param within for how long they wait for an answer; none is an answer, too
     */
    public record Request(int requests, Duration within) {}

    /** Whether this event is about requests for the seat: there is another one, or none is open any more. */
    public boolean isRequest() {
        return details.containsKey("seat_requested");
    }

    /** The requests that are open; empty with {@link #isRequest()} when none is any more. */
    public Optional<Request> request() {
        if (!(details.get("seat_requested") instanceof Map<?, ?> request)) {
            return Optional.empty();
        }
        int requests = request.get("requests") instanceof Number number ? number.intValue() : 1;
        return Optional.of(new Request(requests, Duration.ofMillis(((Number) request.get("answer_in_ms")).longValue())));
    }

    /** Whether this event is about an end that is near, or no longer is. */
    public boolean isEnding() {
        return details.containsKey("ending");
    }

    /** The end that is near; empty with {@link #isEnding()} when that is no longer so. */
    public Optional<Ending> ending() {
        if (!(details.get("ending") instanceof Map<?, ?> ends)) {
            return Optional.empty();
        }
        long ms = ((Number) ends.get("in_ms")).longValue();
        return Optional.of(new Ending(Duration.ofMillis(ms), String.valueOf(ends.get("reason")), String.valueOf(ends.get("then"))));
    }
}
