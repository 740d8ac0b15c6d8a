package redis

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"baton/control/engine"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// loadPoll is how often a server that loads or saves is looked at.
const loadPoll = 20 * time.Millisecond

// keepData saves what a running server holds to a file beside it: a background
// save, then a copy of its file.
func keepData(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	out := a.Arg("out")
	if out == "" {
		return engine.Result{}, bad("keep-data needs out")
	}
	file, err := dumpFile(ctx, n.client)
	if err != nil {
		return engine.Result{}, asActionError(err, "read where the server saves to", false)
	}
	before, err := n.persistence(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	// One that runs already may have begun before the last writes.
	for before["rdb_bgsave_in_progress"] == "1" {
		if err := pause(ctx); err != nil {
			return engine.Result{}, err
		}
		if before, err = n.persistence(ctx); err != nil {
			return engine.Result{}, err
		}
	}
	if err := n.client.BgSave(ctx).Err(); err != nil {
		return engine.Result{}, asActionError(err, "start a background save", true)
	}
	for {
		if err := pause(ctx); err != nil {
			return engine.Result{}, err
		}
		m, err := n.persistence(ctx)
		if err != nil {
			return engine.Result{}, err
		}
		if m["rdb_bgsave_in_progress"] != "0" || m["rdb_saves"] == before["rdb_saves"] && m["rdb_last_save_time"] == before["rdb_last_save_time"] && m["rdb_last_bgsave_status"] == "ok" && m["rdb_changes_since_last_save"] != "0" {
			continue
		}
		if m["rdb_last_bgsave_status"] != "ok" {
			return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "the background save failed", Fix: "look at the server's log and at the free space"}
		}
		break
	}
	size, err := copyFile(file, out)
	if err != nil {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "copy the saved data", Err: err}
	}
	return values("bytes", size, "commands", ""), nil
}

func (n *node) persistence(ctx context.Context) (info, error) {
	text, err := n.client.Info(ctx, "persistence").Result()
	if err != nil {
		return nil, asActionError(err, "read the state of saving", false)
	}
	return parseInfo(text), nil
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return &engine.ActionError{Code: engine.CodeTimeout, Detail: "the server did not finish in time", Err: ctx.Err()}
	case <-time.After(loadPoll):
		return nil
	}
}

func dumpFile(ctx context.Context, c *goredis.Client) (string, error) {
	dir, err := c.ConfigGet(ctx, "dir").Result()
	if err != nil {
		return "", err
	}
	name, err := c.ConfigGet(ctx, "dbfilename").Result()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir["dir"], name["dbfilename"]), nil
}

// salvage reads the data of a server that does not run into one file, without
// letting anybody reach it: where it keeps an append-only file a second server
// loads that, on a socket of its own; else its snapshot is copied.
func salvage(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	var args []string
	if err := json.Unmarshal([]byte(a.Arg("args")), &args); err != nil || a.Arg("binary") == "" || a.Arg("out") == "" || n.in.Dir == "" {
		return engine.Result{}, bad("salvage needs binary, args and out, and the instance its directory")
	}
	if files, _ := filepath.Glob(filepath.Join(n.in.Dir, "*", "*.manifest")); len(files) == 0 {
		size, err := copyFile(filepath.Join(n.in.Dir, "dump.rdb"), a.Arg("out"))
		if errors.Is(err, os.ErrNotExist) {
			return values("bytes", 0, "commands", "", "none", true), nil
		}
		if err != nil {
			return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "copy the last snapshot", Err: err}
		}
		return values("bytes", size, "commands", ""), nil
	}
	private, err := os.MkdirTemp("", "baton-salvage")
	if err != nil {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "make a private directory", Err: err}
	}
	defer os.RemoveAll(private)
	socket, name := filepath.Join(private, "s"), "salvage.rdb"
	args = append(args, "--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--replicaof", "no", "one",
		"--dbfilename", name, "--save", "")
	cmd := exec.CommandContext(ctx, a.Arg("binary"), args...)
	cmd.Dir, cmd.Env = n.in.Dir, []string{"PATH=/usr/bin:/bin"}
	if err := cmd.Start(); err != nil {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "start a second server over the data", Err: err}
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	defer func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = os.Remove(filepath.Join(n.in.Dir, name))
	}()
	c := goredis.NewClient(&goredis.Options{Network: "unix", Addr: socket, Username: n.in.Auth.User, Password: n.in.Auth.Password, ClientName: clientName,
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, ReadTimeout: time.Minute, ContextTimeoutEnabled: true, PoolSize: 2,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
	defer c.Close()
	for c.Ping(ctx).Err() != nil {
		select {
		case <-ended:
			return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "a second server over the data ended at once", Fix: "look at the data directory of " + n.in.Node}
		default:
		}
		if err := pause(ctx); err != nil {
			return engine.Result{}, err
		}
	}
	if err := c.Do(ctx, "SAVE").Err(); err != nil {
		return engine.Result{}, asActionError(err, "save the data", true)
	}
	size, err := copyFile(filepath.Join(n.in.Dir, name), a.Arg("out"))
	if err != nil {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeFailed, Detail: "copy the saved data", Err: err}
	}
	commands := ""
	if from, err := strconv.ParseInt(a.Arg("from"), 10, 64); err == nil && from > 0 {
		if count, err := appendTail(n.in.Dir, from, strings.TrimSuffix(a.Arg("out"), ".rdb")+".aof"); err == nil {
			commands = strconv.Itoa(count)
		}
	}
	return values("bytes", size, "commands", commands), nil
}

// appendTail copies the append-only file from a position on, counted over all
// its parts, and counts the commands in it.
func appendTail(dir string, from int64, out string) (commands int, err error) {
	parts, err := appendParts(dir)
	if err != nil {
		return 0, err
	}
	w, err := os.OpenFile(out, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	for _, p := range parts {
		st, err := os.Stat(p)
		if err != nil {
			return 0, err
		}
		if from >= st.Size() {
			from -= st.Size()
			continue
		}
		f, err := os.Open(p)
		if err != nil {
			return 0, err
		}
		_, err = f.Seek(from, io.SeekStart)
		if err == nil {
			var n int
			n, err = copyCommands(w, bufio.NewReader(f))
			commands += n
		}
		f.Close()
		if err != nil {
			return commands, err
		}
		from = 0
	}
	return commands, w.Sync()
}

// copyCommands copies whole commands up to the end or to what is not one, and
// counts them but for the choice of a database.
func copyCommands(w io.Writer, r *bufio.Reader) (n int, err error) {
	for {
		head, err := r.ReadString('\n')
		if err != nil || len(head) == 0 || head[0] != '*' {
			if errors.Is(err, io.EOF) || err == nil {
				return n, nil
			}
			return n, err
		}
		words, err := strconv.Atoi(strings.TrimSpace(head[1:]))
		if err != nil || words < 1 || words > 1<<20 {
			return n, nil
		}
		var b strings.Builder
		b.WriteString(head)
		first := ""
		for i := range words {
			size, err := r.ReadString('\n')
			if err != nil || len(size) < 2 || size[0] != '$' {
				return n, nil
			}
			length, err := strconv.Atoi(strings.TrimSpace(size[1:]))
			if err != nil || length < 0 || length > 512<<20 {
				return n, nil
			}
			word := make([]byte, length+2)
			if _, err := io.ReadFull(r, word); err != nil {
				return n, nil
			}
			if i == 0 {
				first = strings.ToUpper(string(word[:length]))
			}
			b.WriteString(size)
			b.Write(word)
		}
		if _, err := io.WriteString(w, b.String()); err != nil {
			return n, err
		}
		if first != "SELECT" && first != "MULTI" && first != "EXEC" {
			n++
		}
	}
}

// appendParts are the parts of the append-only file in the order they are
// loaded: the base, then the increments.
func appendParts(dir string) ([]string, error) {
	manifests, err := filepath.Glob(filepath.Join(dir, "*", "*.manifest"))
	if err != nil || len(manifests) != 1 {
		return nil, fmt.Errorf("%d manifests of an append-only file in %s", len(manifests), dir)
	}
	b, err := os.ReadFile(manifests[0])
	if err != nil {
		return nil, err
	}
	type part struct {
		file string
		kind string
		seq  int
	}
	var parts []part
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[0] != "file" || f[2] != "seq" || f[4] != "type" || !filepath.IsLocal(f[1]) || f[5] == "h" {
			continue
		}
		seq, _ := strconv.Atoi(f[3])
		parts = append(parts, part{filepath.Join(filepath.Dir(manifests[0]), f[1]), f[5], seq})
	}
	slices.SortFunc(parts, func(a, b part) int {
		if a.kind != b.kind {
			return strings.Compare(a.kind, b.kind) // b before i
		}
		return a.seq - b.seq
	})
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = p.file
	}
	return out, nil
}

// copyFile copies whole or not at all, on disk when it returns.
func copyFile(from, to string) (size int64, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	tmp := to + ".new"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	size, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(tmp)
		return 0, err
	}
	return size, os.Rename(tmp, to)
}
