package admin

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// processCollector shows this process under the names that boards for upstream's
// servers ask for. What only its runtime has (thread pools, heap generations,
// exceptions, fragmentation) is not shown.
type processCollector struct{ began time.Time }

func newProcessCollector() *processCollector { return &processCollector{began: time.Now()} }

var (
	upTimeDesc    = prometheus.NewDesc("kurrentdb_proc_up_time_seconds_total", "Seconds since the node started.", []string{"pid"}, nil)
	memoryDesc    = prometheus.NewDesc("kurrentdb_proc_mem_bytes", "Memory of the process.", []string{"kind"}, nil)
	threadsDesc   = prometheus.NewDesc("kurrentdb_proc_thread_count", "Threads of the process.", nil, nil)
	diskBytesDesc = prometheus.NewDesc("kurrentdb_disk_io_bytes_total", "Bytes the process had read from and written to disks.", []string{"activity"}, nil)
	diskOpsDesc   = prometheus.NewDesc("kurrentdb_disk_io_operations_total", "Reads and writes the process asked the system for, files and sockets alike.", []string{"activity"}, nil)
	heapDesc      = prometheus.NewDesc("kurrentdb_gc_heap_size_bytes", "Bytes of live and not yet collected objects.", nil, nil)
	allocatedDesc = prometheus.NewDesc("kurrentdb_gc_allocated_bytes_total", "Bytes allocated since the start.", nil, nil)
	cyclesDesc    = prometheus.NewDesc("kurrentdb_gc_collection_count_total", "Collections of garbage; there is one generation.", []string{"generation"}, nil)
)

// Describe implements prometheus.Collector.
func (*processCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{upTimeDesc, memoryDesc, threadsDesc, diskBytesDesc, diskOpsDesc, heapDesc, allocatedDesc, cyclesDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (p *processCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	count(upTimeDesc, time.Since(p.began).Seconds(), strconv.Itoa(os.Getpid()))
	status, io := processFile("status"), processFile("io")
	for kind, field := range map[string]string{"working-set": "VmRSS", "virtual-bytes": "VmSize", "paged-bytes": "VmSwap"} {
		if v, ok := status[field]; ok {
			gauge(memoryDesc, v*1024, kind) // the file gives KiB
		}
	}
	if v, ok := status["Threads"]; ok {
		gauge(threadsDesc, v)
	}
	for _, f := range []struct {
		desc            *prometheus.Desc
		activity, field string
	}{{diskBytesDesc, "read", "read_bytes"}, {diskBytesDesc, "written", "write_bytes"}, {diskOpsDesc, "read", "syscr"}, {diskOpsDesc, "written", "syscw"}} {
		if v, ok := io[f.field]; ok {
			count(f.desc, v, f.activity)
		}
	}
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(samples)
	gauge(heapDesc, float64(samples[0].Value.Uint64()))
	count(allocatedDesc, float64(samples[1].Value.Uint64()))
	count(cyclesDesc, float64(samples[2].Value.Uint64()), "all")
}

// processFile reads the numbers of a file of /proc/self with lines "name: number";
// there are none where the system has no such file.
func processFile(name string) map[string]float64 {
	if runtime.GOOS != "linux" {
		return nil
	}
	text, err := os.ReadFile("/proc/self/" + name)
	if err != nil {
		return nil
	}
	values := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		number, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		if v, err := strconv.ParseFloat(number, 64); err == nil {
			values[name] = v
		}
	}
	return values
}
