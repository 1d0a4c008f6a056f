# Everything a person or a CI job does here. Go is the only tool that is needed;
# linters are fetched by the Go toolchain at the versions named below.

GO            ?= go
GOLANGCI_LINT ?= $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK   ?= $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.8.0

SET     ?= walk
REPEAT  ?= 6
RUN     ?= results/latest
BENCH   ?= .
PACKAGE ?= ./...
# Modules of their own, as a user's program is one: `./...` does not reach them.
# -mod=mod lets their go.mod follow ours; where it had to, commit the change.
MODULES := examples/fraud
FLAGS   ?=

# The benchmark is built and then run, not `go run`: exit codes and Ctrl-C then
# reach it, and the binary carries the commit that results are labelled with.
BIN := bin/bench

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -e 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r target text; do printf '  %-12s %s\n' "$$target" "$$text"; done

.PHONY: build
build: ## build bin/bench
	$(GO) build -o $(BIN) ./cmd/bench

.PHONY: bench
bench: build ## ten cells on both engines in five minutes, then the report (SET, FLAGS)
	$(BIN) run $(SET) $(FLAGS)

.PHONY: bench-full
bench-full: build ## the same, repeated and interleaved, with intervals (REPEAT, SET, FLAGS)
	$(BIN) run $(SET) --repeat $(REPEAT) $(FLAGS)

.PHONY: bench-micro
bench-micro: ## speed benchmarks, ratios to the bare loops beside them (BENCH, PACKAGE)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(PACKAGE)

.PHONY: test
test: ## all tests
	$(GO) test ./...
	@for m in $(MODULES); do (set -x; $(GO) -C $$m test -mod=mod ./...) || exit; done

.PHONY: race
race: ## all tests under the race detector (needs a C compiler)
	$(GO) test -race ./...
	@for m in $(MODULES); do (set -x; $(GO) -C $$m test -mod=mod -race ./...) || exit; done

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...
	@for m in $(MODULES); do (set -x; $(GO) -C $$m vet -mod=mod ./...) || exit; done

.PHONY: lint
lint: vet ## go vet, and golangci-lint with staticcheck
	$(GOLANGCI_LINT) run ./...
	@for m in $(MODULES); do (cd $$m && set -x && $(GOLANGCI_LINT) run ./...) || exit; done

.PHONY: vuln
vuln: ## known vulnerabilities in what is called (needs the network)
	$(GOVULNCHECK) ./...

.PHONY: report
report: build ## draw the latest report again (RUN)
	$(BIN) report $(RUN)

.PHONY: doctor
doctor: build ## what this machine can run
	$(BIN) doctor

.PHONY: clean
clean: ## remove what was built; results stay
	rm -rf bin
