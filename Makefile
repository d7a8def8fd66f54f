# The ways in. `make run` and `make test` need nothing but Rust: what else they need they get (scripts/redis.sh).

# Servers and proxies that were fetched without root lie here.
export PATH := $(CURDIR)/.redis/bin:$(CURDIR)/.proxies/bin:$(PATH)

.DEFAULT_GOAL := help
MODULES_OF_REDIS := acquire:: acquire_many:: clock:: data_loss:: deleted_pools:: durability:: expiry:: failover:: leave:: leave_queue:: \
	half_done:: key_prefix:: moved_address:: out_of_memory:: outage:: race:: records:: redis_access:: redis_cluster:: refusals:: release:: renew:: renew_many:: \
	rules:: script_flush:: sentinel:: slot_migration:: terminate:: unreadable::

.PHONY: deb demo dist fuzz kubernetes help run test test-redis test-valkey test-browsers test-clients test-containers test-generators test-hours chaos lint sbom bench redis browser valkey balancer proxies

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

demo: redis ## Build, and serve made-up pools with five weeks of history and people who come and go
	@cargo build --locked --bin leasehold
	@exec $${CARGO_TARGET_DIR:-target}/debug/leasehold demo

run: redis ## Build, and serve on 127.0.0.1:7070 with an embedded Redis and a demo pool
	@cargo build --locked --bin leasehold
	@exec $${CARGO_TARGET_DIR:-target}/debug/leasehold serve --pool demo=5

# The integration tests come last, so that their summary is the last thing to read.
test: redis browser balancer proxies ## Run all tests; TESTS=module:: for those with that in their names
ifdef TESTS
	@cargo test --locked --lib --tests --no-fail-fast -- $(TESTS)
else
	@scripts/widget.sh
	@scripts/schemathesis.sh
	@cargo test --locked --doc --quiet
	@cargo test --locked --lib --bins --tests --no-fail-fast
endif

test-valkey: valkey ## Run the integration tests on Valkey, whatever other server there is; TESTS=module:: for some of them
	@PATH="$(CURDIR)/.redis/valkey:$$PATH" cargo test --locked --test it -- $(TESTS)

# What a version of Redis can make different: scripts, rights, failovers, clocks. VERSION=6.2 or 8.
test-redis: ## Run the tests that matter on another version of Redis; TESTS=module:: for some of them
	@scripts/redis.sh $(or $(VERSION),6.2)
	@PATH="$(CURDIR)/.redis/$(or $(VERSION),6.2):$$PATH" cargo test --locked --test it -- $(or $(TESTS),$(MODULES_OF_REDIS))

test-browsers: redis browser ## Test the widget client in browsers, with pages hidden for minutes
	@scripts/widget.sh long

test-clients: redis ## Hold the clients in clients/ against their specification, and try four generators; CLIENT=python for one client
	@scripts/clients.sh $(if $(CLIENT),--client $(CLIENT))

test-generators: redis ## Make clients of the OpenAPI document with ten generators, run each, lint it, and write the table into docs/api.md
	@scripts/generators.sh --write

test-hours: redis ## Run the tests that deal with dates at other hours of the week and the year; TESTS=module:: for others
	@scripts/hours.sh $(TESTS)

# One after the other: each starts a dozen programs.
test-containers: redis ## Test the image and docker-compose.yml, which needs a Docker engine; TESTS=containers::… for some of them
	@TEST_DOCKER=required cargo test --locked --test it -- --test-threads=1 $(or $(TESTS),containers::)

# TOPOLOGY=alone,cluster and FAULTS=kill,duplicated choose some of them; TABLE=docs/chaos.md writes the table into a file;
# OUTAGE=600 is the length of the one long outage, in seconds. Without any choice a rolling restart under 100 000 requests comes last.
chaos: redis balancer ## Break things for MINUTES (default 10) and hold the history of a crowd against the rules
	@CHAOS_MINUTES=$${MINUTES:-10} CHAOS_TOPOLOGY=$(TOPOLOGY) CHAOS_FAULTS=$(FAULTS) CHAOS_TABLE=$(TABLE) CHAOS_OUTAGE=$(OUTAGE) \
		cargo test --release --locked --test it -- --nocapture --exact chaos::while_everything_breaks_the_rules_hold
	@[ -n "$(TOPOLOGY)$(FAULTS)" ] || ROLLING_REQUESTS=$${ROLLING_REQUESTS:-100000} \
		cargo test --release --locked --test it -- --nocapture --exact rolling_restart::a_rolling_restart_of_all_nodes_fails_no_request

lint: ## Check form, lints, documentation, its language, and dependencies
	@scripts/lint.sh

sbom: ## Write what the program is made of to target/leasehold.cdx.json (CycloneDX)
	@scripts/sbom.sh

dist: ## Make what a release consists of in target/dist: program, package, images, chart, bill of materials, checksums
	@scripts/dist.sh

deb: ## Make a Debian package in target/debian
	@scripts/deb.sh

kubernetes: ## Write the alerts into the Kubernetes manifests, and check all of them
	@scripts/kubernetes.sh --write

bench: redis ## Measure heartbeats at the limit, and write the table into docs/performance.md
	@scripts/bench.sh --write

valkey: ## Get a valkey-server for test-valkey
	@scripts/redis.sh valkey

redis: ## Get a redis-server or valkey-server, if there is none
	@scripts/redis.sh

browser: ## Get Chromium and its driver for the tests of pages, if there is none and it may be installed
	@scripts/browser.sh

balancer: ## Get HAProxy for the tests of a rolling restart, if there is none and it may be installed
	@scripts/balancer.sh

proxies: ## Get nginx, Caddy and Apache for the tests of proxies, if there are none and they may be fetched
	@scripts/proxies.sh

# Needs a nightly Rust and cargo-fuzz. The corpora in fuzz/corpus are run by `make test` as well.
fuzz: ## Feed the parsers random input for DURATION seconds (default 60) each; TARGET=token for one of them
	@scripts/fuzz.sh $(TARGET)
