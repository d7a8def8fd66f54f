package leasehold

import (
	"context"
	"errors"
	"sync"

	"leasehold/internal/machine"
)

// Gateway holds one seat for each session of a product, for a web backend.
type Gateway struct {
	Client *Client
	Pool   string
	// Keep is called with the token of a session whenever there is a new one, and with "" when there is none any more. Tokens are
	// secrets; what is kept goes to Restore after a restart. May be nil.
	Keep func(session, token string)
	// OnLost is called when a session has lost its seat. May be nil.
	OnLost func(session string, err *Error)

	mu     sync.Mutex
	seats  map[string]*Seat
	logins map[string]chan struct{}
}

// Login is a seat for this session, the one that it has or a new one. Calls for one session wait for each other.
func (g *Gateway) Login(ctx context.Context, session string, options Options) (*Seat, error) {
	done := make(chan struct{})
	for other := g.begin(session, done); other != nil; other = g.begin(session, done) {
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.logins, session)
		close(done)
	}()
	if seat := g.seat(session); seat != nil {
		if seat.Check() == nil {
			return seat, nil
		}
		seat.Release() // It may still hope to come back.
	}
	seat, err := g.Client.Acquire(ctx, g.Pool, g.options(session, options))
	if err != nil {
		return nil, err
	}
	g.put(session, seat)
	return seat, nil
}

// begin gives back what ends the login that is under way, if there is one.
func (g *Gateway) begin(session string, done chan struct{}) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.logins == nil {
		g.logins = map[string]chan struct{}{}
	}
	if other := g.logins[session]; other != nil {
		return other
	}
	g.logins[session] = done
	return nil
}

// Restore goes on with the seats whose tokens were kept, by session, and says how many there are. A token is forgotten if its lease has
// ended, and stays if no server answered until the context ends: call this again then.
func (g *Gateway) Restore(ctx context.Context, tokens map[string]string) int {
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	for session, token := range tokens {
		if g.seat(session) != nil {
			continue
		}
		slots <- struct{}{}
		all.Add(1)
		go func() {
			defer func() { <-slots; all.Done() }()
			seat, err := g.Client.Adopt(ctx, g.Pool, token, g.options(session, Options{}))
			if err == nil {
				g.put(session, seat)
			} else if failure := (*Error)(nil); g.Keep != nil && errors.As(err, &failure) && (failure.lost || failure.Code == "lease_released") {
				g.Keep(session, "")
			}
		}()
	}
	all.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.seats)
}

// Check is for each request of a user: an error if the session has no seat.
func (g *Gateway) Check(session string) error {
	seat := g.seat(session)
	if seat == nil {
		return newError("lease_released", nil, true)
	}
	return seat.Check()
}

// Touch says that the user of this session did something just now: see Seat.Touch.
func (g *Gateway) Touch(session string) {
	if seat := g.seat(session); seat != nil {
		seat.Touch()
	}
}

// Logout gives the seat of this session back.
func (g *Gateway) Logout(session string) {
	g.mu.Lock()
	seat := g.seats[session]
	delete(g.seats, session)
	g.mu.Unlock()
	if seat != nil {
		seat.Release()
	}
	if g.Keep != nil {
		g.Keep(session, "")
	}
}

func (g *Gateway) seat(session string) *Seat {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seats[session]
}

func (g *Gateway) put(session string, seat *Seat) {
	g.mu.Lock()
	if g.seats == nil {
		g.seats = map[string]*Seat{}
	}
	g.seats[session] = seat
	g.mu.Unlock()
	if g.Keep != nil {
		g.Keep(session, seat.Token())
	}
}

func (g *Gateway) options(session string, options Options) Options {
	own := options.OnEvent
	if g.Keep != nil {
		options.onToken = func(token string) { g.Keep(session, token) }
	}
	options.OnEvent = func(event Event) {
		if event.State == "lost" || event.State == "denied" {
			g.lost(session, event, options.Reacquire)
		}
		if own != nil {
			own(event)
		}
	}
	return options
}

func (g *Gateway) lost(session string, event Event, reacquire bool) {
	expired := event.Code == "lease_expired" || event.Code == "invalid_token" || machine.Unused(event.Code, event.More["reason"])
	again := event.Code == "outage_grace_over" || (reacquire && expired)
	g.mu.Lock()
	ours := g.seats[session] == event.Seat
	forget := ours && (event.State == "denied" || !again)
	if forget {
		delete(g.seats, session)
	}
	g.mu.Unlock()
	if !ours {
		return // An acquire that was denied, or a seat that is no longer this session's.
	}
	if forget && g.Keep != nil {
		g.Keep(session, "")
	}
	if g.OnLost != nil {
		g.OnLost(session, newError(event.Code, event.More, true))
	}
}
