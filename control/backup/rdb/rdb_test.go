package rdb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/control/backup/rdb"
	"baton/control/engine/redis/redistest"

	goredis "github.com/redis/go-redis/v9"
)

// dump fills a server with every type in several encodings and databases and
// returns the dump it writes.
func dump(t *testing.T) (raw []byte, keys, expires map[int]int64) {
	t.Helper()
	srv := redistest.Cluster(t, 1)[0]
	ctx := context.Background()
	c := srv.Client().Conn()
	defer c.Close()
	do := func(args ...any) {
		t.Helper()
		if err := c.Do(ctx, args...).Err(); err != nil && !errors.Is(err, goredis.Nil) {
			t.Fatalf("%v: %v", args[:2], err)
		}
	}
	random := rand.New(rand.NewSource(7))
	noise := func(n int) string { b := make([]byte, n); random.Read(b); return string(b) }
	for _, db := range []int{0, 3, 15} {
		do("SELECT", db)
		for i := range 40 {
			do("SET", fmt.Sprintf("s:%d", i), noise(random.Intn(300)))
		}
		do("SET", "int8", 12)
		do("SET", "int16", -3000)
		do("SET", "int32", 123456789)
		do("SET", "int64", "123456789012345")
		do("SET", "compressed", strings.Repeat("baton ", 5000))
		do("SET", "long", noise(1<<20))
		do("SET", "gone soon", "x", "PX", 3600_000)
		do("SET", "at a second", "x", "EXAT", time.Now().Add(time.Hour).Unix())
		for i := range 300 {
			do("RPUSH", "large list", noise(100))
			do("HSET", "large hash", fmt.Sprint(i), noise(80))
			do("SADD", "large set", noise(80))
			do("ZADD", "large zset", float64(i)/3, noise(80))
		}
		do("RPUSH", "small list", "a", 1, noise(30000))
		do("HSET", "small hash", "a", 1)
		do("SADD", "small set", "a", "b")
		do("SADD", "ints", 1, 2, 3)
		do("ZADD", "small zset", "inf", "a", "-inf", "b", 1.5, "c")
		for i := range 200 {
			do("XADD", "stream", fmt.Sprintf("%d-1", i+1), "field", noise(20))
		}
		do("XGROUP", "CREATE", "stream", "readers", 0)
		do("XREADGROUP", "GROUP", "readers", "one", "COUNT", 30, "STREAMS", "stream", ">")
		do("XDEL", "stream", "5-1")
		do("PFADD", "hll", "a", "b")
		do("GEOADD", "geo", 13.4, 52.5, "berlin")
	}
	do("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)")
	do("SAVE")
	keys, expires = map[int]int64{}, map[int]int64{}
	for field, value := range srv.Info("keyspace") {
		var db int
		var k, e int64
		if _, err := fmt.Sscanf(field+" "+value, "db%d keys=%d,expires=%d", &db, &k, &e); err != nil {
			t.Fatal(err)
		}
		keys[db], expires[db] = k, e
	}
	raw, err := os.ReadFile(filepath.Join(srv.Config.Dir, "dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	return raw, keys, expires
}

// Goal: keys and expiries of each database are counted as the server counts
// them, the checksum is checked, and no cut or changed dump passes.
func TestDumpOfARealServer(t *testing.T) {
	raw, keys, expires := dump(t)
	sum, err := rdb.Scan(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(sum.Keys) != fmt.Sprint(keys) || fmt.Sprint(sum.Expires) != fmt.Sprint(expires) {
		t.Errorf("counted %v, %v with expiry; the server has %v and %v", sum.Keys, sum.Expires, keys, expires)
	}
	if !sum.Checked || sum.Functions != 1 || sum.Bytes != int64(len(raw)) || sum.Aux["redis-ver"] == "" || sum.Aux["repl-offset"] == "" && sum.Aux["ctime"] == "" {
		t.Errorf("summary %+v", sum)
	}
	random := rand.New(rand.NewSource(1))
	for range 60 {
		if n := random.Intn(len(raw)); true {
			if _, err := rdb.Scan(bytes.NewReader(raw[:n])); err == nil {
				t.Errorf("cut to %d of %d bytes and passed", n, len(raw))
			}
		}
		bad := bytes.Clone(raw)
		bad[random.Intn(len(raw))] ^= 1 << random.Intn(8)
		if _, err := rdb.Scan(bytes.NewReader(bad)); err == nil {
			t.Error("one bit changed and it passed")
		}
	}
	if _, err := rdb.Scan(bytes.NewReader(append(bytes.Clone(raw), 'x'))); err == nil {
		t.Error("a byte behind the end and it passed")
	}
	if _, err := rdb.Scan(strings.NewReader("#!/bin/sh\nexit")); !errors.Is(err, rdb.ErrNotDump) {
		t.Errorf("something else: %v", err)
	}
}

// Goal: a kind of value that a later version brings is told, not miscounted.
func TestUnknownValueIsTold(t *testing.T) {
	if _, err := rdb.Scan(strings.NewReader("REDIS0011\xfe\x00\x7f\x01k\x01v\xff")); !errors.Is(err, rdb.ErrUnknown) {
		t.Errorf("%v", err)
	}
}

// FuzzScan: whatever is given, scanning ends and does not panic.
func FuzzScan(f *testing.F) {
	f.Add([]byte("REDIS0011\xfa\x09redis-ver\x067.0.15\xfe\x00\xfb\x01\x00\x00\x01k\x01v\xff\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("REDIS0009\xfe\x00\x0f\x01k\x01\x01a\x01b\x01\x01\x01\x00\xff"))
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = rdb.Scan(bytes.NewReader(b)) })
}
