package leasehold_test

// Programs as people write them, against a real server: LEASEHOLD_URL says where, LEASEHOLD_KEY is an operator's.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"leasehold"
)

func server(t *testing.T, pool string, policy map[string]any) *leasehold.Client {
	t.Helper()
	if os.Getenv("LEASEHOLD_URL") == "" {
		t.Skip("LEASEHOLD_URL does not say where a server is; make test-clients does")
	}
	ask(t, http.MethodPut, "/v1/pools/"+pool, policy)
	client, err := leasehold.New(os.Getenv("LEASEHOLD_URL"), leasehold.WithKey(os.Getenv("LEASEHOLD_KEY")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func ask(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	data, _ := json.Marshal(body)
	request, _ := http.NewRequest(method, os.Getenv("LEASEHOLD_URL")+path, bytes.NewReader(data))
	request.Header.Set("authorization", "Bearer "+os.Getenv("LEASEHOLD_KEY"))
	request.Header.Set("content-type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		t.Fatalf("%s %s was answered %s", method, path, response.Status)
	}
	var read map[string]any
	json.NewDecoder(response.Body).Decode(&read)
	return read
}

func inUse(t *testing.T, pool string) float64 {
	return ask(t, http.MethodGet, "/v1/pools/"+pool, nil)["in_use"].(float64)
}

func until(t *testing.T, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !reached(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in time")
		}
	}
}

func TestABackendThatStartsAgainGoesOnWithItsSeats(t *testing.T) {
	client := server(t, "go-backend", map[string]any{"capacity": 5, "ttl_ms": 10_000})
	var mu sync.Mutex
	kept := map[string]string{}
	keep := func(session, token string) {
		mu.Lock()
		defer mu.Unlock()
		if kept[session] = token; token == "" {
			delete(kept, session)
		}
	}
	first := leasehold.Gateway{Client: client, Pool: "go-backend", Keep: keep}
	ids := map[string]string{}
	for _, session := range []string{"s1", "s2"} {
		seat, err := first.Login(t.Context(), session, leasehold.Options{Holder: session})
		if err != nil {
			t.Fatal(err)
		}
		ids[session] = seat.ID()
	}
	again := server(t, "go-backend", map[string]any{"capacity": 5, "ttl_ms": 10_000})
	second := leasehold.Gateway{Client: again, Pool: "go-backend", Keep: keep}
	if n := second.Restore(t.Context(), map[string]string{"s1": kept["s1"], "s2": kept["s2"], "s3": "nonsense"}); n != 2 {
		t.Fatalf("%d seats were restored", n)
	}
	for session, id := range ids {
		if seat, err := second.Login(t.Context(), session, leasehold.Options{}); err != nil || seat.ID() != id {
			t.Fatalf("%s: %v, %v", session, seat, err)
		}
	}
	second.Logout("s1")
	if n := inUse(t, "go-backend"); n != 1 {
		t.Fatalf("%v seats are in use", n)
	}
}

func TestALostSeatEndsTheWork(t *testing.T) {
	client := server(t, "go-lost", map[string]any{"capacity": 1, "ttl_ms": 1_000})
	err := client.Hold(t.Context(), "go-lost", leasehold.Options{Holder: "ann"}, func(ctx context.Context, seat *leasehold.Seat) error {
		ask(t, http.MethodPost, "/v1/pools/go-lost/leases/terminate", map[string]any{"holder": "ann", "reason": "Over."})
		<-ctx.Done()
		return ctx.Err()
	})
	var lost *leasehold.Error
	if !errors.Is(err, leasehold.ErrLost) || !errors.As(err, &lost) || lost.Code != "lease_terminated" || lost.Reason != "Over." {
		t.Fatalf("%v", err)
	}
}

func TestHundredsOfSeatsAreKeptTogether(t *testing.T) {
	client := server(t, "go-many", map[string]any{"capacity": 200, "ttl_ms": 6_000})
	gateway := leasehold.Gateway{Client: client, Pool: "go-many"}
	for n := range 120 {
		if _, err := gateway.Login(t.Context(), fmt.Sprint(n), leasehold.Options{Holder: fmt.Sprint(n)}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(8 * time.Second)
	for n := range 120 {
		if err := gateway.Check(fmt.Sprint(n)); err != nil {
			t.Fatal(n, err)
		}
	}
	client.Close()
	until(t, func() bool { return inUse(t, "go-many") == 0 })
}
