//! The metrics as a whole: modes, pages, log lines.

use super::*;
use crate::telemetry::queue::Bell;
use crate::telemetry::{Release, Stages};

fn metrics(mode: MetricsMode) -> (Metrics, [Arc<Queue>; 2]) {
    let bell = Arc::new(Bell::default());
    let queue = || Arc::new(Queue::new(&bell, &Arc::default(), 100, 10_000));
    let queues = [queue(), queue()];
    let config = Config {
        metrics_mode: mode,
        ..Config::default()
    };
    let (mut metrics, problem) = Metrics::new(&config, Some(queues.clone()));
    assert_eq!(problem, None);
    metrics.host = "vm".to_owned();
    (metrics, queues)
}

/// One request of model `m` that is answered.
fn serve(metrics: &Metrics) {
    let model = metrics.model("m", "1.0");
    let stages = Stages {
        admitted: Instant::now(),
        batch_wait_ns: 0,
        queue_ns: 2_000_000,
        transport_ns: 1_000_000,
        handler_ns: 7_000_000,
        steps_ns: [0; 3],
        batch_size: 1,
        worker: 9000,
    };
    model.requested(false);
    model.admitted(10);
    model.batch_done(Release::Full, 1, [stages]);
    metrics.note_batch(&model, &stages, || "r0".to_owned());
    model.answered(Some(&stages), Duration::from_millis(10), false);
    model.ended(Outcome::Answered);
    metrics.count_response(200);
}

fn page(metrics: &Metrics) -> String {
    let mut page = Page::default();
    metrics.render_classic(&mut page);
    page.finish()
}

fn lines(queue: &Queue) -> Vec<String> {
    let lines = std::iter::from_fn(|| queue.receive());
    let texts = lines.map(|line| String::from_utf8(line).unwrap());
    texts
        .map(|text| {
            let (head, _) = text[26..].rsplit_once(':').unwrap();
            head.to_owned()
        })
        .collect()
}

#[test]
fn the_page_of_mode_prometheus_has_everything() {
    let (metrics, queues) = metrics(MetricsMode::Prometheus);
    serve(&metrics);
    serve(&metrics);
    let text = page(&metrics);
    for line in [
        "Requests2XX{Level=\"Host\",Hostname=\"vm\",} 2.0",
        "ts_inference_requests_total{model_name=\"m\",model_version=\"default\",hostname=\"vm\",} 2.0",
        "ts_inference_latency_microseconds{model_name=\"m\",model_version=\"default\",hostname=\"vm\",} 20000.0",
        "ts_queue_latency_microseconds{model_name=\"m\",model_version=\"default\",hostname=\"vm\",} 4000.0",
        "QueueTime{Level=\"Host\",Hostname=\"vm\",} 2.0",
        "PredictionTime{ModelName=\"m\",Level=\"Model\",Hostname=\"vm\",} 7.0",
        "# TYPE GPUUtilization gauge",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
    assert!(!text.contains("Requests4XX{"), "{text}");
    metrics.log_counted();
    assert!(queues.iter().all(|queue| queue.is_empty()));
}

#[test]
fn the_logs_of_mode_log_have_increments_and_the_page_nothing() {
    let (metrics, [server, model]) = metrics(MetricsMode::Log);
    serve(&metrics);
    serve(&metrics);
    metrics.log_counted();
    assert_eq!(page(&metrics), "");
    let first = lines(&server);
    assert!(
        first.contains(&"Requests2XX.Count:2.0|#Level:Host|#hostname:vm,timestamp".to_owned()),
        "{first:?}"
    );
    assert_eq!(
        lines(&model),
        ["PredictionTime.ms:7.0|#ModelName:m,Level:Model|#hostname:vm,requestID:r0,timestamp"]
    );
    metrics.log_counted();
    assert_eq!(lines(&server), [""; 0], "nothing has changed");
    serve(&metrics);
    metrics.log_counted();
    let text = lines(&server).join("\n");
    assert!(
        text.contains("ts_inference_requests_total.Count:1.0|#model_name:m"),
        "{text}"
    );
}

#[test]
fn mode_legacy_shows_three_and_logs_the_rest() {
    let (metrics, [server, _]) = metrics(MetricsMode::Legacy);
    serve(&metrics);
    metrics.log_counted();
    assert_eq!(page(&metrics).matches("# TYPE").count(), 3);
    let text = lines(&server).join("\n");
    assert!(
        text.contains("Requests2XX") && !text.contains("ts_"),
        "{text}"
    );
}

#[test]
fn what_a_handler_prints_counts_if_it_is_configured() {
    let (metrics, _) = metrics(MetricsMode::Prometheus);
    let model = metrics.model("m", "1.0");
    assert!(!metrics.printed(&model, "hello"));
    let line = |name| {
        format!("[METRICS]{name}.ms:1.5|#ModelName:m,Level:Model|#type:GAUGE|#hostname:h,1,r0")
    };
    assert!(metrics.printed(&model, &line("HandlerTime")));
    assert!(metrics.printed(&model, &line("Unknown")));
    assert!(metrics.printed(&model, "[METRICS]Failed to update metric"));
    assert!(
        page(&metrics)
            .contains("HandlerTime{ModelName=\"m\",Level=\"Model\",Hostname=\"vm\",} 1.5\n")
    );
    let refused: Vec<u64> = model.refused_lines.iter().map(Count::get).collect();
    assert_eq!(refused, [1, 1, 0]);
}

#[test]
fn counters_of_a_model_outlive_its_registration() {
    let (metrics, _) = metrics(MetricsMode::Prometheus);
    serve(&metrics);
    assert!(Arc::ptr_eq(
        &metrics.model("m", "1.0"),
        &metrics.model("m", "1.0")
    ));
    for number in 0..2 * MOST_MODELS {
        metrics.model(&number.to_string(), "1");
    }
    assert_eq!(lock(&metrics.models).len(), MOST_MODELS);
}
