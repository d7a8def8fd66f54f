package leasehold;

import java.util.Map;

/**
 * A change of a seat.
 *
 * @param seat whose it is
 * @param state the new state
 * @param code why, or null
 * @param details what the server said: detail, reason, position, retry_after_ms and so on
 */
public record SeatEvent(Seat seat, String state, String code, Map<String, Object> details) {}
