# make demo and make test need Go, git and make, nothing else. What they and make check install goes into .tools.

GO      ?= go
TOOLS   := $(CURDIR)/.tools
LINT    := $(TOOLS)/golangci-lint-2.15.0
VULN    := $(TOOLS)/govulncheck-1.9.0
SBOM    := $(TOOLS)/cyclonedx-gomod-1.10.0
LICENCE := $(TOOLS)/go-licenses-1.6.0
APIDIFF := $(TOOLS)/apidiff-20261014
SYSTEMS := linux darwin windows freebsd

export CGO_ENABLED ?= 0

.PHONY: help demo test race erased check fmt vet lint trace tracing e2e policy policy-check conformance size coverage fuzz-short reproducible sbom licences api vuln bench soak fuzz mutate man clean

help: ## Show what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: ## Build everything and show the main job on real files
	@sh examples/demo.sh

test: ## Run every test, the race detector where there is a C compiler
	@sh .ci/test ./...
	@cd bench && sh ../.ci/test ./...
	@$(MAKE) --no-print-directory erased race

# What crypto leaves in ordinary memory is erased by the runtime under this experiment; the memory scan shows it.
erased:
	GOEXPERIMENT=runtimesecret $(GO) vet ./secret/... ./kdf/...
	@GOEXPERIMENT=runtimesecret sh .ci/test ./secret/... ./kdf/...

# The race detector needs cgo, and cgo a C compiler; a machine without one runs everything else.
race:
	@if command -v cc >/dev/null 2>&1; then \
		echo "go test -race ./policy/internal/sandbox (what is concurrent)"; \
		CGO_ENABLED=1 sh .ci/test -race -run 'Canceled|Among|Waiters|Instances|Thrown|Caller|Reuse' ./policy/internal/sandbox || exit 1; \
		echo "go test -race ./secret/... ./kdf/... ./policy ./policy/internal/statefile ./policy/remote ./loader ./internal/..."; \
		CGO_ENABLED=1 sh .ci/test -race ./secret/... ./kdf/... ./policy ./policy/internal/statefile ./policy/remote ./loader ./internal/...; \
	elif [ "$$CI" = true ]; then echo "the race detector needs a C compiler: apt-get install gcc" >&2; exit 1; \
	else echo "not run: race detector: apt-get install gcc"; fi

check: fmt vet lint tracing policy-check conformance size coverage fuzz-short reproducible sbom licences api vuln ## All that has to hold of a release

fmt: $(LINT)
	@out=$$($(LINT) fmt --diff); if [ -n "$$out" ]; then echo "$$out"; echo "fix with: $(LINT) fmt"; exit 1; fi

vet:
	@for os in $(SYSTEMS); do echo "go vet for $$os"; GOOS=$$os $(GO) vet ./... || exit 1; done
	cd bench && $(GO) vet ./...

lint: $(LINT)
	$(LINT) run ./...
	cd bench && $(LINT) run -c ../.golangci.yml ./...

trace: ## Print which tests stand behind which requirement, and write docs/audit.md
	@$(GO) test -count=1 ./features/trace -run TestMatrix -args -write && cat docs/audit.md
	$(GO) test -count=1 ./features/trace

tracing:
	$(GO) test -count=1 ./features/trace

e2e: ## The four example services under their own units, in a systemd that boots in a box; as root, part of make test too
	$(GO) test -count=1 -v ./examples/e2e

policy: ## Regenerate the embedded default rules from policy/rego
	$(GO) run ./policy/rego/internal/gen

policy-check: ## Fail when the embedded default rules are not what policy/rego gives
	@cp policy/default.tar.gz policy/.default.committed && $(MAKE) --no-print-directory policy && \
	if cmp policy/.default.committed policy/default.tar.gz; then rm policy/.default.committed; \
	else mv policy/.default.committed policy/default.tar.gz; \
		echo "policy/default.tar.gz is not what policy/rego gives: run make policy and commit it" >&2; exit 1; fi

conformance: ## Run all of OPA's own cases through the sandbox, about a minute
	$(GO) run ./policy/rego/internal/conformance

size: ## Fail when a stripped program that links loader is over 8 MB, or links OPA or net/http
	@sh .ci/size

vuln: $(VULN) ## Known vulnerabilities; VULNDB=DIR names a copy of the database
	@sh .ci/vuln $(VULN)

coverage: ## Fail when a refusal of the packages that guard has no test
	@mkdir -p bin
	@$(GO) test -count=1 -coverpkg=./secret,./kdf,./policy,./loader -coverprofile=bin/coverage.out \
		./secret ./kdf ./policy ./loader ./cmd/secretcheck >bin/coverage.log || true # make test has run them; under coverage some children cannot write theirs
	@grep -h coverage: bin/coverage.log | sed 's/ of statements in.*//' ; $(GO) run ./internal/refusals bin/coverage.out

fuzz-short:
	@FUZZTIME=2s sh .ci/fuzz

reproducible: ## Fail when two builds of secretcheck differ
	@sh .ci/reproducible

sbom: $(SBOM) reproducible ## List what is linked into secretcheck
	@sh .ci/sbom $(SBOM)

licences: $(LICENCE) ## Fail on a licence that is not known or not allowed
	@sh .ci/licences $(LICENCE)

api: $(APIDIFF) ## Fail when a public package broke what the last release has
	@sh .ci/api $(APIDIFF)

$(LINT):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	@mv $(TOOLS)/golangci-lint $@

$(VULN):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) $(GO) install golang.org/x/vuln/cmd/govulncheck@v1.9.0
	@mv $(TOOLS)/govulncheck $@

$(SBOM):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) $(GO) install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
	@mv $(TOOLS)/cyclonedx-gomod $@

$(LICENCE):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) $(GO) install github.com/google/go-licenses@v1.6.0
	@mv $(TOOLS)/go-licenses $@

$(APIDIFF):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) $(GO) install golang.org/x/exp/cmd/apidiff@v0.0.0-20261014143641-f0251eb4aa3e
	@mv $(TOOLS)/apidiff $@

bench: ## Ratios against targets and peers; exit 1 on a miss
	cd bench && $(GO) run .

soak: ## A minute of requests at full speed through the Bearer middleware, which must leak nothing
	BEARER_SOAK=60s $(GO) test -count=1 -v -run TestLeaksNothing ./bearer

fuzz: ## Every fuzz target for FUZZTIME (default 20s)
	@sh .ci/fuzz

mutate: ## Break the security-critical code on purpose; MUTANTS=REGEXP selects; fails if a mutant survives
	$(GO) run ./internal/mutate $(MUTANTS)

man: ## Write the manual pages to bin/man1 and the completions to bin/completions
	$(GO) run -buildvcs=false ./cmd/secretcheck man bin/man1
	@mkdir -p bin/completions
	@for shell in bash zsh fish; do $(GO) run -buildvcs=false ./cmd/secretcheck completion $$shell >bin/completions/secretcheck.$$shell || exit 1; done

clean: ## Remove what was built and installed here
	rm -rf $(TOOLS) bin
