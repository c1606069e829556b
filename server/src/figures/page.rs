//! The page of metrics as those see it that write on it: names, help and values, nothing of its format.
//!
//! Names are written whole, with the ends that the format gives to some types (`_total`, `_info`), so that a
//! search for a name finds its place.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

/// Has figures that are metrics.
pub(crate) trait Figures: fmt::Debug + Send + Sync + 'static {
    /// Writes them as they are now. It may wait for locks that are held for moments, and for the disk.
    fn write(&self, page: &mut Page<'_>) -> fmt::Result;
}

/// Figures that the page alone has.
#[derive(Debug)]
pub(crate) struct Own<F>(pub(crate) F);

/// Figures that others have, too.
#[derive(Debug)]
pub(crate) struct Lent<F>(pub(crate) Arc<F>);

impl<F: Figures> Collector for Own<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.write(&mut Page { encoder })
    }
}

impl<F: Figures> Collector for Lent<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.write(&mut Page { encoder })
    }
}

/// Names and values of the labels of one sample.
pub(crate) type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// How often something took how long.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Durations {
    /// The sum of all.
    pub(crate) seconds: f64,
    /// How many took at most so many seconds, and more than those of the bucket before.
    pub(crate) buckets: Vec<(f64, u64)>,
}

/// The page of metrics.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    /// Writes a value that goes up and down.
    pub(crate) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.metric(name, help, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    /// Writes a value for each set of labels.
    pub(crate) fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.metric(name, help, MetricType::Gauge)?;
        for (labels, value) in samples {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Writes a value that only grows while the server runs.
    pub(crate) fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue,
    ) -> fmt::Result {
        self.metric(name, help, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// Writes such a value for each set of labels.
    pub(crate) fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.metric(name, help, MetricType::Counter)?;
        for (labels, value) in samples {
            metric
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// Writes durations for each set of labels.
    pub(crate) fn durations<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, Durations)>,
    ) -> fmt::Result {
        let mut metric = self.metric(name, help, MetricType::Histogram)?;
        for (labels, Durations { seconds, buckets }) in samples {
            let count = buckets.iter().map(|(_, count)| count).sum();
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
        }
        Ok(())
    }

    /// Writes what labels alone tell.
    pub(crate) fn info<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: Labels<'_, N>,
    ) -> fmt::Result {
        self.metric(name, help, MetricType::Info)?
            .encode_info(&labels)
    }

    fn metric<'p>(
        &'p mut self,
        name: &'p str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'p>, fmt::Error> {
        let end = match kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            MetricType::Gauge | MetricType::Histogram | MetricType::Unknown => "",
        };
        // The encoder adds it again. A name without it would be another one on the page.
        let name = name.strip_suffix(end).ok_or(fmt::Error)?;
        self.encoder.encode_descriptor(name, help, None, kind)
    }
}
