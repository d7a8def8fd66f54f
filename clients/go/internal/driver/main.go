// Command driver is what the scenarios of clients/spec/wire drive: lines of JSON in, lines of JSON out.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"leasehold"
	"leasehold/verify"
)

type line struct {
	Do, As, Pool, Holder, Tenant, Label, Listener, Token, URL string
	Keys, Activities                                          []string
	Wait, Reacquire, Request                                  bool
	TimeoutMS                                                 int  `json:"timeout_ms"`
	MaxGraceMS                                                *int `json:"max_grace_ms"`
	Count, Times                                              int
	Proof, Issuer, Audience, Session                          string
	At                                                        float64
	Tokens                                                    map[string]string
	Idle                                                      any // Milliseconds, or "raise".
	MS                                                        int64
	Touch                                                     bool
}

type driver struct {
	mu       sync.Mutex
	client   *leasehold.Client
	seats    map[string]*leasehold.Seat
	cancels  map[string]context.CancelFunc
	url      string
	verifier *verify.Verifier
	gateway  *leasehold.Gateway
	tokens   map[string]string
	idles    map[string]any
}

var writing sync.Mutex

func say(said map[string]any) {
	data, _ := json.Marshal(said)
	writing.Lock()
	defer writing.Unlock()
	os.Stdout.Write(append(data, '\n'))
}

func main() {
	d := &driver{seats: map[string]*leasehold.Seat{}, cancels: map[string]context.CancelFunc{}, idles: map[string]any{}}
	defer func() {
		if d.client != nil {
			d.client.Close()
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	say(map[string]any{"ready": "go", "spec": 2, "can": []string{"cancel", "verify", "gateway"}})
	lines := make(chan line)
	go func() {
		defer close(lines)
		reader := bufio.NewScanner(os.Stdin)
		for reader.Scan() {
			var one line
			if json.Unmarshal(reader.Bytes(), &one) == nil {
				lines <- one
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case one, is := <-lines:
			if !is || one.Do == "quit" {
				return
			}
			if one.As == "" {
				one.As = "s"
			}
			d.do(one)
		}
	}
}

func (d *driver) do(l line) {
	switch l.Do {
	case "start":
		key := leasehold.WithKey(l.Keys[0])
		if len(l.Keys) > 1 {
			key = leasehold.WithKeyFunc(func(_ context.Context, refused bool) (string, error) {
				if refused {
					return l.Keys[1], nil
				}
				return l.Keys[0], nil
			})
		}
		client, err := leasehold.New(l.URL, key)
		if err != nil {
			panic(err)
		}
		d.client, d.url = client, l.URL
	case "acquire", "adopt", "hold":
		ctx, cancel := context.WithCancel(context.Background())
		if l.TimeoutMS > 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(l.TimeoutMS)*time.Millisecond)
		}
		d.cancels[l.As] = cancel
		go d.acquire(ctx, l)
	case "many":
		go d.many(l)
	case "cancel":
		d.cancels[l.As]()
	case "release", "close":
		go func() {
			began := time.Now()
			if l.Do == "release" {
				d.seat(l.As).Release()
			} else {
				d.seat(l.As).Leave()
			}
			say(map[string]any{"seat": l.As, "done": l.Do, "ms": time.Since(began).Milliseconds()})
		}()
	case "check":
		seat, code := d.seat(l.As), "ok"
		var failure *leasehold.Error
		if errors.As(seat.Check(), &failure) {
			code = failure.Code
		}
		say(map[string]any{"seat": l.As, "check": code, "state": seat.State(), "sure": seat.Sure()})
	case "report":
		d.seat(l.As).Report(l.Activities...)
	case "hand_over":
		go func() { say(map[string]any{"seat": l.As, "handed_over": d.seat(l.As).HandOver()}) }()
	case "touch":
		if l.Session != "" {
			d.gateway.Touch(l.Session)
		} else {
			d.seat(l.As).Touch()
		}
	case "idle":
		d.mu.Lock()
		d.idles[l.As] = float64(l.MS)
		d.mu.Unlock()
	case "verify":
		if d.verifier == nil {
			d.verifier = &verify.Verifier{Issuer: l.Issuer, Audience: l.Audience, URL: d.url}
		}
		go d.verify(l)
	case "gateway":
		d.tokens = l.Tokens
		d.gateway = &leasehold.Gateway{Client: d.client, Pool: l.Pool, Keep: func(session, token string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.tokens[session] = token
			if token == "" {
				delete(d.tokens, session)
			}
		}}
		go d.restore(l)
	case "restore":
		go d.restore(l)
	case "login":
		go func() {
			seat, err := d.gateway.Login(context.Background(), l.Session, leasehold.Options{Holder: l.Holder, Reacquire: l.Reacquire})
			if err == nil {
				say(map[string]any{"seat": l.As, "login": l.Session, "id": seat.ID()})
			}
		}()
	case "kept":
		say(map[string]any{"seat": l.As, "kept": d.kept()})
	case "raise":
		panic("an error of the program")
	}
}

func (d *driver) verify(l line) {
	verified := 0
	for range l.Times {
		if _, err := d.verifier.VerifyAt(context.Background(), l.Proof, time.UnixMilli(int64(l.At*1_000))); err == nil {
			verified++
		}
	}
	say(map[string]any{"seat": l.As, "verified": verified})
}

func (d *driver) restore(l line) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(l.TimeoutMS)*time.Millisecond)
	defer cancel()
	d.mu.Lock()
	tokens := maps.Clone(d.tokens)
	d.mu.Unlock()
	restored := d.gateway.Restore(ctx, tokens)
	say(map[string]any{"seat": l.As, "restored": restored, "kept": d.kept()})
}

// kept is what is kept, without what marks secrets.
func (d *driver) kept() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := map[string]string{}
	for session, token := range d.tokens {
		kept[session] = strings.TrimPrefix(token, "SECRET-")
	}
	return kept
}

func (d *driver) options(l line) leasehold.Options {
	o := leasehold.Options{Holder: l.Holder, Tenant: l.Tenant, Label: l.Label, Wait: l.Wait, Reacquire: l.Reacquire, Request: l.Request}
	if l.MaxGraceMS != nil {
		grace := time.Duration(*l.MaxGraceMS) * time.Millisecond
		o.MaxGrace = &grace
	}
	if l.Idle != nil {
		d.mu.Lock()
		d.idles[l.As] = l.Idle
		d.mu.Unlock()
		o.Idle = func() time.Duration {
			d.mu.Lock()
			defer d.mu.Unlock()
			ms, is := d.idles[l.As].(float64)
			if !is {
				panic("a function of the program")
			}
			return time.Duration(ms) * time.Millisecond
		}
	}
	o.OnEvent = func(event leasehold.Event) {
		said := maps.Clone(event.More)
		delete(said, "state")
		said["seat"], said["event"] = l.As, event.State
		if id := event.Seat.ID(); id != "" {
			said["id"] = id
		}
		say(said)
		switch l.Listener {
		case "raise":
			panic("a listener of the program")
		case "block":
			time.Sleep(10 * time.Second)
		}
	}
	return o
}

func (d *driver) acquire(ctx context.Context, l line) {
	if l.Do == "hold" {
		err := d.client.Hold(ctx, l.Pool, d.options(l), func(ctx context.Context, seat *leasehold.Seat) error {
			d.keep(l.As, seat)
			say(map[string]any{"seat": l.As, "body": "runs"})
			<-ctx.Done()
			return ctx.Err()
		})
		var failure *leasehold.Error
		if errors.Is(err, leasehold.ErrLost) && errors.As(err, &failure) {
			said := map[string]any{"seat": l.As, "body": "lost", "code": failure.Code}
			if failure.Reason != "" {
				said["reason"] = failure.Reason
			}
			say(said)
		} else {
			say(map[string]any{"seat": l.As, "body": "cancelled"})
		}
		return
	}
	var seat *leasehold.Seat
	var err error
	if l.Do == "adopt" {
		seat, err = d.client.Adopt(ctx, l.Pool, l.Token, d.options(l))
	} else {
		seat, err = d.client.Acquire(ctx, l.Pool, d.options(l))
	}
	var failure *leasehold.Error
	switch {
	case err == nil:
		d.keep(l.As, seat)
		say(map[string]any{"seat": l.As, "result": "held", "id": seat.ID(), "fence": seat.Fence(), "sure": seat.Sure()})
	case errors.Is(err, context.Canceled):
		say(map[string]any{"seat": l.As, "error": "cancelled"})
	case errors.As(err, &failure):
		say(map[string]any{"seat": l.As, "error": failure.Code, "detail": failure.Detail, "temporary": failure.IsTemporary()})
	default:
		say(map[string]any{"seat": l.As, "error": err.Error()})
	}
}

func (d *driver) many(l line) {
	var all sync.WaitGroup
	for n := range l.Count {
		name := fmt.Sprintf("s%d", n+1)
		all.Go(func() {
			seat, err := d.client.Acquire(context.Background(), l.Pool, leasehold.Options{Holder: name, OnEvent: func(event leasehold.Event) {
				if event.State == "lost" {
					say(map[string]any{"seat": name, "event": "lost", "code": event.Code})
				}
			}})
			if err == nil {
				d.keep(name, seat)
				if l.Touch {
					seat.Touch()
				}
			}
		})
	}
	all.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	say(map[string]any{"seat": "", "result": "held", "count": len(d.seats)})
}

func (d *driver) keep(name string, seat *leasehold.Seat) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seats[name] = seat
}

func (d *driver) seat(name string) *leasehold.Seat {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seats[name]
}
