// Package machine has the rules of one seat, as a pure function: no clock, no random number, no socket. The vectors of
// clients/spec/machine turn time by hand; clients/spec/README.md says what the words mean.
package machine

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// GraceOver is the code of a loss that a later answer may undo.
const GraceOver = "outage_grace_over"

const (
	requestMS  = 8_000
	mostMS     = 31 * 24 * 3_600_000 // What a heartbeat may report as a length of time.
	longPollMS = 20_000
	endMS      = 3_000
)

// JSON is an object as it came.
type JSON = map[string]any

var (
	ends    = words("lease_expired lease_released lease_terminated lease_evicted invalid_token pool_not_found")
	closed  = words("maintenance recovering")
	full    = words("pool_full tenant_full queue_full")
	texts   = []string{"title", "detail", "reason", "blocked_until", "request_id"}
	numbers = []string{"retry_after_ms", "in_use", "capacity", "position", "eta_ms"}
	told    = []string{"notice"}
)

const awayMS = 60_000

func words(text string) map[string]bool {
	found := map[string]bool{}
	for _, word := range strings.Fields(text) {
		found[word] = true
	}
	return found
}

// Now is two clocks, in milliseconds. Either may stand still or jump; what counts is the one that went further.
type Now struct{ Mono, Wall int64 }

// Since is how long ago it was.
func (n Now) Since(then Now) int64 { return max(n.Mono-then.Mono, n.Wall-then.Wall) }

// Options are what a seat is asked with.
type Options struct {
	Pool, Holder, Tenant, Label, Platform string
	Activities                            []string
	Wait, Reacquire, Request              bool
	MaxGraceMS                            *int64
	Key                                   string // none, fixed, or function: one that can be asked for another key.
}

// Event is something that happened. Kind is its name in the specification.
type Event struct {
	Kind       string
	ID         int
	Status     int
	Headers    map[string]string // Names in small letters.
	Body       any
	Result     any
	Timer      string
	Token      string
	Activities *[]string
	Label      *string
	IdleMS     *int64 // What the request that is answered reported, if anything.
}

// Request is to be sent.
type Request struct {
	ID          int    `json:"id"`
	Path        string `json:"path"`
	Body        JSON   `json:"body"`
	TimeoutMS   int64  `json:"timeout_ms"`
	Acquisition int    `json:"acquisition,omitempty"`
	Refused     bool   `json:"refused,omitempty"`
	Fresh       bool   `json:"fresh,omitempty"`
	Idle        bool   `json:"idle,omitempty"` // It may report how long nobody did anything.
}

// Output is what there is to do.
type Output struct {
	Send   []Request            `json:"send,omitempty"`
	Abort  int                  `json:"abort,omitempty"`
	Timers map[string]*[2]int64 `json:"timers,omitempty"`
	Emit   []JSON               `json:"emit,omitempty"`
	Tell   JSON                 `json:"tell,omitempty"`
	Done   bool                 `json:"done,omitempty"`
}

type flight struct {
	id   int
	kind string
	at   Now
	news bool
	idle bool
}

type ending struct {
	path  string
	body  JSON
	tries int
	most  int
	at    Now
}

// State is everything that is known of one seat. It holds the token, so it is not to be shown.
type State struct {
	options               Options
	name, code            string
	position              float64
	Lease                 JSON
	Token, Proof          string
	ticket                string
	sent                  Now
	acquisition, requests int
	flight                *flight
	strays                map[int]string
	ending                *ending
	misses                int
	fresh, refused        bool
	heard, again          bool
	news                  bool
	dormant, returned     bool
	plain                 bool
	idleMS                *int64
	ends                  JSON
	label                 string
	activities            []string
	next, deadline        bool
	positionIsKnown       bool
	asked                 *float64 // How long the last request for the seat was open, at the last heartbeat.
	wishes, canRequest    bool
	requested             bool
	reported              bool
}

// Begin is a seat that nobody has asked for.
func Begin(options Options) *State {
	return &State{options: options, name: "idle", wishes: options.Request, label: options.Label, activities: options.Activities, strays: map[int]string{}}
}

// String keeps the token out of logs.
func (s *State) String() string { return "seat of " + s.options.Pool + ": " + s.name }

// GoString does so, too.
func (s *State) GoString() string { return s.String() }

func (s *State) left(now Now) int64 {
	if s.Lease == nil {
		return 0
	}
	return whole(s.Lease["expires_in_ms"]) - now.Since(s.sent)
}

// grace is how long work may go on after that; false is without limit.
func (s *State) grace() (int64, bool) {
	limit, limited := int64(0), false
	if s.Lease != nil && isLength(s.Lease["outage_grace_ms"]) {
		limit, limited = whole(s.Lease["outage_grace_ms"]), true
	}
	if own := s.options.MaxGraceMS; own != nil && (!limited || *own < limit) {
		limit, limited = *own, true
	}
	return limit, limited
}

// Seen is the state as the clock has it, also where no timer has fired yet.
func (s *State) Seen(now Now) (name, code string) {
	rest := s.left(now)
	if (s.name != "held" && s.name != "unstable" && s.name != "grace") || rest > 0 {
		return s.name, s.code
	}
	if limit, limited := s.grace(); limited && rest+limit <= 0 {
		return "lost", GraceOver
	}
	return "grace", s.code
}

// Sure reports whether nobody else can have the seat.
func (s *State) Sure(now Now) bool {
	name, _ := s.Seen(now)
	return name == "held" || name == "unstable"
}

// Name is the state that was told last.
func (s *State) Name() string { return s.name }

// Code says why it is so.
func (s *State) Code() string { return s.code }

func (s *State) busy() bool {
	return s.flight != nil || len(s.strays) > 0 || s.next || s.deadline || s.ending != nil || s.dormant
}

// Unused reports whether somebody who comes back may have another seat after an end like this.
func Unused(code string, reason any) bool {
	return code == "lease_evicted" && (reason == "idle" || reason == "max_hold")
}

// Away reports whether the next activity of the user makes a difference: to a seat that may end as idle, or to one that has ended so.
func (s *State) Away() bool {
	if s.Lease == nil || s.dormant {
		return s.dormant
	}
	if s.ends["reason"] == "idle" {
		return true
	}
	return isText(s.Lease["active_at"]) && s.idleMS != nil && *s.idleMS >= min(whole(s.Lease["renew_after_ms"]), awayMS)
}

// Heeds reports whether the machine is to hear of activity.
func (s *State) Heeds() bool { return s.flight != nil || s.Away() }

// Step is what follows from an event. The state that it was given stays as it was.
func Step(before *State, event Event, now Now) (*State, Output) {
	after := *before
	after.strays = maps.Clone(before.strays)
	if before.ending != nil {
		copied := *before.ending
		after.ending = &copied
	}
	d := &step{State: &after, now: now}
	d.take(event)
	if before.busy() && !after.busy() {
		d.out.Done = true
	}
	return &after, d.out
}

// Spread makes of the answer to a renew-many one event for each beat in it. A malformed one ends nobody.
func Spread(ids []int, status int, headers map[string]string, body any) []Event {
	object, _ := body.(JSON)
	results, _ := object["results"].([]any)
	events := make([]Event, len(ids))
	for i, id := range ids {
		if status == 200 && results != nil && len(results) == len(ids) {
			events[i] = Event{Kind: "result", ID: id, Result: results[i]}
			continue
		}
		// Words that end a lease stand in a result, and nowhere else.
		code, _ := object["code"].(string)
		kept := body
		if status == 200 || ends[code] {
			kept = nil
		}
		events[i] = Event{Kind: "answer", ID: id, Status: status, Headers: headers, Body: kept}
	}
	return events
}

func isLength(value any) bool {
	number, is := value.(float64)
	return is && number >= 0
}

func whole(value any) int64 {
	number, _ := value.(float64)
	return int64(number)
}

func isText(value any) bool {
	text, is := value.(string)
	return is && text != ""
}

func isLease(value any) bool {
	lease, is := value.(JSON)
	return is && isText(lease["id"]) && isLength(lease["expires_in_ms"]) && isLength(lease["renew_after_ms"])
}

// problemCode is the code of a problem document of Leasehold. The error page of a proxy has none.
func problemCode(event Event) string {
	media, _, _ := strings.Cut(event.Headers["content-type"], ";")
	body, is := event.Body.(JSON)
	if event.Status < 400 || !is || !strings.EqualFold(strings.TrimSpace(media), "application/problem+json") {
		return ""
	}
	code, _ := body["code"].(string)
	return code
}

func retryAfter(event Event, ours bool) int64 {
	if body, is := event.Body.(JSON); is && ours && isLength(body["retry_after_ms"]) {
		return whole(body["retry_after_ms"])
	}
	seconds, err := strconv.ParseUint(strings.TrimSpace(event.Headers["retry-after"]), 10, 30)
	if err != nil {
		return 0
	}
	return int64(seconds) * 1_000
}

// details are what an event tells of an answer. Never a token or a ticket.
func details(status int, value any, ours bool) JSON {
	body, is := value.(JSON)
	found := JSON{}
	if status > 0 && (!ours || !is || status >= 400) {
		found["status"] = status
	}
	if !ours || !is {
		return found
	}
	for _, name := range texts {
		if isText(body[name]) {
			found[name] = body[name]
		}
	}
	for _, name := range numbers {
		if isLength(body[name]) {
			found[name] = body[name]
		}
	}
	return found
}

type step struct {
	*State
	now Now
	out Output
}

func (d *step) take(event Event) {
	if event.Kind == "timer" {
		*d.timer(event.Timer) = false
	}
	if event.Kind != "forked" {
		d.look()
	}
	switch event.Kind {
	case "answer", "result", "failed":
		d.hear(event)
	case "acquire":
		d.acquire()
	case "adopt":
		if d.name == "idle" {
			d.Token = event.Token
			d.to("acquiring", "", nil)
			d.beat()
		}
	case "timer":
		d.fired(event.Timer)
	case "wake":
		d.wake()
	case "report":
		d.report(event)
	case "active":
		d.active()
	case "request":
		if d.isAcquiring() {
			d.wishes = true
			d.request()
		}
	case "yield":
		d.yield()
	case "release":
		d.end("/v1/leases/release", "lease_released", 3)
	case "close":
		d.end("/v1/leases/leave", "closed", 1)
	case "cancel":
		if d.isAcquiring() {
			d.end("/v1/leases/release", "cancelled", 3)
		}
	case "forked":
		d.forked()
	default:
		panic(fmt.Sprintf("no event is called %q", event.Kind))
	}
}

func (d *step) isAcquiring() bool { return d.name == "acquiring" || d.name == "waiting" }

func (d *step) acquire() {
	if d.isAcquiring() || d.Lease != nil {
		return
	}
	d.stop("next")
	d.misses, d.fresh, d.again, d.dormant, d.plain = 0, false, false, false, false
	d.acquisition++
	d.to("acquiring", "", nil)
	if d.ending == nil {
		d.ask()
		return
	}
	d.again = true // The seat that is being given back may be the one that it gets.
	if d.flight == nil {
		d.giveBack()
	}
}

func (d *step) fired(timer string) {
	switch {
	case timer == "deadline":
		if (d.name == "held" || d.name == "unstable" || d.name == "grace") && !d.deadline {
			d.watch()
		}
	case d.flight != nil:
	case d.ending != nil:
		d.giveBack()
	case d.Lease != nil || (d.Token != "" && d.name == "acquiring"):
		d.beat()
	case d.isAcquiring():
		d.ask()
	case d.name == "lost" && d.again:
		d.acquire()
	}
}

func (d *step) wake() {
	if d.ending != nil || (d.Lease == nil && !d.isAcquiring()) {
		return
	}
	if d.flight != nil {
		if d.now.Since(d.flight.at) <= 3_000 {
			return
		}
		d.abort() // The network that it hangs on may be gone.
	} else if d.Lease != nil && d.now.Since(d.sent) <= 1_000 {
		return
	}
	d.stop("next")
	if d.Token != "" {
		d.beat()
	} else {
		d.ask()
	}
}

func (d *step) report(event Event) {
	if event.Activities != nil {
		d.activities, d.reported = *event.Activities, true
	}
	if event.Label != nil {
		d.label = *event.Label
	}
	d.news = true
	if d.Lease != nil && d.flight == nil {
		d.wait(500, 500, "next")
	}
}

// active: the user is there, or back.
func (d *step) active() {
	switch {
	case d.dormant:
		d.acquire()
	case d.flight != nil:
		d.returned = d.flight.idle
	case d.name == "held" && d.Away(): // In an outage the tries have their own times.
		d.beat()
	}
}

// yield: the seat goes to whoever asked for one.
func (d *step) yield() {
	if d.Lease == nil || d.ending != nil || (d.flight != nil && d.flight.kind == "yield") {
		return
	}
	if d.flight != nil {
		d.abort()
	}
	d.send("/v1/leases/yield", JSON{"token": d.Token}, d.patience(), "yield", "", d.fresh)
}

// Yields reports whether the answer to a yield is awaited.
func (s *State) Yields() bool { return s.flight != nil && s.flight.kind == "yield" }

// request asks those who have a seat for one, once for each ticket.
func (d *step) request() {
	if d.wishes && d.canRequest && d.ticket != "" && !d.requested {
		d.requested = true
		d.send("/v1/pools/"+segment(d.options.Pool)+"/queue/request", JSON{"ticket": d.ticket}, 1_000, "", "request", false)
	}
}

// patience is how long to wait for an answer about the lease.
func (d *step) patience() int64 {
	if rest := d.left(d.now); rest > 0 {
		return max(250, min(requestMS, rest/2))
	}
	return requestMS
}

func isSettled(status int) bool {
	return status != 0 && status < 500 && status != 408 && status != 429
}

func (d *step) forked() {
	had := d.isAcquiring() || d.Lease != nil
	d.flight, d.ending, d.strays = nil, nil, map[int]string{}
	d.next, d.deadline, d.again, d.dormant = false, false, false, false
	if had {
		d.finish("lost", "forked", nil)
	}
}

func (d *step) hear(event Event) {
	if kind, is := d.strays[event.ID]; is {
		delete(d.strays, event.ID)
		body, _ := event.Body.(JSON)
		if kind == "request" {
			d.requested = isSettled(event.Status)
		} else if kind != "end" && isText(body["token"]) {
			d.send("/v1/leases/release", JSON{"token": body["token"]}, endMS, "", "end", false)
		} else if kind == "ask" && isText(body["ticket"]) {
			d.leaveQueue(body["ticket"])
		}
		return
	}
	flight := d.flight
	if flight == nil || flight.id != event.ID {
		return // It came too late, and a later one has been heard.
	}
	d.flight, d.idleMS = nil, event.IdleMS
	switch {
	case event.Kind == "result":
		d.beatResult(flight, event.Result)
	case flight.kind == "end":
		d.endHeard(event)
	case flight.kind == "yield":
		d.yieldHeard(event)
	case flight.kind == "renew":
		d.beatHeard(flight, event)
	default:
		d.askHeard(flight, event)
	}
}

func (d *step) askHeard(flight *flight, event Event) {
	body, _ := event.Body.(JSON)
	code, status := problemCode(event), event.Status
	granted := (status == 200 || status == 201) && isLease(body["lease"]) && isText(body["token"])
	queued := status == 202 && isText(body["ticket"])
	ours := granted || queued || code != ""
	after, more := retryAfter(event, ours), details(status, event.Body, ours)
	temporary := status == 0 || status == 408 || status == 429 || status >= 500
	refused := d.refused
	d.refused = false
	d.heard = d.heard || ours
	switch {
	case granted:
		d.hold(flight, body, body["lease"].(JSON))
	case queued:
		d.requested = d.requested && body["ticket"] == d.ticket
		d.ticket, d.misses = body["ticket"].(string), 0
		d.canRequest, _ = body["can_request"].(bool)
		d.to("waiting", "", more)
		if after == 0 {
			after = 2_000
		}
		if rest := max(0, after-d.now.Since(flight.at)); rest > 0 {
			d.wait(rest/2, rest-rest/10, "next")
		} else {
			d.wait(0, 100, "next")
		}
		d.request()
	case code == "ticket_expired" && d.ticket != "":
		d.ticket = ""
		d.acquisition++
		d.to("acquiring", code, more)
		d.wait(0, 100, "next")
	case closed[code] || (d.options.Wait && full[code]):
		d.misses = 0
		d.to("waiting", code, more)
		most := int64(5_000)
		if closed[code] {
			most = 60_000
		}
		least := min(max(after, 500), most)
		d.wait(least, least+least/10, "next")
	case code == "unauthorized" && d.options.Key == "function" && !refused:
		d.refused = true
		d.ask()
	case code == "invalid_request" && d.idleMS != nil:
		d.plain = true // An older server knows nothing of it.
		d.ask()
	case code != "" && !temporary && code != "ticket_expired":
		d.finish("denied", code, more)
	case !ours && !d.heard && !temporary:
		d.finish("denied", "not_leasehold", more)
	case code == "draining" && d.misses == 0:
		d.atOnce()
	default:
		if d.name == "acquiring" {
			d.to("acquiring", said(code, status), more)
		}
		d.retry(after, status == 0)
	}
}

func said(code string, status int) string {
	switch {
	case code != "":
		return code
	case status != 0:
		return "not_leasehold"
	}
	return "unreachable"
}

func (d *step) beatHeard(flight *flight, event Event) {
	body, _ := event.Body.(JSON)
	code := problemCode(event)
	if event.Status == 200 && isLease(body["lease"]) {
		lease := body["lease"].(JSON)
		if d.Lease == nil || lease["id"] == d.Lease["id"] {
			d.hold(flight, body, lease)
			return
		}
	}
	if ends[code] {
		d.lose(code, details(event.Status, event.Body, true))
		return
	}
	d.news = d.news || (flight.news && code != "invalid_request")
	if code == "draining" && d.misses == 0 {
		d.atOnce()
		return
	}
	if code == "invalid_request" && d.idleMS != nil && d.Lease != nil {
		d.Lease = maps.Clone(d.Lease)
		delete(d.Lease, "active_at")
		d.news = d.news || flight.news
		d.wait(0, 100, "next")
		return
	}
	ours := code != ""
	d.miss(said(code, event.Status), details(event.Status, event.Body, ours), retryAfter(event, ours), event.Status == 0)
}

func (d *step) beatResult(flight *flight, value any) {
	result, _ := value.(JSON)
	status, _ := result["status"].(string)
	code, _ := result["code"].(string)
	if id, is := result["id"]; is && (d.Lease == nil || id != d.Lease["id"]) {
		status = "" // Somebody else's.
	}
	switch {
	case (status == "renewed" || status == "resumed") && d.Lease != nil && isLength(result["expires_in_ms"]):
		lease := maps.Clone(d.Lease)
		for _, name := range []string{"expires_in_ms", "renew_after_ms", "outage_grace_ms", "active_at"} {
			if value, is := result[name]; is {
				lease[name] = value
			}
		}
		body := maps.Clone(result)
		body["resumed"] = status == "resumed"
		d.hold(flight, body, lease)
	case status == "lost" && ends[code]:
		d.lose(code, details(0, result, true))
	case status == "invalid":
		d.lose("invalid_token", nil)
	default:
		d.news = d.news || flight.news
		d.miss("not_leasehold", nil, 0, false)
	}
}

func (d *step) yieldHeard(event Event) {
	body, _ := event.Body.(JSON)
	code := problemCode(event)
	switch {
	case event.Status == 200 && body["yielded"] == true:
		d.finish("released", "handed_over", nil)
	case ends[code]:
		d.lose(code, details(event.Status, event.Body, true))
	default:
		d.fresh = d.fresh || event.Status == 0
		d.wait(0, 100, "next") // A heartbeat tells whether the seat is still there.
	}
}

func (d *step) endHeard(event Event) {
	if !isSettled(event.Status) && d.ending.tries < d.ending.most && d.now.Since(d.ending.at) < endMS-500 {
		d.wait(100, 400, "next")
		return
	}
	d.ending = nil
	if d.again {
		d.again = false
		d.ask()
	}
}

func (d *step) hold(flight *flight, body, lease JSON) {
	resumed, _ := body["resumed"].(bool)
	d.Lease, d.sent = lease, flight.at
	if isText(body["token"]) {
		d.Token = body["token"].(string)
	}
	if isText(body["proof"]) {
		d.Proof = body["proof"].(string)
	}
	d.ticket, d.positionIsKnown = "", false
	d.fresh, d.heard = false, true
	tell := JSON{}
	for _, name := range told {
		if body[name] != nil {
			tell[name] = body[name]
		}
	}
	ends, _ := body["ends"].(JSON)
	if !isLength(ends["in_ms"]) {
		ends = nil
	}
	if ends != nil {
		tell["ending"] = ends
	} else if d.ends != nil {
		tell["ending"] = nil
	}
	d.ends, d.plain = ends, false
	request, _ := body["seat_requested"].(JSON)
	within, is := request["answer_in_ms"].(float64)
	// Once for each request: the time that is left grows only when another one comes.
	if is = is && within >= 0; is && (d.asked == nil || within > *d.asked) {
		tell["seat_requested"] = request
	} else if !is && d.asked != nil {
		tell["seat_requested"] = nil
	}
	if d.asked = nil; is {
		d.asked = &within
	}
	if len(tell) > 0 {
		d.out.Tell = tell
	}
	if d.left(d.now) <= 0 { // It took longer than the lease lasts.
		if d.isAcquiring() {
			d.name = "held"
		}
		d.look()
		d.retry(0, false)
		return
	}
	d.misses = 0
	more := JSON{}
	if resumed {
		more["resumed"] = true
	}
	d.to("held", "", more)
	d.watch()
	every := max(100, min(whole(lease["renew_after_ms"]), whole(lease["expires_in_ms"])/2))
	returned := d.returned && d.Away()
	d.returned = false
	switch {
	case returned:
		d.wait(0, 0, "next")
	case d.news:
		d.wait(500, 500, "next")
	default:
		d.wait(every-every*15/100, every, "next")
	}
}

func (d *step) miss(code string, more JSON, after int64, unheard bool) {
	switch d.name {
	case "held", "unstable":
		d.to("unstable", code, more)
	case "acquiring":
		d.to("acquiring", code, more)
	case "grace":
		d.code = code
	}
	d.retry(after, unheard)
}

func (d *step) lose(code string, more JSON) {
	if d.name == "acquiring" && d.options.Reacquire && code != "lease_terminated" {
		d.Token = "" // It was remembered from an earlier life of the program.
		d.acquisition++
		d.ask()
		return
	}
	if code == "lease_released" {
		d.finish("released", code, more)
	} else {
		d.finish("lost", code, more)
	}
	if d.options.Reacquire && (code == "lease_expired" || code == "invalid_token") {
		d.again = true
		d.wait(0, 2_000, "next")
	}
	// Whoever took it back before anybody is there would undo what the pool is asked to do.
	d.dormant = d.options.Reacquire && Unused(code, more["reason"])
}

func (d *step) end(path, code string, tries int) {
	token, ticket := d.Token, d.ticket
	if code == "cancelled" {
		token = "" // An adopted one is not this program's to give up.
	}
	if d.Lease == nil && !d.again && !d.dormant && !d.isAcquiring() {
		return
	}
	if d.ending != nil { // It was asked for again, and is no longer.
		d.again = false
		d.to("released", code, nil)
		return
	}
	if d.flight != nil && d.flight.kind == "ask" {
		d.strays[d.flight.id] = "ask" // If it brings a seat or a place, that goes back.
		if ticket != "" {
			d.strays[d.flight.id] = "poll"
		}
		d.flight = nil
	} else if d.flight != nil {
		d.abort()
	}
	d.finish("released", code, nil)
	if token != "" {
		d.ending = &ending{path, JSON{"token": token}, 0, tries, d.now}
		d.giveBack()
	} else if ticket != "" {
		d.leaveQueue(ticket)
	}
}

func (d *step) leaveQueue(ticket any) {
	d.send("/v1/pools/"+segment(d.options.Pool)+"/queue/leave", JSON{"ticket": ticket}, 1_000, "", "end", false)
}

func (d *step) giveBack() {
	d.ending.tries++
	rest := endMS - d.now.Since(d.ending.at)
	d.send(d.ending.path, d.ending.body, max(100, min(2_000, rest)), "end", "", d.ending.tries > 1)
}

func segment(name string) string { return strings.ReplaceAll(url.QueryEscape(name), "+", "%20") }

func (d *step) ask() {
	o, body := d.options, JSON{}
	for name, value := range map[string]string{"holder": o.Holder, "tenant": o.Tenant, "label": d.label, "platform": o.Platform} {
		if value != "" {
			body[name] = value
		}
	}
	if len(d.activities) > 0 {
		body["activities"] = d.activities
	}
	if o.Wait {
		body["wait"] = true
	}
	timeout := int64(requestMS)
	if d.ticket != "" {
		body, timeout = JSON{"ticket": d.ticket, "wait_ms": longPollMS}, timeout+longPollMS
	}
	d.news = false
	d.send("/v1/pools/"+segment(o.Pool)+"/leases", body, timeout, "ask", "", d.fresh)
	request := &d.out.Send[len(d.out.Send)-1]
	request.Acquisition, request.Refused, request.Idle = d.acquisition, d.refused, d.ticket == "" && !d.plain
}

func (d *step) beat() {
	rest, body := d.left(d.now), JSON{"token": d.Token}
	if d.news {
		if d.reported || d.activities != nil {
			body["activities"] = append([]string{}, d.activities...)
		}
		if d.label != "" {
			body["label"] = d.label
		}
	}
	if _, isTold := d.Lease["outage_grace_ms"]; isTold && rest < 0 {
		used := min(-rest, mostMS)
		if limit, limited := d.grace(); limited {
			used = min(used, limit)
		}
		body["grace_used_ms"] = used
	}
	d.send("/v1/leases/renew", body, d.patience(), "renew", "", d.fresh)
	_, d.flight.idle = d.Lease["active_at"]
	d.out.Send[len(d.out.Send)-1].Idle = d.flight.idle
	d.flight.news, d.news = d.news, false
}

// retry plans the next try: full jitter, and what the server asked for as far as the lease allows.
func (d *step) retry(after int64, unheard bool) {
	rest, limit, most := d.left(d.now), int64(60_000), int64(8_000)
	if d.Lease != nil && rest > 0 {
		limit = max(100, rest/2)
		most = min(8_000, whole(d.Lease["renew_after_ms"])/2)
	} else if d.Lease != nil { // Whoever beats within a lease's length of the server's return keeps the seat.
		limit = max(100, min(30_000, whole(d.Lease["expires_in_ms"])/2))
		most = limit
	}
	low := max(100, min(after, limit-limit/10))
	high := max(low+low/10, min(most, 1_000<<min(d.misses, 10)))
	d.misses++
	d.fresh = d.fresh || unheard
	d.wait(low, max(low, min(high, limit)), "next")
}

// atOnce: the node says good-bye, and another one answers a new connection.
func (d *step) atOnce() {
	d.misses, d.fresh = 1, true
	d.wait(0, 0, "next")
}

func (d *step) finish(name, code string, more JSON) {
	d.stop("next")
	d.stop("deadline")
	d.Lease, d.Token, d.ticket, d.Proof, d.positionIsKnown = nil, "", "", "", false
	d.misses, d.fresh, d.refused, d.again = 0, false, false, false
	d.dormant, d.returned, d.idleMS, d.ends = false, false, nil, nil
	d.asked, d.wishes, d.canRequest, d.requested = nil, d.options.Request, false, false
	d.to(name, code, more)
}

// look brings the state up to the clock.
func (d *step) look() {
	name, code := d.Seen(d.now)
	if name == d.name {
		return
	}
	d.to(name, code, nil)
	d.stop("deadline")
	if name == "grace" {
		d.watch()
	}
}

func (d *step) watch() {
	rest := d.left(d.now)
	if rest > 0 {
		d.wait(rest, rest, "deadline")
	} else if limit, limited := d.grace(); limited {
		d.wait(rest+limit, rest+limit, "deadline")
	}
}

func (d *step) to(name, code string, more JSON) {
	position, hasPosition := more["position"].(float64)
	isTold := name != d.name || more["resumed"] == true
	isTold = isTold || ((name == "acquiring" || name == "waiting" || name == "lost") && code != d.code)
	isTold = isTold || (name == "waiting" && hasPosition && (!d.positionIsKnown || position != d.position))
	if name != "waiting" || hasPosition {
		d.position, d.positionIsKnown = position, hasPosition
	}
	d.name, d.code = name, code
	if !isTold {
		return
	}
	event := JSON{"state": name}
	if code != "" {
		event["code"] = code
	}
	maps.Copy(event, more)
	d.out.Emit = append(d.out.Emit, event)
}

func (d *step) send(path string, body JSON, timeout int64, kind, stray string, fresh bool) {
	d.requests++
	d.out.Send = append(d.out.Send, Request{ID: d.requests, Path: path, Body: body, TimeoutMS: timeout, Fresh: fresh})
	if stray != "" {
		d.strays[d.requests] = stray
		return
	}
	d.stop("next")
	d.flight = &flight{id: d.requests, kind: kind, at: d.now}
}

func (d *step) abort() {
	d.out.Abort = d.flight.id
	d.news = d.news || d.flight.news
	d.flight, d.fresh = nil, true
}

func (d *step) timer(name string) *bool {
	if name == "deadline" {
		return &d.deadline
	}
	return &d.next
}

func (d *step) wait(low, high int64, timer string) {
	*d.timer(timer) = true
	d.set(timer, &[2]int64{low, high})
}

func (d *step) stop(timer string) {
	if *d.timer(timer) {
		*d.timer(timer) = false
		d.set(timer, nil)
	}
}

func (d *step) set(timer string, span *[2]int64) {
	if d.out.Timers == nil {
		d.out.Timers = map[string]*[2]int64{}
	}
	d.out.Timers[timer] = span
}

// Active reports whether the seat is held, for the count of those that beat together.
func (s *State) Active() bool { return s.Lease != nil }

// Decided reports whether an acquire has come to an end.
func (s *State) Decided() bool { return !slices.Contains([]string{"acquiring", "waiting"}, s.name) }
