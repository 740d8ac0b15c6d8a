package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"baton/test/swarm"
)

// watchers are people with the page open: event streams, every second one of them on a cluster's page.
type watchers struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	gaps  []time.Duration // between two lists of clusters, of all streams
	bytes int64
	began time.Time
	err   error
}

// watch opens the streams and returns when each has had its first list.
func (r *controlRun) watch() (*watchers, error) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watchers{cancel: cancel, began: time.Now()}
	first := make(chan error, r.watchers)
	for i := range r.watchers {
		path := "/events"
		if i%2 == 1 {
			path += "?cluster=" + swarm.Cluster(i%r.clusters)
		}
		w.wg.Go(func() { w.follow(ctx, r, path, first) })
		time.Sleep(37 * time.Millisecond) // people do not come all at once
	}
	for range r.watchers {
		select {
		case err := <-first:
			if err != nil {
				cancel()
				return nil, err
			}
		case <-time.After(r.settle):
			cancel()
			return nil, fmt.Errorf("an event stream sends nothing")
		}
	}
	return w, nil
}

func (w *watchers) follow(ctx context.Context, r *controlRun, path string, first chan<- error) {
	once := sync.OnceFunc(func() { first <- nil })
	err := func() error {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+r.listen+"/api/v1"+path, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+r.token)
		res, err := r.client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s", path, res.Status)
		}
		lines := bufio.NewReaderSize(res.Body, 64<<10)
		name, last := "", time.Time{}
		for {
			line, more, err := lines.ReadLine()
			if err != nil {
				return err
			}
			size := len(line)
			if rest, ok := strings.CutPrefix(string(line[:min(len(line), 32)]), "event: "); ok {
				name = rest
			}
			for more {
				if line, more, err = lines.ReadLine(); err != nil {
					return err
				}
				size += len(line)
			}
			w.mu.Lock()
			w.bytes += int64(size)
			if size == 0 && name == "clusters" { // the event is whole
				once()
				now := time.Now()
				if !last.IsZero() {
					w.gaps = append(w.gaps, now.Sub(last))
				}
				last, name = now, ""
			}
			w.mu.Unlock()
		}
	}()
	if ctx.Err() == nil {
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
		select {
		case first <- err:
		default:
		}
	}
}

func (w *watchers) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gaps, w.bytes, w.began = nil, 0, time.Now()
}

func (w *watchers) line() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.gaps) == 0 || w.err != nil {
		return fmt.Sprintf("The event streams sent nothing: %v", w.err)
	}
	slices.Sort(w.gaps)
	n := len(w.gaps)
	return fmt.Sprintf("Event streams: a list of all clusters each %s (p50; p99 %s, max %s), %.1f MB/s to all of them.",
		ms(w.gaps[n/2]), ms(w.gaps[n*99/100]), ms(w.gaps[n-1]), float64(w.bytes)/1e6/time.Since(w.began).Seconds())
}

func (w *watchers) close() {
	w.cancel()
	w.wg.Wait()
}
