# Curfew. `make help` says what there is.

# How the targets can be told more: make test PKG=./token TESTFLAGS=-v
# The long ones first, so that none of them is left alone at the end.
PKG       ?= ./internal/torture ./internal/console ./cmd/curfew ./internal/store/sqlstore ./...
TESTFLAGS ?=
ARGS      ?=
BENCH     ?= .
BENCHTIME ?= 1s
FUZZTIME  ?= 30s
COUNT     ?= 3
DURATION  ?= 10m
SEED      ?= 0

# Of one test binary. What takes longer hangs.
TIMEOUT   ?= 12m

SOURCES    = cmd internal revocation settings token

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ Use it

.PHONY: run
run: ## start a server: SQLite in this directory, http://127.0.0.1:8420 (ARGS='--listen :9000')
	go run ./cmd/curfew serve $(ARGS)

.PHONY: build
build: ## build bin/curfew
	go build -trimpath -o bin/curfew ./cmd/curfew

##@ Try it

.PHONY: test
test: deps ## everything that CI runs but make interop; installs what it lacks (PKG=./token TESTFLAGS=-v)
	go vet $(PKG)
	go test -race -timeout $(TIMEOUT) $(TESTFLAGS) $(PKG)

.PHONY: deps
deps: ## say what the tests need beyond Go and gcc, and install what is missing
	@.ci/install test

.PHONY: race
race: deps ## look for races: every test COUNT=3 times, on 1, 2 and 4 processors, nothing from the cache
	go test -race -timeout 1h -count=$(COUNT) -cpu=1,2,4 $(TESTFLAGS) $(PKG)

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME=30s (PKG=./token for those of one package)
	@.ci/fuzz $(FUZZTIME) $(PKG)

.PHONY: interop
interop: ## try nginx, Caddy, HAProxy, Apache, npm's and Python's JWT libraries; installs them
	@.ci/install interop
	go vet -tags interop ./internal/interop/...
	go test -count=1 -timeout $(TIMEOUT) -tags interop $(TESTFLAGS) ./internal/interop/...

.PHONY: torture
torture: deps ## break everything under load for DURATION=10m and check what must hold (SEED=n repeats a run)
	go test -race -count=1 -v -timeout 0 -run '^TestTorture$$' $(TESTFLAGS) ./internal/torture \
		-args -torture.duration=$(DURATION) -torture.seed=$(SEED)

##@ Measure it

.PHONY: bench
bench: deps ## benchmarks of the packages, then, beside its peers, internal/bench (BENCH=Validate BENCHTIME=5s)
	go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem -timeout 1h $(TESTFLAGS) $(PKG)
	@if [ -f internal/bench/go.mod ]; then set -x; cd internal/bench && go test ./... && go run .; fi

.PHONY: cover
cover: deps ## coverage by all tests of all packages, written to .cache/coverage.html
	go test -race -timeout $(TIMEOUT) -coverpkg=./... -coverprofile=.cache/coverage.out $(TESTFLAGS) $(PKG)
	go tool cover -html=.cache/coverage.out -o .cache/coverage.html
	go tool cover -func=.cache/coverage.out | tail -n 1

.PHONY: screenshots
screenshots: deps ## a picture of every page, narrow and wide, light and dark, into .cache/screenshots
	mkdir -p .cache/screenshots
	CURFEW_SCREENSHOTS='$(CURDIR)/.cache/screenshots' \
		go test -tags screenshots -count=1 -timeout $(TIMEOUT) -run '^TestScreenshots$$' $(TESTFLAGS) ./internal/console

##@ Keep it clean

.PHONY: fmt
fmt: ## format the code
	gofmt -s -w $(SOURCES)

.PHONY: lint
lint: ## gofmt, go vet, staticcheck and golangci-lint at full strength (which it builds first: some minutes, once)
	@.ci/gofmt
	go vet $(PKG)
	go tool staticcheck $(PKG)
	@.ci/install lint
	.cache/bin/golangci-lint run $(PKG)

.PHONY: clean
clean: ## remove what building and testing has left, but neither tools nor any database
	rm -rf bin .cache/coverage.* .cache/screenshots

.PHONY: help
help: ## this
	@echo 'Curfew: sessions that end when they should. Targets of make:'
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
