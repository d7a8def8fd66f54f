package leasehold

import (
	"context"
	"maps"
	"sync"
	"time"

	"leasehold/internal/machine"
)

// Seat is a seat, from its grant to its end. A lost one is not used again: acquire another.
type Seat struct {
	// Pool and Holder are as it was asked for.
	Pool, Holder string

	client  *Client
	options Options
	seed    string

	// Guarded by the client's lock.
	state   *machine.State
	more    map[string]any
	fault   string
	told    string // The token that the program knows.
	timers  map[string]*planned
	calls   map[int]context.CancelFunc
	touched int64 // When the user did something last, if the program has said so.
	touches bool
	idleWas int64         // What the program's function returned last.
	faulty  sync.Once     // Says once that it panicked: heartbeats go on for days.
	changed chan struct{} // Closed and made anew at each step.
	idle    chan struct{} // Closed while nothing is under way.
	events  chan Event

	ctx    context.Context
	cancel context.CancelCauseFunc
}

type planned struct {
	at    int64
	timer *time.Timer
}

func newSeat(c *Client, pool string, o Options) *Seat {
	seat := &Seat{Pool: pool, Holder: o.Holder, client: c, options: o, seed: seed(), timers: map[string]*planned{}}
	seat.calls, seat.changed, seat.idle = map[int]context.CancelFunc{}, make(chan struct{}), make(chan struct{})
	close(seat.idle)
	seat.idleWas = -1
	seat.ctx, seat.cancel = context.WithCancelCause(context.Background())
	options := machine.Options{Pool: pool, Holder: o.Holder, Tenant: o.Tenant, Label: o.Label, Platform: o.Platform}
	options.Activities, options.Wait, options.Reacquire, options.Request, options.Key = o.Activities, o.Wait, o.Reacquire, o.Request, c.kind
	if o.MaxGrace != nil {
		ms := o.MaxGrace.Milliseconds()
		options.MaxGraceMS = &ms
	}
	seat.state = machine.Begin(options)
	return seat
}

// String keeps the token out of logs.
func (s *Seat) String() string { return "seat of " + s.Pool + ": " + s.State() }

// GoString does so, too.
func (s *Seat) GoString() string { return s.String() }

// Context is cancelled when work has to stop; its cause is an Error with the reason.
func (s *Seat) Context() context.Context { return s.ctx }

// State is idle, acquiring, waiting, held, unstable, grace, lost, denied or released, as of now.
func (s *Seat) State() string {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	name, _ := s.state.Seen(now())
	return name
}

// Sure reports whether nobody else can have the seat at this moment.
func (s *Seat) Sure() bool {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.state.Sure(now())
}

// Check returns an error if work has to stop. In grace it may go on.
func (s *Seat) Check() error {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	name, code := s.state.Seen(now())
	switch name {
	case "held", "unstable", "grace":
		return nil
	}
	if code == "" {
		code = name
	}
	return newError(code, s.more, true)
}

// Lease is the lease as the server told it last; empty without one.
func (s *Seat) Lease() map[string]any {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return maps.Clone(s.state.Lease)
}

// ID is the id of the lease. Not a secret.
func (s *Seat) ID() string {
	id, _ := s.Lease()["id"].(string)
	return id
}

// Fence grows with every grant in the pool, for resources that refuse older holders.
func (s *Seat) Fence() int64 {
	fence, _ := s.Lease()["fence"].(float64)
	return int64(fence)
}

// Proof is the signed proof of the lease, in a pool that has proofs.
func (s *Seat) Proof() string {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.state.Proof
}

// Token is the secret of the lease, to be kept by a backend that goes on after a restart.
func (s *Seat) Token() string {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.state.Token
}

// Report tells operators what the holder works on, with the next heartbeat.
func (s *Seat) Report(activities ...string) {
	s.feed(machine.Event{Kind: "report", Activities: &activities})
}

// Touch reports that the user did something just now. From the first call on, heartbeats report how long nobody did. It may be called
// often. Without it, and without Options.Idle, the seat counts as used.
func (s *Seat) Touch() {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	s.touched, s.touches = monotonic(), true
	if s.state.Heeds() {
		s.step(machine.Event{Kind: "active"})
	}
}

// Request asks those who have a seat for theirs, while this one waits.
func (s *Seat) Request() { s.feed(machine.Event{Kind: "request"}) }

// HandOver gives the seat to whoever asked for one first, and reports whether it did. If nobody asks any more, the seat stays.
func (s *Seat) HandOver() bool {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	s.step(machine.Event{Kind: "yield"})
	for s.state.Yields() {
		changed := s.changed
		s.client.mu.Unlock()
		<-changed
		s.client.mu.Lock()
	}
	return s.state.Name() == "released" && s.state.Code() == "handed_over"
}

// asked is what the program's own function returns, in milliseconds; less than 0 if that is not known. It is not right if it panicked.
func (s *Seat) asked() (ms int64, right bool) {
	defer func() {
		if fault := recover(); fault != nil {
			s.faulty.Do(func() {
				s.client.log.Error("the function for the idle time of a seat panicked; its heartbeats go on, and the seat counts as used", "fault", fault)
			})
			ms, right = -1, false
		}
	}()
	if s.options.Idle == nil {
		return -1, true
	}
	return min(s.options.Idle(), mostIdle).Milliseconds(), true
}

// idleMS is how long nobody has used the seat, nil if that is not known. The lock is not held: the function is the program's.
func (s *Seat) idleMS() *int64 {
	ms, right := s.asked()
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	s.idleWas = ms
	if !right {
		return nil
	}
	if untouched := min(max(0, monotonic()-s.touched), mostIdle.Milliseconds()); s.touches && (ms < 0 || untouched < ms) {
		ms = untouched
	}
	if ms < 0 {
		return nil
	}
	return &ms
}

// poll notices that the user is back, where only the program's function knows.
func (s *Seat) poll() {
	ms, _ := s.asked()
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	was := s.idleWas
	s.idleWas = ms
	if ms >= 0 && ms < was {
		s.step(machine.Event{Kind: "active"})
	}
}

// Release gives the seat back. It takes three seconds at most, and may be called at any time.
func (s *Seat) Release() { s.end("release") }

// Leave goes away, as a page does: the seat is kept for the pool's linger_ms.
func (s *Seat) Leave() { s.end("close") }

func (s *Seat) end(how string) {
	s.feed(machine.Event{Kind: how})
	select {
	case <-s.quiet():
	case <-time.After(endTime):
	}
}

func (s *Seat) quiet() <-chan struct{} {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.idle
}

func (s *Seat) feed(event machine.Event) {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	s.step(event)
}

// step takes one step and carries out what follows. The client's lock is held.
func (s *Seat) step(event machine.Event) {
	c := s.client
	var out machine.Output
	s.state, out = machine.Step(s.state, event, now())
	if cancel := s.calls[out.Abort]; cancel != nil {
		cancel()
	}
	for name, span := range out.Timers {
		s.plan(name, span)
	}
	for _, request := range out.Send {
		s.begin()
		if c.batched && request.Path == "/v1/leases/renew" && len(request.Body) == 1 {
			c.batch = append(c.batch, outgoing{s, request})
		} else {
			c.send([]outgoing{{s, request}})
		}
	}
	if len(out.Timers) > 0 {
		s.begin()
	}
	for _, told := range out.Emit {
		s.tell(told)
	}
	if token := s.state.Token; token != "" && token != s.told {
		if s.told != "" && s.options.onToken != nil { // The first one is for whoever acquires or adopts.
			s.deliver(Event{Seat: s, token: token})
		}
		s.told = token
	}
	if out.Tell != nil {
		event := Event{Seat: s, State: s.state.Name(), More: out.Tell}
		if ends, is := out.Tell["ending"].(map[string]any); is {
			ms, _ := ends["in_ms"].(float64)
			event.Ending = &Ending{In: time.Duration(ms) * time.Millisecond}
			event.Ending.Reason, _ = ends["reason"].(string)
			event.Ending.Then, _ = ends["then"].(string)
		} else if _, is := out.Tell["ending"]; is {
			event.EndingOver = true
		}
		if request, is := out.Tell["seat_requested"].(map[string]any); is {
			requests, _ := request["requests"].(float64)
			ms, _ := request["answer_in_ms"].(float64)
			event.SeatRequested = &SeatRequest{Requests: int(requests), Within: time.Duration(ms) * time.Millisecond}
		} else if _, is := out.Tell["seat_requested"]; is {
			event.SeatRequestOver = true
		}
		s.deliver(event)
	}
	if out.Done {
		delete(c.busy, s)
		close(s.idle)
		if s.events != nil {
			close(s.events)
			s.events = nil
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Seat) begin() {
	if _, is := s.client.busy[s]; is {
		return
	}
	s.client.busy[s] = struct{}{}
	s.idle = make(chan struct{})
	if !s.client.ticking {
		s.client.ticking = true
		go s.client.turn()
	}
}

func (s *Seat) plan(name string, span *[2]int64) {
	if old := s.timers[name]; old != nil {
		old.timer.Stop()
		delete(s.timers, name)
	}
	if span == nil {
		return
	}
	after := spread(*span)
	one := &planned{at: monotonic() + after.Milliseconds()}
	s.timers[name] = one
	one.timer = time.AfterFunc(after, func() {
		s.client.mu.Lock()
		defer s.client.mu.Unlock()
		if s.timers[name] == one {
			delete(s.timers, name)
			s.client.fire(s, name)
		}
	})
}

func (s *Seat) tell(told map[string]any) {
	event := Event{Seat: s, State: told["state"].(string), More: told}
	event.Code, _ = told["code"].(string)
	event.Resumed, _ = told["resumed"].(bool)
	s.more = told
	switch event.State {
	case "lost", "released":
		s.cancel(newError(event.Code, told, true))
	}
	s.deliver(event)
}

// deliver hands an event to the program, on a goroutine of its own: it may panic, and take as long as it likes.
func (s *Seat) deliver(event Event) {
	if s.options.OnEvent == nil && !event.poll {
		return
	}
	if s.events == nil {
		s.events = make(chan Event, 64)
		go s.listen(s.events)
	}
	select {
	case s.events <- event:
	default: // Sixty-four events behind: the program looks at the state instead.
	}
}

func (s *Seat) listen(events <-chan Event) {
	for event := range events {
		func() {
			defer func() {
				if fault := recover(); fault != nil {
					s.client.log.Error("a listener of a seat panicked; its heartbeats go on", "fault", fault)
				}
			}()
			switch {
			case event.token != "":
				s.options.onToken(event.token)
			case event.poll:
				s.poll()
			default:
				s.options.OnEvent(event)
			}
		}()
	}
}
