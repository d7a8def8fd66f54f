package leasehold;

import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/** Why there is no seat, or no longer. {@link #code()} is the stable word for programs, the message a sentence for people. */
public final class SeatException extends Exception {
    private static final long serialVersionUID = 1;
    private static final Map<String, String> SENTENCES = Map.of(
            "unreachable", "The server did not answer.",
            "timeout", "No seat was granted in time.",
            "not_leasehold", "What answered is not a Leasehold server. Check the address, and what stands in front of it.",
            "outage_grace_over", "The server has not been heard for longer than work may go on without it.",
            "cancelled", "The request for a seat was withdrawn.",
            "closed", "The client was closed.",
            "lease_released", "The seat was given back.",
            "idle", "Nobody used the seat for a while, and it was given back.",
            "max_hold", "The seat was held for as long as its pool allows, and was given back.");

    private final String code;
    private final String detail;
    private final String reason;
    private final String requestId;
    private final int status;
    private final Long retryAfterMs;
    private final boolean lost;

    SeatException(String code, Map<String, Object> details, boolean lost) {
        super(detail(code, details) + " (" + code + ")");
        this.code = code;
        this.detail = detail(code, details);
        this.reason = (String) details.get("reason");
        this.requestId = (String) details.get("request_id");
        this.status = details.get("status") instanceof Number number ? number.intValue() : 0;
        this.retryAfterMs = details.get("retry_after_ms") instanceof Number number ? (Long) number.longValue() : null;
        this.lost = lost;
    }

    private static String detail(String code, Map<String, Object> details) {
        Object other = details.getOrDefault("title", code);
        String kind = code.equals("lease_evicted") ? String.valueOf(details.get("reason")) : code;
        return String.valueOf(details.getOrDefault("detail", SENTENCES.getOrDefault(kind, String.valueOf(other))));
    }

    /** The stable word: a code of the server, or `unreachable`, `timeout`, `not_leasehold`, `outage_grace_over`. */
    public String code() {
        return code;
    }

    /** A sentence for people. */
    public String detail() {
        return detail;
    }

    /** What an operator wrote. */
    public Optional<String> reason() {
        return Optional.ofNullable(reason);
    }

    /** The HTTP status of the answer, 0 without one. */
    public int status() {
        return status;
    }

    /** When to ask again. */
    public Optional<Duration> retryAfter() {
        return Optional.ofNullable(retryAfterMs).map(Duration::ofMillis);
    }

    /** Names the request in the log of the server. */
    public Optional<String> requestId() {
        return Optional.ofNullable(requestId);
    }

    /** Whether a seat that was held is lost: work has to stop. */
    public boolean isLost() {
        return lost;
    }

    /** Whether the same request may do better later. */
    public boolean isTemporary() {
        return code.equals("unreachable") || code.equals("timeout") || status == 429 || status >= 500;
    }
}
