// Package verify verifies proofs of leases without asking the server.
//
// A proof says that somebody had a seat when it was signed, and until when the lease runs. It does not say that the seat was not
// taken away since: what is dear asks POST /v1/leases/check.
package verify

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	fresh   = 5 * time.Minute
	refetch = time.Minute
	pause   = time.Minute
)

// ErrInvalid is what errors.Is finds in every error about a proof.
var ErrInvalid = errors.New("the proof proves nothing")

// Proof is what a proof says.
type Proof struct {
	ID, Pool, Holder, Tenant string
	Fence                    int64
	IssuedAt, ExpiresAt      time.Time
	Grace                    *time.Duration // Nil is without limit, or not told.
}

// JWK is a key as an instance publishes it.
type JWK struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Kid string `json:"kid"`
	Use string `json:"use"`
}

// Verifier verifies the proofs of one instance for one audience.
type Verifier struct {
	Issuer, Audience string
	Leeway           time.Duration // 0 to a minute.
	// Keys are pinned. Without them they are fetched from URL + /v1/jwks: when they are five minutes old, and for an unknown key
	// at most once a minute. Never from an address in a proof.
	Keys []JWK
	URL  string
	HTTP *http.Client

	mu       sync.Mutex
	known    map[string]ed25519.PublicKey
	fetched  time.Time
	paused   time.Time
	failures int
}

func invalid(why string) error { return fmt.Errorf("%w: %s", ErrInvalid, why) }

// Verify says what a proof says now.
func (v *Verifier) Verify(ctx context.Context, proof string) (*Proof, error) {
	return v.VerifyAt(ctx, proof, time.Now())
}

// VerifyAt says what it says at some other time.
func (v *Verifier) VerifyAt(ctx context.Context, proof string, at time.Time) (*Proof, error) {
	if v.Leeway < 0 || v.Leeway > time.Minute {
		return nil, errors.New("the leeway is 0 to 60 seconds")
	}
	parts := strings.Split(proof, ".")
	if len(parts) != 3 || len(proof) > 8_192 {
		return nil, invalid("it has not three parts")
	}
	header, err := object(parts[0])
	if err != nil {
		return nil, err
	}
	claims, err := object(parts[1])
	if err != nil {
		return nil, err
	}
	signature, err := decode(parts[2])
	if err != nil {
		return nil, err
	}
	if header["alg"] != "EdDSA" && header["alg"] != "Ed25519" {
		return nil, invalid("its algorithm is not Ed25519")
	}
	if header["typ"] != "leasehold-lease+jwt" {
		return nil, invalid("it is not a proof of a lease")
	}
	for _, name := range []string{"crit", "jwk", "jku", "x5u", "x5c"} {
		if _, is := header[name]; is {
			return nil, invalid("its header wants more than a proof may")
		}
	}
	kid, _ := header["kid"].(string)
	key, err := v.key(ctx, kid)
	if err != nil {
		return nil, err
	}
	if !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), signature) {
		return nil, invalid("its signature is of another key or another text")
	}
	if claims["iss"] != v.Issuer {
		return nil, invalid("it is of another instance")
	}
	if !names(claims["aud"], v.Audience) {
		return nil, invalid("it is for somebody else")
	}
	issued, expires := instant(claims["iat"]), instant(claims["exp"])
	now, leeway := float64(at.UnixMilli())/1_000, v.Leeway.Seconds()
	if math.IsNaN(issued) || issued > now+leeway {
		return nil, invalid("it is of the future")
	}
	if math.IsNaN(expires) || now >= expires+leeway {
		return nil, invalid("it has expired")
	}
	return read(claims, issued, expires)
}

func read(claims map[string]any, issued, expires float64) (*Proof, error) {
	lease, isLease := claims["lh"].(map[string]any)
	id, isID := claims["jti"].(string)
	pool, isPool := lease["pool"].(string)
	fence, isFence := lease["fence"].(float64)
	holder, isText := claims["sub"].(string)
	if !isLease || !isID || !isPool || !isFence || (claims["sub"] != nil && !isText) {
		return nil, invalid("it says nothing of a lease")
	}
	tenant, _ := lease["tenant"].(string)
	found := &Proof{ID: id, Pool: pool, Holder: holder, Tenant: tenant, Fence: int64(fence)}
	found.IssuedAt, found.ExpiresAt = time.UnixMilli(int64(issued*1_000)), time.UnixMilli(int64(expires*1_000))
	if ms, is := lease["grace_ms"].(float64); is {
		grace := time.Duration(ms) * time.Millisecond
		found.Grace = &grace
	}
	return found, nil
}

func (v *Verifier) key(ctx context.Context, kid string) (ed25519.PublicKey, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.Keys != nil && v.known == nil {
		v.known = keys(v.Keys)
	}
	_, is := v.known[kid]
	now := time.Now()
	if age := now.Sub(v.fetched); v.Keys == nil && now.After(v.paused) && (age > fresh || (!is && age > refetch)) {
		found, err := v.fetch(ctx)
		if err == nil {
			v.known, v.fetched, v.failures = keys(found), time.Now(), 0
		} else if ctx.Err() != nil {
			return nil, err // The caller's time is over, which says nothing of the server.
		} else {
			// The old ones are good for a while, and no proof waits for a server that is away.
			v.paused = time.Now().Add(min(pause, time.Second<<v.failures))
			v.failures = min(v.failures+1, 10)
			if v.known == nil {
				return nil, err
			}
		}
	}
	if key, is := v.known[kid]; is {
		return key, nil
	}
	return nil, invalid("its key is unknown")
}

func (v *Verifier) fetch(ctx context.Context) ([]JWK, error) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(v.URL, "/")+"/v1/jwks", nil)
	if err != nil {
		return nil, err
	}
	client := v.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var set struct {
		Keys []JWK `json:"keys"`
	}
	err = json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&set)
	if err == nil && (response.StatusCode != http.StatusOK || set.Keys == nil) {
		err = errors.New("this is no set of keys")
	}
	return set.Keys, err
}

func keys(set []JWK) map[string]ed25519.PublicKey {
	found, twice := map[string]ed25519.PublicKey{}, map[string]bool{}
	for _, one := range set {
		x, err := decode(one.X)
		if one.Kty != "OKP" || one.Crv != "Ed25519" || (one.Use != "" && one.Use != "sig") || err != nil {
			continue
		}
		if len(x) != ed25519.PublicKeySize || small(x) {
			continue
		}
		if _, is := found[one.Kid]; is {
			twice[one.Kid] = true
		}
		found[one.Kid] = x
	}
	for kid := range twice {
		delete(found, kid) // Two of one name are none.
	}
	return found
}

// The y of the points of small order that are not 0, 1 or -1.
var orders = []string{
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
}

// small reports whether a point is of small order: a signature for it may fit every message.
func small(x []byte) bool {
	y := bytes.Clone(x)
	y[31] &= 0x7f
	for _, order := range orders {
		if fmt.Sprintf("%x", y) == order {
			return true
		}
	}
	for i, j := 0, 31; i < j; i, j = i+1, j-1 {
		y[i], y[j] = y[j], y[i]
	}
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	number := new(big.Int).Mod(new(big.Int).SetBytes(y), p)
	last := new(big.Int).Sub(p, big.NewInt(1))
	return number.Cmp(big.NewInt(1)) <= 0 || number.Cmp(last) == 0
}

func names(audience any, ours string) bool {
	list, is := audience.([]any)
	if !is {
		return audience == any(ours)
	}
	for _, one := range list {
		if one == any(ours) {
			return true
		}
	}
	return false
}

func instant(value any) float64 {
	seconds, is := value.(float64)
	if !is || seconds < 0 || seconds > 1e11 {
		return math.NaN()
	}
	return seconds
}

func decode(text string) ([]byte, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(data) == 0 || strings.ContainsAny(text, "\r\n") {
		return nil, invalid("it is not base64url without padding")
	}
	return data, nil
}

// object reads one JSON object in which no member stands twice.
func object(text string) (map[string]any, error) {
	data, err := decode(text)
	if err != nil {
		return nil, err
	}
	var found map[string]any
	if json.Unmarshal(data, &found) != nil || found == nil {
		return nil, invalid("it is no object")
	}
	if !once(json.NewDecoder(bytes.NewReader(data))) {
		return nil, invalid("a member stands there twice")
	}
	return found, nil
}

// once reads one value, and reports whether no object in it has a member twice.
func once(decoder *json.Decoder) bool {
	token, err := decoder.Token()
	if err != nil {
		return false
	}
	switch token {
	case json.Delim('{'):
		seen := map[any]bool{}
		for decoder.More() {
			name, err := decoder.Token()
			if err != nil || seen[name] || !once(decoder) {
				return false
			}
			seen[name] = true
		}
	case json.Delim('['):
		for decoder.More() {
			if !once(decoder) {
				return false
			}
		}
	default:
		return true
	}
	_, err = decoder.Token()
	return err == nil
}
