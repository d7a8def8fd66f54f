package leasehold

import (
	"errors"
	"time"
)

// ErrLost is what errors.Is finds in every error that says that work has to stop.
var ErrLost = errors.New("the seat is lost")

// Error says why there is no seat. Code is the stable word for programs, Detail a sentence for people.
type Error struct {
	Code       string
	Status     int // Of the answer; 0 without one.
	Detail     string
	Reason     string // What an operator wrote.
	RetryAfter time.Duration
	RequestID  string

	lost bool
}

var sentences = map[string]string{
	"unreachable":       "The server did not answer.",
	"timeout":           "No seat was granted in time.",
	"not_leasehold":     "What answered is not a Leasehold server. Check the address, and what stands in front of it.",
	"outage_grace_over": "The server has not been heard for longer than work may go on without it.",
	"cancelled":         "The request for a seat was withdrawn.",
	"closed":            "The client was closed.",
	"lease_released":    "The seat was given back.",
	"idle":              "Nobody used the seat for a while, and it was given back.",
	"max_hold":          "The seat was held for as long as its pool allows, and was given back.",
}

func newError(code string, event map[string]any, lost bool) *Error {
	text := func(name string) string {
		value, _ := event[name].(string)
		return value
	}
	e := &Error{Code: code, Detail: text("detail"), Reason: text("reason"), RequestID: text("request_id"), lost: lost}
	e.Status, _ = event["status"].(int)
	if ms, is := event["retry_after_ms"].(float64); is {
		e.RetryAfter = time.Duration(ms) * time.Millisecond
	}
	kind := code
	if code == "lease_evicted" {
		kind = e.Reason
	}
	for _, other := range []string{sentences[kind], text("title"), code} {
		if e.Detail == "" {
			e.Detail = other
		}
	}
	return e
}

func (e *Error) Error() string { return e.Detail + " (" + e.Code + ")" }

// Is reports whether the seat was lost, for errors.Is(err, ErrLost).
func (e *Error) Is(target error) bool { return target == ErrLost && e.lost }

// IsTemporary reports whether the same request may do better later.
func (e *Error) IsTemporary() bool {
	return e.Code == "unreachable" || e.Code == "timeout" || e.Status == 429 || e.Status >= 500
}
