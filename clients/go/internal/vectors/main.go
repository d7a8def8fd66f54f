// Command vectors runs the vectors of clients/spec/machine, or with the argument proof those of clients/spec/proof: one line of JSON for each on stdout.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"leasehold/internal/machine"
	"leasehold/verify"
)

type vector struct {
	Name    string
	Options struct {
		Pool, Holder, Tenant, Label, Platform, Key string
		Activities                                 []string
		Wait, Reacquire, Request                   bool
		MaxGraceMS                                 *int64 `json:"max_grace_ms"`
	}
	Steps []struct {
		At    json.RawMessage
		Event map[string]any
		Then  map[string]any
	}
	// Of batch.json.
	IDs     []int
	Status  int
	Headers map[string]string
	Body    any
	Events  []any
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "proof" {
		proofs()
		return
	}
	files, _ := filepath.Glob(filepath.Join("..", "spec", "machine", "*.json"))
	failed := len(files) == 0
	out := json.NewEncoder(os.Stdout)
	for _, path := range files {
		text, err := os.ReadFile(path)
		var document struct{ Vectors []vector }
		if err == nil {
			err = json.Unmarshal(text, &document)
		}
		if err != nil {
			panic(err)
		}
		stem := strings.TrimSuffix(filepath.Base(path), ".json")
		for _, one := range document.Vectors {
			why := run(one)
			if stem == "batch" {
				why = batch(one)
			}
			line := map[string]any{"vector": "machine/" + stem + ": " + one.Name, "ok": why == ""}
			if why != "" {
				line["why"], failed = why, true
			}
			out.Encode(line)
		}
	}
	if failed {
		os.Exit(1)
	}
}

func proofs() {
	var document struct {
		Keys    []verify.JWK
		Vectors []struct {
			Name, Proof, Issuer, Audience string
			At, LeewayS                   int64
			Keys                          *struct{ Keys []verify.JWK }
			OK                            bool
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "spec", "proof", "proofs.json"))
	if err == nil {
		err = json.Unmarshal([]byte(strings.ReplaceAll(string(text), `"leeway_s"`, `"leewayS"`)), &document)
	}
	if err != nil {
		panic(err)
	}
	out, failed := json.NewEncoder(os.Stdout), false
	for _, one := range document.Vectors {
		verifier := verify.Verifier{Issuer: one.Issuer, Audience: one.Audience, Keys: document.Keys}
		verifier.Leeway = time.Duration(one.LeewayS) * time.Second
		if one.Keys != nil {
			verifier.Keys = one.Keys.Keys
		}
		_, err := verifier.VerifyAt(context.Background(), one.Proof, time.Unix(one.At, 0))
		line := map[string]any{"vector": "proof/proofs: " + one.Name, "ok": (err == nil) == one.OK}
		if (err == nil) != one.OK {
			line["why"], failed = fmt.Sprint(err), true
		}
		out.Encode(line)
	}
	if failed {
		os.Exit(1)
	}
}

func run(one vector) string {
	o := one.Options
	state := machine.Begin(machine.Options{
		Pool: o.Pool, Holder: o.Holder, Tenant: o.Tenant, Label: o.Label, Platform: o.Platform, Activities: o.Activities,
		Wait: o.Wait, Reacquire: o.Reacquire, Request: o.Request, MaxGraceMS: o.MaxGraceMS, Key: o.Key,
	})
	for number, step := range one.Steps {
		now := instant(step.At)
		var out machine.Output
		if step.Event != nil {
			state, out = machine.Step(state, event(step.Event), now)
		}
		if step.Then == nil {
			continue
		}
		peek, _ := step.Then["peek"].(map[string]any)
		delete(step.Then, "peek")
		got := plain(out).(map[string]any)
		name, _ := state.Seen(now)
		got["state"], got["sure"] = name, state.Sure(now)
		if !reflect.DeepEqual(got, step.Then) {
			return fmt.Sprintf("step %d: got %s, expected %s", number+1, text(got), text(step.Then))
		}
		known := map[string]any{"token": state.Token, "proof": state.Proof, "lease_id": state.Lease["id"], "away": state.Away()}
		for name, value := range peek {
			if known[name] != value {
				return fmt.Sprintf("step %d: %s is %v, expected %v", number+1, name, known[name], value)
			}
		}
	}
	return ""
}

func batch(one vector) string {
	got := []any{}
	for _, event := range machine.Spread(one.IDs, one.Status, one.Headers, one.Body) {
		line := map[string]any{"event": event.Kind, "id": event.ID}
		if event.Kind == "result" {
			line["result"] = event.Result
		} else {
			line["status"], line["headers"], line["body"] = event.Status, event.Headers, event.Body
		}
		got = append(got, line)
	}
	if !reflect.DeepEqual(plain(got), any(one.Events)) {
		return "got " + text(got)
	}
	return ""
}

func instant(at json.RawMessage) machine.Now {
	var both machine.Now
	if json.Unmarshal(at, &both.Mono) == nil {
		both.Wall = both.Mono
	} else if err := json.Unmarshal(at, &both); err != nil {
		panic(err)
	}
	return both
}

func event(from map[string]any) machine.Event {
	var read struct {
		Event, Timer, Token string
		ID, Status          int
		Headers             map[string]string
		Body, Result        any
		Activities          *[]string
		Label               *string
		IdleMS              *int64 `json:"idle_ms"`
	}
	if err := json.Unmarshal([]byte(text(from)), &read); err != nil {
		panic(err)
	}
	return machine.Event{
		Kind: read.Event, ID: read.ID, Status: read.Status, Headers: read.Headers, Body: read.Body, Result: read.Result,
		Timer: read.Timer, Token: read.Token, Activities: read.Activities, Label: read.Label, IdleMS: read.IdleMS,
	}
}

func plain(value any) any {
	var read any
	if err := json.Unmarshal([]byte(text(value)), &read); err != nil {
		panic(err)
	}
	return read
}

func text(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(data)
}
