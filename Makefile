# Baton. `make help` lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help

GO          ?= go
SEEDS       ?= 1000
BENCH       ?=
ARTIFACTS   ?= $(CURDIR)/artifacts
STATICCHECK := v0.8.2

export TEST_ARTIFACTS = $(ARTIFACTS)
export TEST_BINARY    = $(CURDIR)/bin/baton
export CGO_ENABLED    = 0
# The same flags for building and testing, so that both share one build cache.
export GOFLAGS       := $(shell $(GO) env GOFLAGS) -trimpath

TALLY := bin/tally

# Rings of `make test` beside web-test. A ring that fails does not stop the next ones. Those that measure times (system)
# run alone: first the tests that measure, one by one, then those that only wait, some at a time.
RINGS := format vet staticcheck unit race sim system browser

# Packages of the race ring: all that run goroutines, with the race detector. Where there is no C compiler they run
# without it, in the unit ring.
RACE_DIRS = eventstore|control|platform

# Packages of the unit ring: everything but those, whole clusters (sim) and real processes (test/system, test/browser).
UNIT_PKGS = $$($(GO) list ./... | grep -v -E "^baton/(sim|test/system|test/browser|gen/$$(command -v gcc >/dev/null && echo '|$(RACE_DIRS)'))")
RACE_PKGS = $$($(GO) list ./... | grep -E '^baton/($(RACE_DIRS))/')

# Most of these tests wait (for disks, elections, other processes): more of them run at once than there are cores.
AT_ONCE = -p 3 -parallel 4 -timeout 15m

.PHONY: help
help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## Installs what is missing (as root on Debian), else names it and goes on
	@.ci/setup

.PHONY: build
build: web ## Builds the dashboard and bin/baton (static)
	@$(MAKE) --no-print-directory bin/baton

.PHONY: bin/baton
bin/baton:
	@mkdir -p bin
	$(GO) build -o bin/baton ./cmd/baton

.PHONY: web
web: ## Builds the dashboard into web/dist
	@if [ ! -f web/package.json ]; then echo "web: no dashboard sources"; \
	elif ! command -v npm >/dev/null; then echo "web: npm is missing: bin/baton is built without a dashboard"; \
	else .ci/npm-ci web && cd web && npm run --silent build; fi

.PHONY: run
run: setup build ## Builds all and starts a demo: control plane, dashboard, five nodes, Redis
	exec bin/baton up --demo

.PHONY: dev
dev: bin/baton ## Starts the demo and the dashboard's dev server with live reload
	bin/baton up --demo & pid=$$!; trap "kill $$pid" EXIT; cd web && npm run dev

$(TALLY): $(wildcard test/tally/*.go)
	@mkdir -p bin
	@$(GO) build -o $@ ./test/tally

.PHONY: test
test: setup build $(TALLY) ## All tests; the last line is the total
	@$(TALLY) reset; mkdir -p $(ARTIFACTS)
	@# The dashboard's tests run beside the first Go rings; what they print comes after these.
	@$(MAKE) --no-print-directory -k web-test >$(ARTIFACTS)/web-test.log 2>&1 & web=$$!; \
	for ring in $(RINGS); do \
	  if [ $$ring = sim ]; then wait $$web; cat $(ARTIFACTS)/web-test.log; fi; \
	  $(MAKE) --no-print-directory -k $$ring || true; \
	done; $(TALLY) report

.PHONY: format
format: $(TALLY) ## gofmt shows nothing
	@$(TALLY) check format -- bash -c 'l=$$(git ls-files "*.go" ":!gen/*" | xargs -r gofmt -l); [ -z "$$l" ] || { echo "gofmt would change:"; echo "$$l"; exit 1; }'

.PHONY: vet
vet: $(TALLY) ## go vet is clean
	@$(TALLY) check vet -- $(GO) vet ./...

.PHONY: staticcheck
staticcheck: $(TALLY) ## staticcheck is clean
	@dir=$(CURDIR)/bin/tools/$(STATICCHECK); mkdir -p $$dir; \
	[ -x $$dir/staticcheck ] || GOBIN=$$dir $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK) || \
	{ $(TALLY) skip staticcheck "it could not be installed"; exit 0; }; \
	$(TALLY) check staticcheck -- $$dir/staticcheck ./...

.PHONY: lint
lint: format vet staticcheck ## format, vet and staticcheck

.PHONY: web-test
web-test: $(TALLY) ## Unit tests of the dashboard
	@if [ ! -f web/package.json ] || ! command -v npm >/dev/null; then $(TALLY) skip web-test "npm or web/package.json is missing"; \
	else mkdir -p $(ARTIFACTS); .ci/npm-ci web || { $(TALLY) skip web-test "npm ci failed"; exit 0; }; \
	$(TALLY) vitest web-test $(ARTIFACTS)/vitest.json -- bash -c \
	  'cd web && exec node_modules/.bin/vitest run --reporter=default --reporter=json --outputFile.json=$(ARTIFACTS)/vitest.json'; fi

.PHONY: test-unit unit
test-unit: unit ## Unit tests
unit: $(TALLY)
	@$(TALLY) go unit -- $(GO) test $(AT_ONCE) -json $(UNIT_PKGS)

.PHONY: test-race race
test-race: race ## Unit tests under the race detector
race: $(TALLY)
	@if ! command -v gcc >/dev/null; then $(TALLY) skip race "gcc is missing: the race detector needs it"; \
	else CGO_ENABLED=1 $(TALLY) go race -- $(GO) test -race $(AT_ONCE) -json $(RACE_PKGS); fi

.PHONY: sim
sim: $(TALLY) ## Simulates whole clusters: make sim SEEDS=1000, or one of them: make sim SEED=42
	@SIM_SEEDS=$(SEEDS) SIM_SEED=$(SEED) $(TALLY) go sim -- $(GO) test -count=1 -json ./sim/...

.PHONY: system
system: bin/baton $(TALLY) ## Real processes: official clients, failover, promotion
	@$(TALLY) go system -- $(GO) test -count=1 -timeout 25m -p 1 -parallel 3 -json ./test/system/...; system=$$?; \
	$(TALLY) go clients-go -- $(GO) -C test/clients/go test -count=1 -timeout 10m -p 1 -json ./... && exit $$system

.PHONY: browser
browser: bin/baton $(TALLY) ## The dashboard in Chromium
	@$(TALLY) go browser -- $(GO) test -count=1 -timeout 25m -json ./test/browser/...

.PHONY: screenshots
screenshots: ## Every page, dialog and state of the dashboard, on sheets in artifacts/screens: make screenshots ONLY=promote
	@.ci/npm-ci web && cd web && dist=$$(mktemp -d) && trap 'rm -rf "$$dist"' EXIT && \
	BATON_ROUTES=all node_modules/.bin/vite build --logLevel warn --emptyOutDir --outDir "$$dist" && \
	DIST="$$dist" OUT="$(ARTIFACTS)/screens" ONLY="$(ONLY)" node e2e/screens.mjs

.PHONY: bench
bench: bin/baton ## Measures this server and NATS JetStream side by side: make bench BENCH=append,read
	cd bench && $(GO) run . -baton ../bin/baton -only "$(BENCH)"

.PHONY: bench-control
bench-control: bin/baton ## Measures one control plane with the agents of 5,000 simulated nodes
	cd bench && $(GO) run . control -baton ../bin/baton

.PHONY: bench-redis
bench-redis: bin/baton ## Measures planned moves of a Redis primary: FAILOVER, Sentinel, Baton
	cd bench && $(GO) run . redis-failover -baton ../bin/baton

.PHONY: bench-memory
bench-memory: bin/baton ## Watches the memory of a node: 10M events in 1M streams, then an hour of mixed load
	cd bench && $(GO) run . memory -baton ../bin/baton

.PHONY: proto
proto: ## Generates gen/ from proto/ (needs protoc)
	@mkdir -p bin/tools
	@GOBIN=$(CURDIR)/bin/tools $(GO) install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
	@GOBIN=$(CURDIR)/bin/tools $(GO) install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
	@GOBIN=$(CURDIR)/bin/tools $(GO) install github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto@v0.6.1-0.20250313105119-ba97887b0a25
	PATH=$(CURDIR)/bin/tools:$$PATH sh proto/generate.sh

.PHONY: generate
generate: proto ## Generates everything that is generated and committed
	$(GO) generate ./...

.PHONY: clean
clean: ## Removes what was built; keeps data directories
	rm -rf bin artifacts web/dist/assets web/dist/index.html
