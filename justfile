# Lists the recipes.
default:
    @just --list

# Runs everything that must pass; the same as CI's first half.
test:
    tests/run

# Runs what needs root or time; CI's second half.
deep:
    tests/deep

# Checks formatting and lints.
lint:
    cargo fmt --check
    cargo clippy --workspace --all-targets -- -D warnings

# Formats the sources.
fmt:
    cargo fmt

# Serves with the demo backend.
serve *flags:
    cargo run --release -- {{flags}}

# Runs one part of the tests; `tests/run help` names them.
part name:
    tests/run {{name}}

# Makes the contract of now that of the last release; part of every release.
baseline:
    tests/run baseline

# Kills the gateway in mid-stream so many times, and cuts the power of its disk (root) as often.
crash rounds:
    TIDEMARK_ROUNDS={{rounds}} cargo test --test crash -- --nocapture
powercut rounds:
    TIDEMARK_ROUNDS={{rounds}} cargo test --test powercut -- --nocapture

# Runs every fuzz target for so many seconds.
fuzz seconds:
    tests/fuzz {{seconds}}

# Checks licenses, bans and sources, where cargo-deny is installed.
deny:
    cargo deny --offline check bans licenses sources

# Measures what a durable append costs, how far readers are behind, and what access costs them; numbers are in docs/benchmarks.md.
bench:
    cargo bench --bench store
    cargo bench --bench e2e
    cargo bench --bench access
    cargo bench --bench compaction

# Measures what a mass expiry does to acknowledgements and to the disk. Arguments: responses, seconds before it.
space *arguments:
    cargo bench -p tidemark-store --bench space -- {{arguments}}

# Measures the gateway against nginx and the floors.
race *arguments:
    cargo bench --bench race -- {{arguments}}
