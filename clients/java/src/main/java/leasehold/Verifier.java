package leasehold;

import java.io.IOException;
import java.math.BigInteger;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.X509EncodedKeySpec;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Verifies proofs of leases without asking the server. A proof says that somebody had a seat when it was signed, and until when the
 * lease runs; not that the seat was not taken away since. What is dear asks POST /v1/leases/check.
 */
public final class Verifier {
    private static final byte[] PREFIX = HexFormat.of().parseHex("302a300506032b6570032100");
    private static final BigInteger FIELD = BigInteger.TWO.pow(255).subtract(BigInteger.valueOf(19));
    /** The y of the points of small order, for which a signature may fit every message. */
    private static final Set<BigInteger> SMALL = Set.of(
            BigInteger.ZERO, BigInteger.ONE, FIELD.subtract(BigInteger.ONE),
            little(HexFormat.of().parseHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")),
            little(HexFormat.of().parseHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")));
    private static final long FRESH_MS = 300_000;
    private static final long REFETCH_MS = 60_000;
    private static final long PAUSE_MS = 60_000;

    private final String issuer;
    private final String audience;
    private final Duration leeway;
    private final URI jwks;
    private final HttpClient http;
    private Map<String, PublicKey> keys = Map.of();
    private long fetchedAt = Long.MIN_VALUE / 2;
    private long pausedUntil = Long.MIN_VALUE / 2;
    private int failures;

    /** The proof proves nothing; the message says why. */
    public static final class InvalidProof extends Exception {
        private static final long serialVersionUID = 1;

        InvalidProof(String why) {
            super(why);
        }
    }

    /** What a proof says. Holder and tenant may be null. */
    public record Proof(String id, String pool, String holder, String tenant, long fence, Instant issuedAt, Instant expiresAt) {}

    private Verifier(String issuer, String audience, Duration leeway, URI jwks, HttpClient http) {
        if (leeway.isNegative() || leeway.compareTo(Duration.ofMinutes(1)) > 0) {
            throw new IllegalArgumentException("the leeway is 0 to 60 seconds");
        }
        this.issuer = issuer;
        this.audience = audience;
        this.leeway = leeway;
        this.jwks = jwks;
        this.http = http;
    }

    /** With the keys that a server publishes: fetched when they are five minutes old, and for an unknown key once a minute at most. */
    public static Verifier of(String issuer, String audience, String url) {
        URI jwks = URI.create(url.replaceAll("/+$", "") + "/v1/jwks");
        return new Verifier(issuer, audience, Duration.ofSeconds(5), jwks, HttpClient.newHttpClient());
    }

    /** With pinned keys: the JSON text of a key set. */
    public static Verifier pinned(String issuer, String audience, String keySet, Duration leeway) {
        Verifier verifier = new Verifier(issuer, audience, leeway, null, null);
        verifier.keys = keys(Json.read(keySet));
        return verifier;
    }

    /** What it says now. */
    public Proof verify(String proof) throws InvalidProof {
        return verify(proof, Instant.now());
    }

    /** What it says at some other time. */
    public Proof verify(String proof, Instant at) throws InvalidProof {
        String[] parts = proof.split("\\.", -1);
        must(parts.length == 3 && proof.length() <= 8_192, "it has not three parts");
        Map<String, Object> header = object(parts[0]);
        Map<String, Object> claims = object(parts[1]);
        byte[] signature = decode(parts[2]);
        must(List.of("EdDSA", "Ed25519").contains(String.valueOf(header.get("alg"))), "its algorithm is not Ed25519");
        must("leasehold-lease+jwt".equals(header.get("typ")), "it is not a proof of a lease");
        for (String name : List.of("crit", "jwk", "jku", "x5u", "x5c")) {
            must(!header.containsKey(name), "its header wants more than a proof may");
        }
        must(header.get("kid") instanceof String, "it names no key");
        must(signed(key((String) header.get("kid")), parts[0] + "." + parts[1], signature), "its signature is of another key or text");
        must(issuer.equals(claims.get("iss")), "it is of another instance");
        Object aud = claims.get("aud");
        must(audience.equals(aud) || (aud instanceof List<?> list && list.contains(audience)), "it is for somebody else");
        double issued = instant(claims, "iat");
        double expires = instant(claims, "exp");
        double now = at.toEpochMilli() / 1_000.0;
        double slack = leeway.toMillis() / 1_000.0;
        must(issued <= now + slack, "it is of the future");
        must(now < expires + slack, "it has expired");
        Object holder = claims.get("sub");
        must(claims.get("jti") instanceof String && claims.get("lh") instanceof Map, "it says nothing of a lease");
        must(holder == null || holder instanceof String, "its holder is no string");
        Map<?, ?> lease = (Map<?, ?>) claims.get("lh");
        must(lease.get("pool") instanceof String && lease.get("fence") instanceof Number, "it says nothing of a pool");
        String tenant = lease.get("tenant") instanceof String name ? name : null;
        return new Proof((String) claims.get("jti"), (String) lease.get("pool"), (String) holder, tenant,
                ((Number) lease.get("fence")).longValue(), Instant.ofEpochMilli((long) (issued * 1_000)),
                Instant.ofEpochMilli((long) (expires * 1_000)));
    }

    private synchronized PublicKey key(String kid) throws InvalidProof {
        long now = System.nanoTime() / 1_000_000;
        long age = now - fetchedAt;
        if (jwks != null && now >= pausedUntil && (age > FRESH_MS || (!keys.containsKey(kid) && age > REFETCH_MS))) {
            try {
                HttpRequest request = HttpRequest.newBuilder(jwks).timeout(Duration.ofSeconds(8)).build();
                HttpResponse<String> answer = http.send(request, HttpResponse.BodyHandlers.ofString());
                keys = keys(Json.read(answer.body()));
                fetchedAt = now;
                failures = 0;
            } catch (IOException | IllegalArgumentException failed) {
                // The old ones are good for a while, and no proof waits for a server that is away.
                pausedUntil = System.nanoTime() / 1_000_000 + Math.min(PAUSE_MS, 1_000L << failures);
                failures = Math.min(failures + 1, 10);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        }
        PublicKey key = keys.get(kid);
        must(key != null, "its key is unknown");
        return key;
    }

    private static Map<String, PublicKey> keys(Object document) {
        if (!(document instanceof Map<?, ?> set) || !(set.get("keys") instanceof List<?> list)) {
            throw new IllegalArgumentException("this is no set of keys");
        }
        Map<String, PublicKey> found = new HashMap<>();
        for (Object one : list) {
            if (!(one instanceof Map<?, ?> jwk) || !"OKP".equals(jwk.get("kty")) || !"Ed25519".equals(jwk.get("crv"))) {
                continue;
            }
            try {
                byte[] x = decode(String.valueOf(jwk.get("x")));
                Object use = jwk.get("use");
                byte[] y = x.clone();
                y[y.length - 1] &= 0x7f;
                if (x.length != 32 || SMALL.contains(little(y).mod(FIELD)) || (use != null && !use.equals("sig"))) {
                    continue;
                }
                byte[] encoded = new byte[PREFIX.length + 32];
                System.arraycopy(PREFIX, 0, encoded, 0, PREFIX.length);
                System.arraycopy(x, 0, encoded, PREFIX.length, 32);
                PublicKey key = KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(encoded));
                String kid = String.valueOf(jwk.get("kid"));
                found.put(kid, found.containsKey(kid) ? null : key); // Two of one name are none.
            } catch (InvalidProof | GeneralSecurityException unusable) {
                continue;
            }
        }
        found.values().removeIf(key -> key == null);
        return found;
    }

    private static boolean signed(PublicKey key, String text, byte[] signature) {
        try {
            Signature verifying = Signature.getInstance("Ed25519");
            verifying.initVerify(key);
            verifying.update(text.getBytes(StandardCharsets.US_ASCII));
            return verifying.verify(signature);
        } catch (GeneralSecurityException malformed) {
            return false;
        }
    }

    private static BigInteger little(byte[] bytes) {
        byte[] big = new byte[bytes.length];
        for (int i = 0; i < bytes.length; i++) {
            big[i] = bytes[bytes.length - 1 - i];
        }
        return new BigInteger(1, big);
    }

    private static void must(boolean right, String why) throws InvalidProof {
        if (!right) {
            throw new InvalidProof(why);
        }
    }

    private static byte[] decode(String text) throws InvalidProof {
        try {
            byte[] data = Base64.getUrlDecoder().decode(text);
            must(data.length > 0, "a part of it is empty");
            must(Base64.getUrlEncoder().withoutPadding().encodeToString(data).equals(text), "it could be written in another way");
            return data;
        } catch (IllegalArgumentException malformed) {
            throw new InvalidProof("it is not base64url");
        }
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> object(String text) throws InvalidProof {
        try {
            Object value = Json.read(new String(decode(text), StandardCharsets.UTF_8));
            must(value instanceof Map, "it is no object");
            return (Map<String, Object>) value;
        } catch (IllegalArgumentException malformed) {
            throw new InvalidProof("it is no JSON, or has a member twice");
        }
    }

    private static double instant(Map<String, Object> claims, String name) throws InvalidProof {
        Object value = claims.get(name);
        must(value instanceof Double seconds && seconds >= 0 && seconds < 1e11, name + " is no time");
        return (Double) value;
    }
}
