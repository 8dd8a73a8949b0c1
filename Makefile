# Curfew. `make help` says what there is.

# How the targets can be told more: make test PKG=./token TESTFLAGS=-v
# The long ones first, so that none of them is left alone at the end.
PKG       ?= ./internal/console ./cmd/curfew ./internal/httpapi ./internal/store/sqlstore \
             ./internal/app ./internal/feed ./internal/session ./internal/account ./...
TESTFLAGS ?=
ARGS      ?=
BENCH     ?= .
BENCHTIME ?= 1s
FUZZTIME  ?= 30s
COUNT     ?= 3
DURATION  ?= 10m
SEED      ?= 0

# Of one test binary: it ends what hangs. On a busy machine everything takes many
# times as long as on an idle one.
TIMEOUT   ?= 2h

# Runs go test and prints each package as it ends, and what a failed test said.
# With TESTFLAGS=-v it prints everything.
GOTEST     = go tool gotestsum --format $(if $(filter -v,$(TESTFLAGS)),standard-verbose,pkgname-and-test-fails) --hide-summary skipped,output --

# The race detector sleeps for a second before a process ends, that is in each test
# binary and each program that a test runs; a report is written long before.
export GORACE ?= atexit_sleep_ms=20

# SQLite is C that was translated to Go. Like C behind cgo it runs without the race
# detector's instrumentation, which doubles the time that it takes, and without the
# checks of pointer arithmetic that come with it, which double it again. So does Argon2:
# it computes on 19 MiB of its own, for which the race detector would set up as much
# memory again and more. What holds answers against openapi.yaml is not ours to test.
# Everything else, the driver of SQLite too, is instrumented.
RACE       = -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc/...=-race=false \
             -gcflags=golang.org/x/crypto/argon2=-race=false -gcflags=golang.org/x/crypto/blake2b=-race=false \
             -gcflags=github.com/santhosh-tekuri/jsonschema/...=-race=false -gcflags=github.com/getkin/kin-openapi/...=-race=false

# The version of the program: VERSION=1.2.3, else the tag or the commit that it is built from.
VERSION   ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null || git describe --always --exclude '*' --dirty 2>/dev/null | sed 's/^/devel-/')
BUILDFLAGS = -trimpath $(if $(VERSION),-ldflags '-X example.com/curfew/internal/app.version=$(VERSION)')

SOURCES    = .ci/tools cmd internal revocation settings token

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ Use it

.PHONY: run
run: build ## compile, and start a server: SQLite in this directory, http://127.0.0.1:8420 (ARGS='--listen :9000')
	@trap : INT; bin/curfew serve $(ARGS) || { code=$$?; echo "make run: flags of curfew serve go into ARGS, such as: make run ARGS='--listen 127.0.0.1:9000'" >&2; exit $$code; }

.PHONY: build
build: ## build bin/curfew (VERSION=1.2.3)
	@echo 'make build: compiling bin/curfew. The first time it takes a minute or more.'
	go build $(BUILDFLAGS) -o bin/curfew ./cmd/curfew

.PHONY: dist
dist: ## build the files of a release into dist/: archives, deb and rpm, SBOM, checksums (VERSION=1.2.3)
	.ci/dist '$(VERSION)'

##@ Try it

.PHONY: test
test: ## test what a change can break in ordinary use: 7 minutes on 2 idle processors (PKG=./token TESTFLAGS=-v)
	@echo 'make test: go vet, then the tests of all packages with the race detector, three packages at a time.'
	@echo 'It takes about 7 minutes on 2 idle processors, and some more to build everything the first time.'
	@echo 'Not part of it: the tests that take long or load the machine (make test-all).'
	@.ci/install test
	go vet $(PKG)
	.ci/memory $(GOTEST) $(RACE) -vet=off -p 3 -parallel 4 -timeout $(TIMEOUT) $(TESTFLAGS) $(PKG)
	$(if $(filter ./... ./internal/feed,$(PKG)),.ci/memory $(GOTEST) -vet=off -run '^TestModel' -timeout $(TIMEOUT) $(TESTFLAGS) ./internal/feed)

.PHONY: test-all
test-all: ## test everything: make test, then the long and hostile tests one at a time, interop, packages: 26 minutes
	@echo 'make test-all: make test (7 minutes), then one at a time the tests that take long or load the machine'
	@echo '(torture, storms, disk faults, thousands of connections, strace: 12 minutes), then make interop (5 minutes) and make test-packages'
	@echo '(2 minutes). It takes about 26 minutes on 2 idle processors.'
	@$(MAKE) --no-print-directory test
	GOEXPERIMENT=jsonv2 go test ./internal/strictjson
	@$(MAKE) --no-print-directory test-torture
	@$(MAKE) --no-print-directory interop
	@$(MAKE) --no-print-directory test-packages

.PHONY: test-torture
test-torture: deps ## test only what make test leaves out of the packages, one test at a time (PKG=./internal/torture)
	.ci/torture $(PKG) -- $(RACE) -timeout $(TIMEOUT) $(TESTFLAGS)

.PHONY: deps
deps: ## list what the tests need beyond Go and gcc, and install the missing parts
	@.ci/install test

.PHONY: race
race: deps ## look for races: every test COUNT=3 times, on 1, 2 and 4 processors, nothing from the cache
	go test $(RACE) -timeout 1h -count=$(COUNT) -cpu=1,2,4 $(TESTFLAGS) $(PKG)

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME=30s (PKG=./token for those of one package)
	@.ci/fuzz $(FUZZTIME) $(PKG)

.PHONY: interop
interop: ## try nginx, Caddy, HAProxy, Apache, npm's and Python's JWT libraries, containers; installs them
	@.ci/install interop
	go vet -tags interop ./internal/interop/...
	$(GOTEST) -count=1 -p 1 -timeout $(TIMEOUT) -tags interop $(TESTFLAGS) ./internal/interop/...
	cd internal/interop/frameworks && go vet ./... && go test -count=1 -race ./...
	cd internal/interop/zitadel && go vet ./... && go test -count=1 ./...
	cd internal/interop/containers && go vet ./... && go test -count=1 -timeout $(TIMEOUT) ./...

.PHONY: test-packages
test-packages: ## build the packages, install, start, upgrade and purge them in a Debian system of their own (root)
	@.ci/install packages
	go vet -tags packages ./internal/packages
	$(GOTEST) -count=1 -timeout $(TIMEOUT) -tags packages $(TESTFLAGS) ./internal/packages

.PHONY: torture
torture: deps ## break everything under load for DURATION=10m and check what must hold (SEED=n repeats a run)
	go test $(RACE) -tags torture -count=1 -v -timeout 0 -run '^TestTorture$$' $(TESTFLAGS) ./internal/torture \
		-args -torture.duration=$(DURATION) -torture.seed=$(SEED)

.PHONY: fixture
fixture: deps ## make databases of this version for the tests of later ones (NAME=v1.4): with each release, once
	mkdir -p internal/app/testdata/databases
	go test -count=1 -run '^TestMakeFixture$$' ./internal/app -args -fixture='$(or $(NAME),$(error make fixture needs NAME=VERSION))'

##@ Measure it

.PHONY: bench
bench: deps ## benchmarks of the packages, then, beside its peers, internal/bench (BENCH=Validate BENCHTIME=5s)
	go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem -timeout 1h $(TESTFLAGS) $(PKG)
	@if [ -f internal/bench/go.mod ]; then set -x; cd internal/bench && go test ./... && go run .; fi

.PHONY: cover
cover: deps ## coverage by all tests of all packages, written to .cache/coverage.html
	go test $(RACE) -timeout $(TIMEOUT) -coverpkg=./... -coverprofile=.cache/coverage.out $(TESTFLAGS) $(PKG)
	go tool cover -html=.cache/coverage.out -o .cache/coverage.html
	go tool cover -func=.cache/coverage.out | tail -n 1

.PHONY: screenshots
screenshots: deps ## a picture of every page, at four widths, light and dark, into .cache/screenshots
	mkdir -p .cache/screenshots
	CURFEW_SCREENSHOTS='$(CURDIR)/.cache/screenshots' \
		go test -tags screenshots -count=1 -timeout $(TIMEOUT) -run '^TestScreenshots$$' $(TESTFLAGS) ./internal/console

.PHONY: picture
picture: deps ## the picture in the README, anew: the same one unless the page has changed
	go test -tags screenshots -count=1 -timeout $(TIMEOUT) -run '^TestPicture$$' $(TESTFLAGS) ./internal/console

##@ Keep it clean

.PHONY: fmt
fmt: ## format the code
	gofmt -s -w $(SOURCES)

.PHONY: lint
lint: ## gofmt, the floors and the voice, go vet, staticcheck and golangci-lint (which it builds first: some minutes, once)
	@.ci/gofmt
	go test ./internal/floors
	go vet -tags interop,torture,packages $(PKG)
	go tool staticcheck -tags interop,torture,packages $(PKG)
	@.ci/install lint
	.cache/bin/golangci-lint run $(PKG)

.PHONY: clean
clean: ## remove what building and testing has left, but neither tools nor any database
	rm -rf bin .cache/coverage.* .cache/screenshots

.PHONY: help
help: ## this
	@echo 'Curfew: sessions that end when they should. Targets of make:'
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
