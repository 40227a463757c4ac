//! The figures of the process, for the operator.
//!
//! It owns their names, units and help, and the only use of the Prometheus library. It must never know when something is counted.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tidemark_store::Store;

use super::instruments::{BUCKETS_MS, Counter, Distribution, Durations, Family, Gauge};
use super::meters::{CallLabel, LimitMeters, RunMeters, ServeMeters};

/// What every name begins with.
const PREFIX: &str = "tidemark";

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All figures of one process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    figures: Arc<Figures>,
}

/// Where the figures are.
#[derive(Debug, Default)]
struct Figures {
    runs: RunMeters,
    serve: ServeMeters,
    limits: LimitMeters,
    /// Absent until the store is open.
    store: OnceLock<Arc<dyn Store>>,
}

impl Metrics {
    /// Figures of which nothing was counted yet.
    pub fn new() -> Self {
        let figures = Arc::new(Figures::default());
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Arc::clone(&figures)));
        Self { registry: Arc::new(registry), figures }
    }

    /// What the responses are counted with.
    pub fn runs(&self) -> RunMeters {
        self.figures.runs.clone()
    }

    /// What the listener counts with.
    pub fn serve(&self) -> ServeMeters {
        self.figures.serve.clone()
    }

    /// What the limits on callers count with.
    pub fn limits(&self) -> LimitMeters {
        self.figures.limits.clone()
    }

    /// Shows the figures of this store from now on. The first one stays.
    pub fn watch(&self, store: Arc<dyn Store>) {
        let _ = self.figures.store.set(store);
    }

    /// All figures in the text form of OpenMetrics.
    ///
    /// # Errors
    /// The library refuses a name or a label.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.encode_runs(&mut page)?;
        self.encode_serve(&mut page)?;
        self.encode_limits(&mut page)?;
        self.encode_store(&mut page)
    }
}

impl Figures {
    fn encode_runs(&self, page: &mut Page<'_>) -> fmt::Result {
        let runs = &self.runs;
        page.gauge("live_responses", "Responses that are running", &runs.live)?;
        page.gauge("readers", "Readers that are attached", &runs.readers)?;
        page.family(
            "responses_ended",
            "Responses that have ended, by terminal status",
            &runs.ended,
            |status| [("status", *status)],
        )?;
        page.counter("events_appended", "Events that were made durable", &runs.events)?;
        page.durations(
            "append",
            "From handing a batch of events to the store until it is durable",
            &runs.append,
        )?;
        page.durations(
            "first_output",
            "From the create until the first event with output is durable",
            &runs.first_output,
        )?;
        page.family("backend_errors", "Failures of backends, by error code", &runs.backend_errors, |code| {
            [("code", *code)]
        })?;
        page.counter(
            "creates_replayed",
            "Creates that got the response of an earlier one with their idempotency key",
            &runs.replayed,
        )?;
        page.counter(
            "responses_recovered",
            "Responses of an earlier process that were ended or started again",
            &runs.recovered,
        )?;
        page.counter(
            "responses_unrecovered",
            "Responses of an earlier process that could not be ended and stay open",
            &runs.unrecovered,
        )?;
        page.counter(
            "compactions",
            "Stretches of events that were replaced by merged ones",
            &runs.compactions,
        )?;
        page.counter(
            "responses_swept",
            "Responses that were removed at the end of their retention",
            &runs.swept,
        )
    }

    fn encode_serve(&self, page: &mut Page<'_>) -> fmt::Result {
        let serve = &self.serve;
        page.gauge(
            "connections",
            "Connections that are open, those of the admin port too",
            &serve.connections,
        )?;
        page.family(
            "calls",
            "Calls whose reply has ended, by route and status",
            &serve.calls,
            |call: &CallLabel| [("route", call.route.clone()), ("status", call.status.to_owned())],
        )?;
        page.counter(
            "stalled_streams",
            "HTTP/2 streams that were cut because their client took nothing",
            &serve.stalled_streams,
        )?;
        page.counter(
            "slow_bodies",
            "Requests that were refused because their body came too slowly",
            &serve.slow_bodies,
        )?;
        page.counter(
            "failed_accepts",
            "Connections that the system refused to hand over",
            &serve.failed_accepts,
        )
    }

    fn encode_limits(&self, page: &mut Page<'_>) -> fmt::Result {
        let limits = &self.limits;
        page.counter("wrong_credentials", "Wrong credentials", &limits.wrong_credentials)?;
        page.counter("locks", "Times that a client address was locked", &limits.locks)?;
        page.counter(
            "locked_out",
            "Wrong credentials that were refused because their address was locked",
            &limits.locked_out,
        )?;
        page.family(
            "rate_limited",
            "Calls that were refused because a budget was used up, by area",
            &limits.rate_limited,
            |area| [("area", *area)],
        )
    }

    fn encode_store(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(store) = self.store.get() else { return Ok(()) };
        let usage = store.usage();
        page.level("log", "Length of the log on disk", Some(&Unit::Bytes), usage.log_bytes)?;
        page.level("live", "About how much of the log is live", Some(&Unit::Bytes), usage.live_bytes)?;
        page.level("segments", "Files that the log lies in", None, usage.segments)?;
        page.level(
            "cleaned",
            "Length of log that has left the disk",
            Some(&Unit::Bytes),
            usage.cleaned_bytes,
        )?;
        page.level(
            "index_lag",
            "How far the index is behind the log",
            Some(&Unit::Bytes),
            usage.index_lag_bytes,
        )?;
        page.level("stored_responses", "Responses that are stored", None, usage.kept.logs)?;
        page.level("stored", "What they keep, requests and events", Some(&Unit::Bytes), usage.kept.bytes)?;
        page.level("logs_in_memory", "Logs that memory holds", None, usage.logs_in_memory)?;
        match store.free_bytes() {
            Some(free) => page.level("free", "What the disk has left for new data", Some(&Unit::Bytes), free),
            None => Ok(()),
        }
    }
}

/// The page that is being written.
struct Page<'e>(DescriptorEncoder<'e>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, gauge: &Gauge) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&gauge.get())
    }

    fn level(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counter(&mut self, name: &str, help: &str, counter: &Counter) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        encoder.encode_counter::<NoLabelSet, u64, u64>(&counter.get(), None)
    }

    fn family<K: Ord + Clone, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        family: &Family<K>,
        labels: impl Fn(&K) -> L,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (label, count) in family.all() {
            let labels = labels(&label);
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
        Ok(())
    }

    fn durations(&mut self, name: &str, help: &str, durations: &Durations) -> fmt::Result {
        let mut encoder =
            self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        let Distribution { counts, sum } = durations.distribution();
        let ends = BUCKETS_MS.iter().map(|millis| std::time::Duration::from_millis(*millis).as_secs_f64());
        let buckets: Vec<_> = ends.chain([f64::INFINITY]).zip(counts).collect();
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidemark_store::Caps;
    use tidemark_store::memory::MemoryStore;

    use super::*;

    #[test]
    fn what_was_counted_is_shown_with_its_unit() {
        let metrics = Metrics::new();
        let (runs, serve) = (metrics.runs(), metrics.serve());
        let _live = runs.live.hold();
        runs.events.add(3);
        runs.ended.increment("completed");
        runs.append.observe(Duration::from_millis(3));
        serve.calls.increment(CallLabel { route: "/v1/responses/{id}".to_owned(), status: "2xx" });
        let text = metrics.text().unwrap();
        for line in [
            "tidemark_live_responses 1",
            "tidemark_events_appended_total 3",
            "tidemark_responses_ended_total{status=\"completed\"} 1",
            "tidemark_append_seconds_bucket{le=\"0.002\"} 0",
            "tidemark_append_seconds_bucket{le=\"0.005\"} 1",
            "tidemark_append_seconds_bucket{le=\"+Inf\"} 1",
            "tidemark_append_seconds_sum 0.003",
            "tidemark_calls_total{route=\"/v1/responses/{id}\",status=\"2xx\"} 1",
            "# UNIT tidemark_append_seconds seconds",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_store_is_shown_once_it_is_open() {
        let metrics = Metrics::new();
        assert!(!metrics.text().unwrap().contains("tidemark_log_bytes"));
        metrics.watch(Arc::new(MemoryStore::new(Caps::default())));
        assert!(metrics.text().unwrap().contains("\ntidemark_logs_in_memory 0\n"));
    }
}
