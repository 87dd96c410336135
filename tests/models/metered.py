"""Reports metrics of every kind, and a line of its own."""

import time

from ts.metrics.metric_type_enum import MetricTypes


def handle(data, context):
    if data is None:
        return None
    metrics = context.metrics
    metrics.add_counter("Seen", len(data))
    metrics.add_size("Size", 3.5)
    metrics.add_metric("Spread", 7, "count", None, [], MetricTypes.HISTOGRAM)
    metrics.add_counter("Unlisted", 1)
    host_and_time = f"#hostname:any,{int(time.time())}"
    print(f"[METRICS]Printed.Count:2|#ModelName:metered,Level:Model|#type:COUNTER|{host_and_time}")
    time.sleep(float(bytes(data[0]["body"]) or 0))
    return ["metered"] * len(data)
