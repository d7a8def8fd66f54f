// Package leasehold holds seats of a Leasehold pool: it acquires them, keeps them and gives them back.
//
//	client, err := leasehold.New("https://seats.example", leasehold.WithKey("lh_client_…"))
//	defer client.Close()
//	err = client.Hold(ctx, "crm", leasehold.Options{Holder: "agent-7"}, func(ctx context.Context, seat *leasehold.Seat) error {
//		return work(ctx) // The context is cancelled when the seat is lost.
//	})
//
// What each state and event means: clients/spec/README.md.
package leasehold

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	random "math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"leasehold/internal/machine"
)

const (
	userAgent = "leasehold-go/0.1.0 (spec 2)"
	tick      = time.Second
	many      = 20
	batchSize = 500
	endTime   = 3 * time.Second
	mostBytes = 4 << 20
	mostIdle  = 31 * 24 * time.Hour
)

var began = time.Now()

func now() machine.Now { return machine.Now{Mono: monotonic(), Wall: time.Now().UnixMilli()} }

// Options say who asks, and how.
type Options struct {
	Holder, Tenant, Label, Platform string
	Activities                      []string
	Wait                            bool           // Queue when all seats are in use.
	Request                         bool           // While it waits, ask those who have a seat for theirs, where the pool allows that.
	Reacquire                       bool           // Ask once more when the seat has expired.
	MaxGrace                        *time.Duration // Stop sooner in an outage than the server allows.
	OnEvent                         func(Event)    // Called for each change, in order, on a goroutine of its own.

	// Idle returns how long the user has done nothing; less than 0 if that is not known. It has to be quick. See Seat.Touch.
	Idle func() time.Duration

	onToken func(token string)
}

// Event is a change of a seat. More has what the server said: detail, reason, position, retry_after_ms and so on.
type Event struct {
	Seat       *Seat
	State      string
	Code       string
	Resumed    bool
	Ending     *Ending // The seat ends soon. An event with EndingOver says that this is no longer so.
	EndingOver bool

	// Somebody would like the seat: see Seat.HandOver. Once for each request; an event with SeatRequestOver says that none is open any more.
	SeatRequested   *SeatRequest
	SeatRequestOver bool

	More map[string]any

	token string
	poll  bool
}

// Ending says that a seat ends soon: because it is idle, which any activity of its user ends, or because of max_hold, which nothing does.
type Ending struct {
	In     time.Duration
	Reason string
	Then   string // yield: when somebody else needs a seat. end: in any case.
}

// SeatRequest says how many would like the seat, and for how long they wait for an answer. None is an answer, too.
type SeatRequest struct {
	Requests int
	Within   time.Duration
}

// Client speaks to one server. One for a whole program is enough; it may be used by all goroutines.
type Client struct {
	base string
	key  func(ctx context.Context, refused bool) (string, error)
	kind string
	http *http.Client
	log  *slog.Logger

	mu      sync.Mutex
	busy    map[*Seat]struct{}
	ticking bool
	batch   []outgoing
	batched bool
}

// Option is an option of New.
type Option func(*Client)

// WithKey sets the client key.
func WithKey(key string) Option {
	return func(c *Client) {
		c.kind, c.key = "fixed", func(context.Context, bool) (string, error) { return key, nil }
	}
}

// WithKeyFunc sets a function that returns the client key. It is called with true after a key was refused.
func WithKeyFunc(key func(ctx context.Context, refused bool) (string, error)) Option {
	return func(c *Client) { c.kind, c.key = "function", key }
}

// WithTransport sets how connections are made, for example with certificates of one's own.
func WithTransport(transport *http.Transport) Option {
	return func(c *Client) { c.http.Transport = transport }
}

// WithLogger sets where faults of the program's own functions are written. No key and no token is.
func WithLogger(log *slog.Logger) Option { return func(c *Client) { c.log = log } }

// New makes a client for the server at an address such as https://seats.example.
func New(address string, options ...Option) (*Client, error) {
	parsed, err := url.Parse(address)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
		return nil, fmt.Errorf("the address of a server begins with http:// or https://, not %q", address)
	}
	if parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return nil, errors.New("the address of a server has no user, no query and no fragment")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.IdleConnTimeout = 30 * time.Second
	c := &Client{base: strings.TrimRight(address, "/"), kind: "none", log: slog.Default(), busy: map[*Seat]struct{}{}}
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, option := range options {
		option(c)
	}
	return c, nil
}

// String keeps the key out of logs.
func (c *Client) String() string { return "client of " + c.base }

// Acquire takes a seat. The context bounds the acquiring, and never the life of the seat: whoever stops waiting has none.
func (c *Client) Acquire(ctx context.Context, pool string, options Options) (*Seat, error) {
	return c.start(ctx, pool, options, machine.Event{Kind: "acquire"})
}

// Adopt goes on with a seat whose Token was kept.
func (c *Client) Adopt(ctx context.Context, pool, token string, options Options) (*Seat, error) {
	return c.start(ctx, pool, options, machine.Event{Kind: "adopt", Token: token})
}

// Hold takes a seat, works in it, and gives it back. The context of work is cancelled when the seat is lost; then Hold returns the
// loss, also if work has not noticed it.
func (c *Client) Hold(ctx context.Context, pool string, options Options, work func(ctx context.Context, seat *Seat) error) error {
	seat, err := c.Acquire(ctx, pool, options)
	if err != nil {
		return err
	}
	defer seat.Release()
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(seat.Context(), func() { cancel(context.Cause(seat.Context())) })()
	err = work(inner, seat)
	if lost := context.Cause(seat.Context()); lost != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return lost
	}
	return err
}

// Close releases all seats, within three seconds.
func (c *Client) Close() error {
	c.mu.Lock()
	var seats []*Seat
	for seat := range c.busy {
		seats = append(seats, seat)
	}
	c.mu.Unlock()
	timeout := time.After(endTime)
	for _, seat := range seats {
		seat.feed(machine.Event{Kind: "release"})
	}
	for _, seat := range seats {
		select {
		case <-seat.quiet():
		case <-timeout:
			return nil
		}
	}
	c.http.CloseIdleConnections()
	return nil
}

func (c *Client) start(ctx context.Context, pool string, options Options, event machine.Event) (*Seat, error) {
	if pool == "" {
		return nil, errors.New("a seat is of a pool, which has a name")
	}
	seat := newSeat(c, pool, options)
	seat.feed(event)
	for {
		c.mu.Lock()
		decided, changed := seat.state.Decided(), seat.changed
		c.mu.Unlock()
		if decided {
			break
		}
		select {
		case <-changed:
			continue
		case <-ctx.Done():
		}
		break
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if seat.state.Active() && seat.state.Name() != "lost" {
		return seat, nil
	}
	name, code := seat.state.Name(), seat.state.Code()
	if code == "" {
		code = name
		if !seat.state.Decided() {
			code = "timeout"
		}
	}
	more := seat.more
	if code == "unreachable" {
		more = map[string]any{"detail": seat.fault}
	}
	err := error(newError(code, more, name == "lost"))
	if !seat.state.Decided() {
		seat.step(machine.Event{Kind: "cancel"})
		err = errors.Join(context.Cause(ctx), err)
	}
	return nil, err
}

type outgoing struct {
	seat    *Seat
	request machine.Request
}

// turn fires what is due, and notices when time has jumped.
func (c *Client) turn() {
	last := now()
	for {
		time.Sleep(tick)
		instant := now()
		apart := (instant.Wall - instant.Mono) - (last.Wall - last.Mono)
		jumped := apart > 1_000 || apart < -1_000 || instant.Mono-last.Mono > tick.Milliseconds()+2_000
		last = instant
		c.mu.Lock()
		if len(c.busy) == 0 {
			c.ticking = false
			c.mu.Unlock()
			return
		}
		for seat := range c.busy {
			if jumped {
				seat.step(machine.Event{Kind: "wake"})
			}
			if seat.options.Idle != nil && seat.state.Away() {
				seat.deliver(Event{Seat: seat, poll: true})
			}
		}
		c.mu.Unlock()
	}
}

// fire is called when a timer of a seat is due. Beyond twenty seats those that are nearly due go along.
func (c *Client) fire(seat *Seat, timer string) {
	held := 0
	for other := range c.busy {
		if other.state.Active() {
			held++
		}
	}
	c.batched = held > many
	seat.step(machine.Event{Kind: "timer", Timer: timer})
	if len(c.batch) > 0 {
		instant := monotonic()
		for other := range c.busy {
			early, _ := other.state.Lease["renew_after_ms"].(float64)
			if due := other.timers["next"]; due != nil && other.state.Active() && due.at-instant <= int64(early*0.15) {
				due.timer.Stop()
				delete(other.timers, "next")
				other.step(machine.Event{Kind: "timer", Timer: "next"})
			}
		}
	}
	batch := c.batch
	c.batch, c.batched = nil, false
	for len(batch) > 0 {
		n := min(batchSize, len(batch))
		c.send(batch[:n:n])
		batch = batch[n:]
	}
}

func (c *Client) send(group []outgoing) {
	timeout := group[0].request.TimeoutMS
	fresh := false
	for _, one := range group {
		timeout = min(timeout, one.request.TimeoutMS)
		fresh = fresh || one.request.Fresh
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(timeout)*time.Millisecond)
	if len(group) == 1 { // One seat of many that is released must not abort the heartbeats of all.
		group[0].seat.calls[group[0].request.ID] = cancel
	}
	go func() {
		defer cancel()
		if fresh {
			c.http.CloseIdleConnections()
		}
		said := make([]*int64, len(group))
		for i, one := range group {
			if one.request.Idle {
				said[i] = one.seat.idleMS()
			}
		}
		event := c.post(ctx, group, said)
		c.mu.Lock()
		defer c.mu.Unlock()
		events := make([]machine.Event, len(group))
		ids := make([]int, len(group))
		for i, one := range group {
			delete(one.seat.calls, one.request.ID)
			ids[i], events[i] = one.request.ID, event
			events[i].ID = one.request.ID
		}
		if len(group) > 1 && event.Kind == "answer" {
			events = machine.Spread(ids, event.Status, event.Headers, event.Body)
		}
		for i, one := range group {
			events[i].IdleMS = said[i]
			one.seat.step(events[i])
		}
	}()
}

// body is that of a request, or of many, with the idle time that is reported.
func body(group []outgoing, said []*int64) machine.JSON {
	bodies, tokens, some := make([]machine.JSON, len(group)), make([]string, len(group)), false
	for i, one := range group {
		bodies[i] = maps.Clone(one.request.Body)
		if len(group) > 1 {
			tokens[i] = bodies[i]["token"].(string)
		}
		if said[i] != nil {
			bodies[i]["idle_ms"], some = *said[i], true
		}
	}
	switch {
	case len(group) == 1:
		return bodies[0]
	case some:
		return machine.JSON{"leases": bodies}
	}
	return machine.JSON{"tokens": tokens}
}

func (c *Client) post(ctx context.Context, group []outgoing, said []*int64) machine.Event {
	failed := machine.Event{Kind: "failed"}
	first := group[0].request
	path := first.Path
	if len(group) > 1 {
		path = "/v1/leases/renew-many"
	}
	data, err := json.Marshal(body(group, said))
	if err != nil {
		return failed
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(data))
	if err != nil {
		return failed
	}
	request.GetBody = nil // Nothing is sent twice without the machine.
	request.Header.Set("content-type", "application/json")
	request.Header.Set("accept", "application/json")
	request.Header.Set("user-agent", userAgent)
	if first.Acquisition > 0 {
		request.Header.Set("idempotency-key", fmt.Sprintf("%s-%d", group[0].seat.seed, first.Acquisition))
		if c.key != nil {
			key, err := c.key(ctx, first.Refused)
			if err != nil {
				c.log.Error("the function for the key of a Leasehold client failed", "error", err)
				return failed
			}
			request.Header.Set("authorization", "Bearer "+key)
		}
	}
	response, err := c.http.Do(request)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, one := range group {
			one.seat.fault = err.Error()
		}
		return failed
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostBytes))
	if err != nil {
		return failed
	}
	event := machine.Event{Kind: "answer", Status: response.StatusCode, Headers: map[string]string{}}
	for name := range response.Header {
		event.Headers[strings.ToLower(name)] = response.Header.Get(name)
	}
	if json.Unmarshal(text, &event.Body) != nil {
		event.Body = nil
	}
	return event
}

func spread(span [2]int64) time.Duration {
	return time.Duration(span[0]+random.Int64N(span[1]-span[0]+1)) * time.Millisecond
}

func seed() string {
	var bytes [16]byte
	rand.Read(bytes[:])
	return base64.RawURLEncoding.EncodeToString(bytes[:])
}
